"""Preparation happens once; trained potentials are trained further, with other data and more elements."""

from __future__ import annotations

import lightning
import pytest
import torch
from torch_geometric.data import Batch

from equireann_pyg import (
    EANN,
    REANN,
    EquiREANN,
    OrbitalNetwork,
    Potential,
    from_ase,
    load_potential,
    nn,
    save_potential,
)
from equireann_pyg.data import AtomsDataModule, Batches, ValidationSplit
from equireann_pyg.properties import Dipole
from equireann_pyg.testing import randomize
from equireann_pyg.training import PotentialTask
from equireann_pyg.training.finetuning import adapt_potential, add_elements
from equireann_pyg.training.preparation import prepare_potential
from tests.molecules import molecules, write_molecules

pytestmark = pytest.mark.usefixtures("own_cache")
CUTOFF = 3.0
SMALL = {
    "num_radial": 4,
    "num_density": 8,
    "num_iterations": 1,
    "hidden_channels": [8],
    "envelope": nn.PolynomialCutoff(),
}


def graphs(*names: str, count: int = 20, seed: int = 0, shift: float = 0.0):
    return [from_ase(atoms, CUTOFF) for atoms in molecules(names, count, seed, shift)]


def energies(potential: Potential, frames) -> torch.Tensor:
    return potential.eval()(Batch.from_data_list(frames))["energy"]


def model(kind: str, elements: list[str]) -> torch.nn.Module:
    if kind == "plus":
        return OrbitalNetwork(
            elements,
            CUTOFF,
            nn.ACEProducts(4, 3),
            nn.Coupled([8], 4),
            nn.AllReadout([8]),
            radial=nn.ElementRadial(4),
            num_iterations=1,
        )
    if kind == "EANN":
        return EANN(elements, CUTOFF, num_radial=4, num_density=8, hidden_channels=[8])
    return {"EquiREANN": EquiREANN, "REANN": REANN}[kind](elements, CUTOFF, **SMALL)


def trained(kind: str = "EquiREANN", properties=(), shift: float = 0.0) -> Potential:
    """A potential with references and statistics of methane, and random weights."""
    potential = Potential(model(kind, ["H", "C"]), properties)
    frames = graphs("CH4", shift=shift)
    for frame in frames:
        frame.dipole = frame.forces.sum(0, keepdim=True) + 1.0
    prepare_potential(potential, frames)
    randomize(potential)
    return potential


def fit(task: PotentialTask, train: str, epochs: int) -> None:
    trainer = lightning.Trainer(
        max_epochs=epochs, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=1,
    )  # fmt: skip
    trainer.fit(task, AtomsDataModule(CUTOFF, train, split=ValidationSplit(0.25), batches=Batches(4)))


def test_preparation_happens_once(tmp_path):
    train = write_molecules(tmp_path / "train.xyz", ["CH4", "H2O"])
    task = PotentialTask(EquiREANN(["H", "C", "O"], CUTOFF, **SMALL), optimizer=lambda p: torch.optim.Adam(p, lr=0.01))
    assert not bool(task.potential.prepared)
    fit(task, train, 15)
    assert bool(task.potential.prepared)
    before = {name: value.clone() for name, value in task.potential.state_dict().items()}
    for again in (task, PotentialTask(task.potential)):
        fit(again, train, 0)
        fit(again, train, 1 if again is task else 0)
        kept = {name for name, value in again.potential.state_dict().items() if torch.equal(value, before[name])}
        assert {"reference_energies", "scale", "training_atoms", "model.scalings.0.mean"} <= kept
        if again is not task:
            assert kept == set(before)
        before = {name: value.clone() for name, value in again.potential.state_dict().items()}


def test_the_flag_is_part_of_the_file(tmp_path):
    potential = trained()
    save_potential(potential, tmp_path / "p.pt")
    again = load_potential(tmp_path / "p.pt")
    assert bool(again.prepared)
    assert torch.equal(again.training_atoms, potential.training_atoms)
    assert int(again.training_atoms[1]) == 80
    assert int(again.training_atoms[6]) == 20


@pytest.mark.parametrize("kind", ["EquiREANN", "REANN", "EANN", "plus"])
@pytest.mark.parametrize("added", [["O"], ["He", "O", "F"]])
def test_known_elements_keep_their_energies(kind, added):
    potential, frames = trained(kind), graphs("CH4", "C2H6", seed=5)
    before = energies(potential, frames)
    add_elements(potential, added)
    assert len(potential.elements) == 2 + len(added)
    torch.testing.assert_close(energies(potential, frames), before, rtol=1e-6, atol=0.0)
    assert float((before - before.mean()).abs().max()) > 1e-3
    with pytest.raises(ValueError, match="untrained element O"):
        energies(potential, graphs("H2O"))


def test_one_element_becomes_two():
    potential = Potential(model("EquiREANN", ["H"]))
    prepare_potential(potential, graphs("H2"))
    randomize(potential)
    before = energies(potential, graphs("H2", seed=4))
    add_elements(potential, ["H", "O"])
    torch.testing.assert_close(energies(potential, graphs("H2", seed=4)), before, rtol=1e-6, atol=0.0)


def test_properties_get_rows_too():
    potential = trained(properties=[Dipole([8])])
    frames = graphs("CH4", seed=3)
    before = potential.eval()(Batch.from_data_list(frames))["dipole"]
    add_elements(potential, ["O"])
    after = potential.eval()(Batch.from_data_list(frames))["dipole"]
    torch.testing.assert_close(after, before, rtol=1e-5, atol=1e-6 * float(before.abs().max()))
    assert float(before.abs().max()) > 1e-3


def test_new_elements_start_near_their_energies():
    potential = trained(shift=-300.0)
    add_elements(potential, ["O"])
    frames = graphs("CH4", "H2O", "CO", "CH3OH", count=40, shift=-300.0)
    references = potential.reference_energies.clone()
    adapt_potential(potential, frames)
    labels = torch.cat([data.energy for data in frames])
    error = (energies(potential, frames) - labels)[[1, 2]]
    assert float(error.abs().max()) < 0.05 * float(labels.abs().max())
    unchanged = [number for number in range(len(references)) if number != 8]
    assert torch.equal(potential.reference_energies[unchanged], references[unchanged])
    energies(potential, graphs("H2O"))  # no longer refused
    scaling = potential.model.scalings[0]
    row = potential.elements.index(8)
    assert float(scaling.scale[row].sub(1).abs().max()) > 1e-3


@pytest.mark.parametrize("first", ["H2", "H2O"])
def test_a_new_element_that_the_sample_misses(first, monkeypatch):
    """A sample takes every second frame of a set, which may be those without it."""
    monkeypatch.setattr("equireann_pyg.training.finetuning.SAMPLE", 8)
    potential = Potential(model("EquiREANN", ["H"]))
    prepare_potential(potential, graphs("H2"))
    add_elements(potential, ["O"])
    kinds = {name: graphs(name, count=8, shift=-500.0) for name in ("H2", "H2O")}
    second = {"H2": "H2O", "H2O": "H2"}[first]
    frames = [frame for pair in zip(kinds[first], kinds[second], strict=True) for frame in pair]
    adapt_potential(potential, frames)
    labels = torch.cat([data.energy for data in kinds["H2O"]])
    assert float((energies(potential, kinds["H2O"]) - labels).abs().max()) < 0.02 * float(labels.abs().max())
    assert float(potential.reference_energies[8]) < -100


def test_a_new_element_without_an_energy():
    potential = trained()
    add_elements(potential, ["O"])
    frames = graphs("CH4", "H2O")
    for data in frames:
        if bool((data.z == 8).any()):
            data.energy = torch.full_like(data.energy, torch.nan)
    with pytest.raises(ValueError, match="no frame with O, which is new, has an energy"):
        adapt_potential(potential, frames)
    adapt_potential(potential, frames, references={"O": -432.0})
    assert float(potential.reference_energies[8]) == -432


def test_references_without_a_use(caplog):
    with pytest.raises(ValueError, match="references: that of H is kept in further training: leave it out, or"):
        adapt_potential(trained(), graphs("CH4"), references={"H": -13.6})
    potential = trained()
    adapt_potential(potential, graphs("CH4"), references={"H": float(potential.reference_energies[1])})  # as it is
    adapt_potential(potential, graphs("CH4"), "references", {"H": -13.6})
    assert float(potential.reference_energies[1]) == -13.6
    adapt_potential(potential, graphs("H2"), "references")
    assert "the training set has no C, whose references stay those of the earlier data" in caplog.text


@pytest.mark.parametrize("refit", ["nothing", "references", "references_and_scale"])
def test_references_are_kept_or_refitted(refit):
    potential = trained()
    frames = graphs("CH4", "C2H6", "C2H4", seed=7, shift=-25.0)
    labels = torch.cat([data.energy for data in frames])
    before = {name: value.clone() for name, value in potential.state_dict().items()}
    error = (energies(potential, frames) - labels).abs().mean()
    adapt_potential(potential, frames, refit)
    changed = {name for name, value in potential.state_dict().items() if not torch.equal(value, before[name])}
    after = (energies(potential, frames) - labels).abs().mean()
    if refit == "nothing":
        assert changed == {"training_atoms"}
    else:
        assert changed == {"training_atoms", "reference_energies"} | ({"scale"} if refit.endswith("scale") else set())
        assert float(after) < 0.1 * float(error)


def test_a_refitted_scale_suits_the_forces():
    potential = trained()
    frames = graphs("CH4", "C2H6", seed=7)
    forces = torch.cat([data.forces for data in frames])

    def error() -> float:
        return float((potential.eval()(Batch.from_data_list(frames))["forces"] - forces).square().mean())

    adapt_potential(potential, frames, "references_and_scale")
    best, scale = error(), potential.scale.clone()
    for factor in (0.9, 1.1):
        potential.scale.copy_(factor * scale)
        assert error() > best * (1 + 1e-4)


def test_models_that_cannot_grow_say_so():
    class Plain(torch.nn.Module):
        cutoff, elements = CUTOFF, (1,)

        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(1))
            self.config: dict[str, float] = {}

    Plain.__qualname__ = "Plain"
    with pytest.raises(TypeError, match="its config has no `elements`"):
        add_elements(Potential(Plain()), ["O"])


def test_a_task_has_one_source(tmp_path):
    save_potential(trained(), tmp_path / "p.pt")
    with pytest.raises(ValueError, match="there is no model"):
        PotentialTask()
    with pytest.raises(ValueError, match="brings its own model"):
        PotentialTask(model("EANN", ["H"]), init_from=str(tmp_path / "p.pt"))
    with pytest.raises(ValueError, match="parts of its own"):
        PotentialTask(trained(), properties=[Dipole([8])])
    with pytest.raises(ValueError, match="model, properties and repulsion: leave these out"):
        PotentialTask(init_from=str(tmp_path / "p.pt"), repulsion=nn.ZBL())
    assert PotentialTask(init_from=str(tmp_path / "p.pt")).potential.training


def test_an_unprepared_potential_is_mentioned():
    from torch_geometric.loader import DataLoader

    frames = graphs("CH4", count=4)
    trainer = lightning.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=0,
    )  # fmt: skip
    with pytest.warns(UserWarning, match="call prepare_potential"):
        trainer.fit(PotentialTask(model("EquiREANN", ["H", "C"])), DataLoader(frames), DataLoader(frames))


@pytest.mark.parametrize("refit", ["nothing", "references"])
def test_refitted_references_of_an_earlier_file_are_those_of_isolated_atoms(refit):
    potential = trained()
    potential.switch.zero_()  # as in files of format 1
    adapt_potential(potential, graphs("CH4", "C2H6"), refit)
    alone = from_ase(molecules(["CH4"], 1)[0][:1], CUTOFF)
    exact = float(potential.eval()(alone)["energy"]) == float(potential.reference_energies[6])
    assert exact == (refit == "references")
