"""Warm start of the readout: the minimum of the regularised loss, and nothing else changed."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import lightning
import pytest
import torch
from torch import Tensor
from torch_geometric.data import Batch

from equireann_pyg import REANN, Potential, from_ase
from equireann_pyg.cli import main
from equireann_pyg.data import AtomsDataModule, Batches
from equireann_pyg.models.network import OrbitalNetwork
from equireann_pyg.nn import AllReadout, Density, PairRadial
from equireann_pyg.testing import assert_close
from equireann_pyg.training import PotentialTask
from equireann_pyg.training.callbacks import ExponentialMovingAverage
from equireann_pyg.training.loss import PotentialLoss
from equireann_pyg.training.preparation import prepare_potential
from equireann_pyg.training.warm_start import Quadratic, RidgeWarmStart, linear_weights
from tests.copper import frames

CUTOFF = 3.5
CONF = Path(__file__).parent / "conf" / "tiny.yaml"
LOSS = PotentialLoss()


@pytest.fixture(scope="module")
def graphs():
    return [from_ase(atoms, CUTOFF) for atoms in frames(6)]


def fresh(graphs, channels=3, num_iterations=1) -> Potential:
    torch.manual_seed(0)
    sizes = {"radial": PairRadial(channels), "num_iterations": num_iterations}
    model = OrbitalNetwork(["Cu"], CUTOFF, Density(channels), readout=AllReadout([4]), **sizes)
    potential = Potential(model).to(torch.get_default_dtype())
    prepare_potential(potential, graphs)
    return potential


def quadratic(potential, graphs) -> Quadratic:
    return Quadratic(potential, linear_weights(potential), [Batch.from_data_list(graphs)], LOSS)


def loss_of(potential, graphs) -> float:
    part = quadratic(deepcopy(potential).train(), graphs)
    sums = part._sums(part.batches[0])[0]
    return float(LOSS.weighted(LOSS.final(), sums / part.counts).detach())


def minimum(potential, graphs, alpha) -> Tensor:
    """From the normal equations, the curvature column by column."""
    potential = deepcopy(potential).train()
    loss = quadratic(potential, graphs)
    zero = torch.zeros_like(loss.point())
    slope = loss.gradient(zero)
    columns = [loss.gradient(column) - slope for column in torch.eye(len(zero))]
    curvature = torch.stack(columns, dim=1) + 2 * alpha * torch.eye(len(zero))
    return torch.linalg.solve(curvature, -slope)


@pytest.mark.parametrize("alpha", [1e-3, 1.0])
def test_it_finds_the_minimum(graphs, alpha, double):
    potential = fresh(graphs)
    expected = minimum(potential, graphs, alpha)
    assert float(expected.abs().max()) > 1e-3
    RidgeWarmStart(alpha, steps=50, batch_size=4)(potential, graphs, LOSS)
    found = quadratic(potential.train(), graphs).point()
    assert_close(found, expected, 2e-3, "weights")


def test_it_lowers_the_loss_and_touches_nothing_else(graphs):
    potential = fresh(graphs).eval()
    before = deepcopy(potential.state_dict())
    RidgeWarmStart(1e-4)(potential, graphs, LOSS)
    changed = {name for name, value in potential.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"model.readout.linear.weight", "model.readout.linear.bias"}
    assert not potential.training
    assert all(parameter.requires_grad and parameter.grad is None for parameter in potential.parameters())
    after = loss_of(potential, graphs)
    potential.load_state_dict(before)
    assert after < 0.8 * loss_of(potential, graphs)


def test_the_gradient_vanishes_from_any_start(graphs, double):
    potential, alpha = fresh(graphs).train(), 1e-3
    for weight in linear_weights(potential):
        torch.nn.init.normal_(weight)
    loss = quadratic(potential, graphs)
    start = loss.point()
    slope = loss.gradient(start) + 2 * alpha * start
    RidgeWarmStart(alpha, batch_size=4)(potential, graphs, LOSS)
    found = loss.point()
    assert float((loss.gradient(found) + 2 * alpha * found).norm()) < 2e-5 * float(slope.norm())


def test_single_precision_goes_the_same_way(graphs):
    single = fresh(graphs, channels=16, num_iterations=2)
    double = deepcopy(single).double()
    before = loss_of(double, graphs)
    for potential in (single, double):
        RidgeWarmStart(1e-3, steps=18)(potential, graphs, LOSS)
    after = loss_of(double, graphs)
    assert after < 0.1 * before
    assert loss_of(single, graphs) == pytest.approx(after, rel=1e-2)


def test_flat_directions_are_left_alone(graphs):
    potential = fresh(graphs, channels=16, num_iterations=2)
    before = loss_of(potential, graphs)
    RidgeWarmStart(alpha=0.0, steps=100)(potential, graphs, LOSS)
    assert loss_of(potential, graphs) < 0.01 * before
    assert float(potential.model.readout.linear.weight.detach().abs().max()) < 100


def test_it_repeats_itself(graphs):
    first, second = fresh(graphs), fresh(graphs)
    for potential in (first, second):
        RidgeWarmStart(steps=3)(potential, graphs, LOSS)
    assert torch.equal(first.model.readout.linear.weight, second.model.readout.linear.weight)


def test_bad_arguments_and_readouts(graphs):
    numbers = [{"alpha": alpha} for alpha in (-1.0, float("nan"), float("inf"))]
    for arguments in [*numbers, {"steps": 0}, {"frames": 0}, {"batch_size": 0}]:
        with pytest.raises(ValueError, match="expected a finite alpha of 0 or more"):
            RidgeWarmStart(**arguments)
    potential = Potential(REANN(["Cu"], CUTOFF, num_radial=3, num_density=3, hidden_channels=[4], num_iterations=1))
    with pytest.raises(ValueError, match=r"REANN has no linear part.*AllReadout"):
        RidgeWarmStart()(potential, graphs, LOSS)


class Start(lightning.Callback):
    """Remembers the averaged and the trained linear weights before the first step."""

    def on_train_batch_start(self, trainer, pl_module, *_):
        if trainer.global_step == 0:
            (average,) = (c for c in trainer.callbacks if isinstance(c, ExponentialMovingAverage))
            self.mean = average._average_model.module.potential.model.readout.linear.weight.detach().clone()
            self.trained = pl_module.potential.model.readout.linear.weight.detach().clone()


def test_a_training_starts_from_it(graphs):
    data = AtomsDataModule(CUTOFF, batches=Batches(3))
    data.datasets = {"train": graphs}
    expected = fresh(graphs)
    RidgeWarmStart()(expected, graphs, LOSS)
    torch.manual_seed(0)
    model = OrbitalNetwork(["Cu"], CUTOFF, Density(3), readout=AllReadout([4]), radial=PairRadial(3), num_iterations=1)
    start = Start()
    trainer = lightning.Trainer(
        max_epochs=1,
        accelerator="cpu",
        callbacks=[ExponentialMovingAverage(0.9), start],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        inference_mode=False,
    )
    trainer.fit(PotentialTask(model, LOSS, warm_start=RidgeWarmStart()), data)
    weight = expected.model.readout.linear.weight
    assert float(weight.detach().abs().max()) > 1e-3
    assert torch.equal(start.trained, weight)
    assert torch.equal(start.mean, weight)


def test_a_resumed_run_keeps_its_weights(train, tmp_path, monkeypatch):
    def spoil(self, potential, dataset, loss):
        assert self.steps == 7
        torch.nn.init.constant_(potential.model.coefficient, 9.0)

    def fit(epochs, folder, *more) -> dict[str, Tensor]:
        words = ["--trainer.max_epochs", epochs, "--trainer.callbacks.dirpath", folder, *more]
        assert main(["fit", "--config", str(CONF), "--data.train", train, *words]) == 0
        return torch.load(f"{folder}/last.ckpt", weights_only=True)["current_model_state"]

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(RidgeWarmStart, "__call__", spoil)
    resume = ("--ckpt_path", "first/last.ckpt")
    start = ("--model.warm_start", "RidgeWarmStart", "--model.warm_start.steps", "7")
    spoilt, first = fit("1", "spoilt", *start), fit("1", "first")
    assert float(spoilt["potential.model.coefficient"].min()) > 5 > float(first["potential.model.coefficient"].max())
    without, resumed = fit("2", "without", *resume), fit("2", "with", *resume, *start)
    assert all(torch.equal(resumed[name], value) for name, value in without.items())
