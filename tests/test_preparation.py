"""Reference energies from isolated atoms, given or fitted, and what a potential starts from."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from torch_geometric.data import Data

from equireann_pyg import EquiREANN, Potential, from_ase
from equireann_pyg.nn import ZBL
from equireann_pyg.training.preparation import prepare_potential, without_repulsion
from equireann_pyg.training.references import find_references, fit_binding, fit_reference_energies, isolated_atoms

FREE = {"H": -13.6, "C": -1029.5, "O": -2042.0}
BOUND = {"H": -2.5, "C": -7.0, "O": -5.0}
CUTOFF = 4.0


def graph(atoms: Atoms, energy: float | None = None, force: float = 0.1, **info: object) -> Data:
    """Labelled graph; by default with a free plus a bound energy for each atom."""
    symbols = atoms.get_chemical_symbols()
    if energy is None:
        energy = sum(FREE[s] + BOUND[s] for s in symbols)
    atoms.info |= info
    atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=np.full((len(atoms), 3), force))
    return from_ase(atoms, CUTOFF)


def free(symbol: str, energy: float | None = None, **info: object) -> Data:
    """Graph of an isolated atom."""
    return graph(Atoms(symbol), FREE[symbol] if energy is None else energy, 0.0, **info)


def bound() -> list[Data]:
    """Molecules of several compositions."""
    return [graph(molecule(name)) for name in ("CH4", "H2O", "CH3OH", "C2H6", "H2CO", "C2H4")]


def potential(repulsion: torch.nn.Module | None = None, elements: Sequence[str] = ("H", "C", "O")) -> Potential:
    """A fresh potential: its model gives zero."""
    torch.manual_seed(0)
    sizes = {"num_radial": 4, "num_density": 6, "hidden_channels": [6], "num_iterations": 1}
    return Potential(EquiREANN(elements, CUTOFF, **sizes), repulsion=repulsion).eval()


ISOLATED = [free("H", config_type="IsolatedAtom"), free("C"), free("O", config_type="isolated_atom")]


def test_isolated_atoms_are_references_and_the_mean_is_where_it_was() -> None:
    made = potential()
    found = prepare_potential(made, bound() + ISOLATED)
    assert found.energies == {1: -13.6, 6: -1029.5, 8: -2042.0}
    assert set(found.origins.values()) == {"isolated atom"}
    assert found.isolated
    assert not found.warnings
    assert made.reference_energies[[1, 6, 8]].tolist() == list(found.energies.values())
    assert made.binding_energies[[1, 6, 8]].tolist() == pytest.approx([-2.5, -7.0, -5.0], rel=1e-2)
    for data in bound():  # from the first step on
        assert abs(float(made(data)["energy"] - data.energy)) < 0.02
    for data in ISOLATED:
        assert float(made(data)["energy"]) == float(data.energy)


def test_isolated_atoms_change_neither_scale_nor_statistics() -> None:
    without, beside = potential(), potential()
    prepare_potential(without, bound())
    prepare_potential(beside, 5 * ISOLATED + bound())
    assert float(without.scale) == pytest.approx(0.1, rel=1e-12)
    assert float(beside.scale) == float(without.scale)
    state = beside.state_dict()
    for name, value in without.state_dict().items():
        if name not in ("reference_energies", "binding_energies", "training_atoms"):
            assert torch.equal(state[name], value), name
    without_forces = [data.clone() for data in bound() + ISOLATED]
    for data in without_forces:
        data.forces = torch.full_like(data.forces, torch.nan)
    prepare_potential(beside, without_forces)
    assert float(beside.scale) < 0.1  # the spread about the bound, not about the free atoms


def test_given_references_go_before_all_else(caplog: pytest.LogCaptureFixture) -> None:
    given = {"H": -10.0, "C": -1000.0, "O": -2000.0}
    for references in (given, {1: -10.0, 6: -1000.0, 8: -2000.0}):
        made = potential()
        found = prepare_potential(made, bound() + ISOLATED, references)
        assert list(found.energies.values()) == [-10.0, -1000.0, -2000.0]
        assert set(found.origins.values()) == {"given"}
    assert made.binding_energies[[1, 6]].tolist() == pytest.approx([-6.1, -36.5], rel=1e-2)
    assert {record.getMessage()[:53] for record in caplog.records} == {  # -36.5 eV is more than anything has
        "the atoms of the training set have -16.58 eV each rel"
    }
    found = find_references([*bound(), free("C")], [1, 6, 8], {"H": -10.0, "O": -2000.0, "F": 0.0})
    assert list(found.origins.values()) == ["given", "isolated atom", "given"]
    with pytest.raises(ValueError, match="references lack C, O: give the energy of an isolated atom of every element"):
        prepare_potential(potential(), bound(), {"H": -10.0})
    with pytest.raises(ValueError, match="unknown element 'Qq'"):
        prepare_potential(potential(), bound(), {"Qq": -10.0})


def test_one_formula_does_not_tell_the_elements_apart(caplog: pytest.LogCaptureFixture) -> None:
    frames = [graph(molecule("CH3OH"), energy) for energy in (-3000.0, -3001.0)]
    found = prepare_potential(potential(), frames)
    assert set(found.origins.values()) == {"not determined"}
    assert found.energies == pytest.approx(dict.fromkeys([1, 6, 8], -3000.5 / 6))
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.message.startswith(
        "reference energies of H, C, O: the compositions of the training set do not determine"
    )
    assert "IsolatedAtom" in record.message
    assert "--data.references" in record.message
    assert "\n" not in record.message
    found = find_references([*bound(), graph(molecule("H2"))], [1, 6, 8, 29])
    assert list(found.origins.values()) == ["fitted", "fitted", "fitted", "not determined"]
    assert not found.warnings  # an element without any atom is another matter
    assert not found.isolated
    water = [graph(molecule(name)) for name in ("H2O", "C2H4", "CH4")]
    assert find_references(water[:2], [1, 6, 8]).warnings[0].startswith("reference energies of H, C, O:")
    assert not find_references(water, [1, 6, 8]).warnings


def test_some_isolated_atoms_are_held_fixed_and_said(caplog: pytest.LogCaptureFixture) -> None:
    made = potential()
    found = prepare_potential(made, bound() + ISOLATED[:1])
    assert list(found.origins.values()) == ["isolated atom", "fitted", "fitted"]
    assert found.energies[1] == -13.6
    fixed = fit_reference_energies(bound(), {1: -13.6})
    assert found.energies == {1: -13.6, **fixed}
    (record,) = caplog.records
    assert record.message.startswith("reference energies of C, O are fitted beside those of isolated atoms of H")
    residual = [float(data.energy) - sum(found.energies[z] for z in data.z.tolist()) for data in bound()]
    counts = torch.stack([torch.stack([(data.z == z).sum() for z in (6, 8)]) for data in bound()]).double()
    assert (counts.T @ torch.tensor(residual).double()).abs().max() < 1e-4 * max(map(abs, residual))  # least squares
    assert max(map(abs, residual)) > 1


def test_references_that_are_replaced(caplog: pytest.LogCaptureFixture) -> None:
    made = potential()
    prepare_potential(made, bound() + ISOLATED)
    assert "replaced" not in caplog.text
    made = potential()
    made.set_references(FREE)
    prepare_potential(made, bound())
    assert "the reference energies that the potential has are replaced" in caplog.text


def test_what_is_no_isolated_atom(caplog: pytest.LogCaptureFixture) -> None:
    dense = graph(Atoms("C", cell=[2, 2, 2], pbc=True), -1000.0)
    assert dense.edge_index.size(1) > 0
    ion = free("H", 0.0, charge=1.0)
    assert isolated_atoms([dense, ion, free("O", float(FREE["O"]), external_field=[0, 0, 0.1])]) == {}
    assert isolated_atoms([free("H", -1.0), free("H", -1.5)]) == {}  # which of them?
    assert "single atoms of H have energies from -1.5 to -1 eV, so none is its reference" in caplog.text
    caplog.clear()
    assert isolated_atoms([free("H", -1.0), free("H", -1.5), free("H", -2.0, config_type="isolated atom")]) == {1: -2.0}
    assert not caplog.records
    assert isolated_atoms([free("H", -1.0), free("H", -1.0)]) == {1: -1.0}
    with pytest.raises(ValueError, match=r"isolated atoms of H have energies from -2 to -1 eV: keep the frame"):
        isolated_atoms([free("H", energy, config_type="IsolatedAtom") for energy in (-1.0, -2.0)])
    with pytest.raises(ValueError, match="frame 1: config_type is IsolatedAtom, but there are 5 atoms"):
        isolated_atoms([dense, graph(molecule("CH4"), config_type="IsolatedAtom")])
    with pytest.raises(ValueError, match="frame 0: config_type is ISOLATED_ATOM, but there are neighbours"):
        isolated_atoms([graph(Atoms("C", cell=[2, 2, 2], pbc=True), -1000.0, config_type="ISOLATED_ATOM")])


def test_binding_of_one_formula_is_the_mean() -> None:
    frames = [graph(molecule("CH3OH"), energy) for energy in (-3000.0, -3001.0)]
    binding = fit_binding(frames, {1: -13.6, 6: -1029.5, 8: -2042.0}, CUTOFF)
    assert list(binding.values()) == pytest.approx([(-3000.5 + 4 * 13.6 + 1029.5 + 2042.0) / 6] * 3, rel=1e-2)


def test_labels_are_fitted_without_the_repulsion() -> None:
    close = molecule("CH4")
    close.positions *= 0.6
    frames = [*bound(), graph(molecule("H2")), graph(close, -1200.0)]
    model, bare = potential(ZBL()), potential()
    left = without_repulsion(model, frames)
    assert torch.equal(frames[-1].forces, torch.full((5, 3), 0.1, dtype=torch.float64))  # the data stay as they are
    repelled = Potential(model.model, repulsion=ZBL()).eval()
    for before, after in zip(frames, left, strict=True):
        output, plain = repelled(before), Potential(model.model).eval()(before)
        torch.testing.assert_close(before.energy - after.energy, output["energy"] - plain["energy"])
        torch.testing.assert_close(before.forces - after.forces, output["forces"] - plain["forces"])
    assert float(frames[-1].energy - left[-1].energy) > 5
    references = prepare_potential(model, frames).energies
    assert references == pytest.approx(fit_reference_energies(left), rel=1e-12)
    assert references != pytest.approx(prepare_potential(bare, frames).energies, rel=1e-4)
    assert float(model.scale) > 10 * float(bare.scale)


@pytest.mark.parametrize(("shift", "doubted"), [(0.0, False), (-30.0, True), (30.0, True)])
def test_isolated_atoms_of_another_level_of_theory_are_doubted(
    shift: float, doubted: bool, caplog: pytest.LogCaptureFixture
) -> None:
    isolated = [data.clone() for data in ISOLATED]
    for data in isolated:
        data.energy = data.energy - shift
    prepare_potential(potential(), bound() + isolated)
    assert ("relative to isolated atoms (expected" in caplog.text) == doubted
