from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from torch_geometric.data import Batch
from torch_geometric.loader import DataLoader

from equireann_pyg import REANN, EquiREANN, Potential, edge_vectors, from_ase
from equireann_pyg.nn import ElementStandardize
from equireann_pyg.training import PotentialTask
from equireann_pyg.training.loss import LinearInEpoch, LinearInLearningRate, PotentialLoss
from equireann_pyg.training.metrics import PotentialErrors
from equireann_pyg.training.preparation import prepare_potential
from equireann_pyg.training.schedule import Cosine, Schedule
from tests.copper import frames

CUTOFF = 3.5


@pytest.fixture(scope="module")
def graphs():
    return [from_ase(atoms, CUTOFF) for atoms in frames(12)]


def small(kind=EquiREANN):
    torch.manual_seed(0)
    return kind(["Cu"], cutoff=CUTOFF, num_radial=4, num_density=8, num_iterations=1, hidden_channels=[8])


def shifted(batch, energy=0.0, forces=0.0, stress=0.0):
    """Perfect predictions but for constant errors."""
    return {
        "energy": batch.energy + energy,
        "forces": torch.nan_to_num(batch.forces) + forces,
        "stress": torch.nan_to_num(batch.stress) + stress,
    }


def scales(value):
    return dict.fromkeys(("energy", "forces", "stress"), torch.tensor(value, dtype=torch.float64))


def test_loss_is_a_mean_over_the_labels_there_are(graphs):
    batch = Batch.from_data_list(graphs[:4]).clone()
    batch.forces[:5] = torch.nan  # the first frame has no forces
    sums, counts = PotentialLoss()(shifted(batch, 10.0, 0.3, 0.01), batch, scales(2.0))
    sizes = torch.tensor([5.0, 4.0, 5.0, 4.0]).double()
    volume = torch.linalg.det(batch.cell).abs()[[1, 3]]  # only the periodic frames have stress
    assert counts.tolist() == [4, 3 * 13, 18, 0, 0, 0]
    torch.testing.assert_close(sums[0], ((10 / sizes / 2) ** 2).sum())
    torch.testing.assert_close(sums[1], torch.tensor(39 * (0.3 / 2) ** 2).double())
    torch.testing.assert_close(sums[2], 9 * ((0.01 * volume / 4 / 2) ** 2).sum())


def test_missing_labels_have_no_gradient(graphs):
    batch = Batch.from_data_list(graphs[:2]).clone()
    batch.forces[:] = torch.nan
    forces = torch.zeros_like(batch.forces, requires_grad=True)
    sums, _ = PotentialLoss()({**shifted(batch), "forces": forces}, batch, scales(1.0))
    (gradient,) = torch.autograd.grad(sums.sum(), forces)
    assert torch.equal(gradient, torch.zeros_like(gradient))


def test_schedules():
    loss = PotentialLoss(energy=LinearInEpoch(1.0, 5.0, 4), forces=LinearInLearningRate(50.0, 0.5))
    rest = dict.fromkeys(("stress", "dipole", "polarizability", "charges"), 1.0)
    assert loss.current(0, 1.0) == {"energy": 1.0, "forces": 50.0, **rest}
    assert loss.current(2, 0.5) == pytest.approx({"energy": 3.0, "forces": 25.25, **rest})
    assert loss.current(99, 0.0) == loss.final() == {"energy": 5.0, "forces": 0.5, **rest}


def test_errors_are_those_of_the_whole_set(graphs):
    meter = PotentialErrors()
    squares, absolutes = [], []
    for size, offset in ((1, 0.5), (3, -0.2), (5, 0.1)):  # unequal batches: a mean of batch means would be off
        batch = Batch.from_data_list(graphs[:size])
        meter.update(shifted(batch, energy=offset, forces=2 * offset), batch)
        squares.append(torch.full((size,), offset).square())
        absolutes.append(torch.full((size,), offset).abs())
    result = meter.compute()
    assert result["energy_rmse"] == pytest.approx(1e3 * float(torch.cat(squares).mean().sqrt()), rel=1e-6)
    assert result["energy_mae"] == pytest.approx(1e3 * float(torch.cat(absolutes).mean()), rel=1e-6)
    atoms = [5, 5 + 4 + 5, 5 + 4 + 5 + 4 + 5]
    forces = sum(n * (2 * x) ** 2 for n, x in zip(atoms, (0.5, 0.2, 0.1), strict=True)) / sum(atoms)
    assert result["forces_rmse"] == pytest.approx(1e3 * forces**0.5, rel=1e-6)


def test_preparation_centres_and_scales(graphs, monkeypatch):
    monkeypatch.setattr("equireann_pyg.nn.scaling.RATTLE", 0.0)
    potential = Potential(small())
    prepare_potential(potential, graphs)
    energies = torch.cat([potential.eval()(graph)["energy"] for graph in graphs])
    labels = torch.cat([graph.energy for graph in graphs])
    assert float((energies - labels).mean().abs()) < 0.5 * float(labels.abs().mean())
    forces = torch.cat([graph.forces for graph in graphs])
    assert float(potential.scale) == pytest.approx(float(forces.square().mean().sqrt()), rel=1e-12)
    species = torch.zeros(sum(graph.z.numel() for graph in graphs), dtype=torch.long)
    batch = Batch.from_data_list(graphs)
    model = potential.model
    states = model.iterate(batch.z, batch.edge_index, edge_vectors(batch).float())
    for scaling, descriptor, (orbital, _) in zip(model.scalings, model.descriptors, states, strict=True):
        scaled = ElementStandardize.forward(scaling, descriptor(orbital, species), species)
        assert float(scaled.detach().std(0, correction=0).max()) == pytest.approx(1.0, rel=1e-3)


def fit(task, graphs, epochs=1):
    from torch_geometric.loader import DataLoader

    trainer = lightning.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(task, DataLoader(graphs, batch_size=4), DataLoader(graphs, batch_size=4))
    return trainer


@pytest.mark.parametrize("kind", [EquiREANN, REANN])
def test_task_trains_from_python(graphs, kind):
    task = PotentialTask(small(kind))
    prepare_potential(task.potential, graphs)
    before = fit(task, graphs).callback_metrics["val/loss"]
    after = fit(task, graphs, epochs=20).callback_metrics["val/loss"]
    assert float(after) < 0.5 * float(before)


def test_warm_up_damps_the_first_steps_only(graphs):
    rates = []

    class Spy(torch.optim.SGD):
        def step(self, closure=None):
            rates.append(self.param_groups[0]["lr"])
            return super().step(closure)

    task = PotentialTask(
        small(), optimizer=lambda parameters: Spy(parameters, lr=0.04), schedule=Schedule(warmup_steps=4)
    )
    prepare_potential(task.potential, graphs)
    fit(task, graphs, epochs=2)
    assert rates == pytest.approx([0.01, 0.02, 0.03, 0.04, 0.04, 0.04])


def test_a_diverged_prediction_is_not_a_missing_label(graphs):
    batch = Batch.from_data_list(graphs[:2])
    lost = shifted(batch, energy=torch.nan)
    sums, counts = PotentialLoss()(lost, batch, scales(1.0))
    assert counts[0] == 2
    assert bool(sums[0].isnan())
    meter = PotentialErrors()
    meter.update(lost, batch)
    assert meter.compute()["energy_rmse"] != meter.compute()["energy_rmse"]  # not a number


def test_references_stay_exact_in_single_precision():
    potential = Potential(small())
    potential.set_references({29: -2041.98160039}, scale=0.123456789012345)
    for converted in (potential.float(), potential.double(), potential.to(torch.float32)):
        assert float(converted.reference_energies[29]) == -2041.98160039
        assert float(converted.scale) == 0.123456789012345


class Nameless(EquiREANN):
    """A model that cannot be stored."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)


def test_a_model_that_cannot_be_stored_is_refused_before_it_is_trained(tmp_path: Path) -> None:
    task = PotentialTask(Nameless(elements=["H"], cutoff=3.0, num_radial=4, num_density=4, hidden_channels=[4]))
    trainer = lightning.Trainer(max_epochs=1, logger=False, default_root_dir=tmp_path, enable_progress_bar=False)
    with pytest.raises(TypeError, match="arguments without names"):
        trainer.fit(task, DataLoader([]), DataLoader([]))


def scheduled(graphs, maker, interval, **options):
    """A task after two epochs of two steps, or what the options say."""
    task = PotentialTask(small(), schedule=Schedule(maker, interval=interval))
    prepare_potential(task.potential, graphs)
    trainer = lightning.Trainer(
        **{"max_epochs": 2} | options, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
    )  # fmt: skip
    trainer.fit(task, DataLoader(graphs[:4], batch_size=2), DataLoader(graphs[4:6]))
    return trainer


@pytest.mark.parametrize(
    ("interval", "end", "rises"), [("epoch", 1, True), ("epoch", 2, False), ("step", 3, True), ("step", 4, False)]
)
def test_a_cosine_that_is_over_before_the_training(graphs, interval, end, rises, recwarn):
    scheduled(graphs, lambda optimizer: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=end), interval)
    said = [str(warning.message) for warning in recwarn if "rises again" in str(warning.message)]
    assert len(said) == rises
    assert all(f"T_max = {end} of {2 if interval == 'epoch' else 4} {interval}s" in text for text in said)


@pytest.mark.parametrize(
    ("interval", "options", "length"),
    [
        ("epoch", {"max_epochs": 5}, 5),
        ("step", {"max_epochs": 3}, 6),
        ("epoch", {"max_epochs": -1, "max_steps": 5}, 3),
        ("epoch", {"max_epochs": 4, "accumulate_grad_batches": 2}, 4),
    ],
)
def test_a_cosine_spans_the_run(graphs, interval, options, length):
    trainer = scheduled(graphs, Cosine, interval, **options)
    (config,) = trainer.lr_scheduler_configs
    assert config.scheduler.T_max == length
    if "max_steps" not in options:
        assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0, abs=1e-12)


def test_a_cosine_without_an_end(graphs):
    with pytest.raises(ValueError, match="the run has no end"):
        scheduled(graphs, Cosine, "epoch", max_epochs=-1, max_time={"seconds": 1})
    assert Cosine(torch.optim.SGD([torch.zeros(1)], lr=1.0), T_max=7).T_max == 7


def test_untrained_elements_are_refused_again_after_an_error(graphs):
    class Failing(PotentialTask):
        def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
            assert self.potential.allow_untrained
            raise RuntimeError("as when it diverges")

    task = Failing(small())
    prepare_potential(task.potential, graphs)
    trainer = lightning.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=0,
    )  # fmt: skip
    with pytest.raises(RuntimeError, match="as when it diverges"):
        trainer.fit(task, DataLoader(graphs[:4]), DataLoader(graphs[4:6]))
    assert not task.potential.allow_untrained


def test_what_a_resumed_run_keeps(graphs, tmp_path):
    """The length of its schedule and its reference energies; of others there are warnings."""

    class Frames(lightning.LightningDataModule):
        references = {"Cu": -1.5}  # noqa: RUF012
        datasets = {"train": graphs[:4]}  # noqa: RUF012

        def train_dataloader(self) -> DataLoader:
            return DataLoader(graphs[:4], batch_size=2)

        def val_dataloader(self) -> DataLoader:
            return DataLoader(graphs[4:6])

    def fit(epochs: int, **options: Any) -> lightning.Trainer:
        trainer = lightning.Trainer(
            max_epochs=epochs, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False,
        )  # fmt: skip
        trainer.fit(PotentialTask(small(), schedule=Schedule(Cosine)), datamodule=Frames(), **options)
        return trainer

    first = fit(2)
    assert float(first.lightning_module.potential.reference_energies[29]) == -1.5
    first.save_checkpoint(tmp_path / "last.ckpt")
    with pytest.warns(UserWarning, match=r"T_max = 2 of 3 epochs and rises again") as said:
        again = fit(3, ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    assert again.lr_scheduler_configs[0].scheduler.T_max == 2
    assert not any("reference energies" in str(warning.message) for warning in said)  # they are the same
    Frames.references = {"Cu": -9.0}
    with pytest.warns(UserWarning, match="a resumed run keeps its reference energies: those given for Cu are not used"):
        again = fit(2, ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    assert float(again.lightning_module.potential.reference_energies[29]) == -1.5
