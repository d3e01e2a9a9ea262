"""Several potentials as one calculator, calculators made anew, and the stresses of the atoms."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule

from equireann_pyg import CommitteeCalculator, EquiREANN, EquiREANNCalculator, Potential, from_ase, save_potential
from equireann_pyg.potential import atomic_stress
from equireann_pyg.testing import assert_close, random_orthogonal, randomize


def potential(seed: int, elements: tuple[str, ...] = ("Cu",)) -> Potential:
    """A potential with random parameters."""
    torch.manual_seed(seed)
    model = EquiREANN(elements, 3.0, num_radial=4, num_density=8, num_iterations=2, hidden_channels=[8])
    randomize(model, seed=seed)
    return Potential(model.double()).eval()


def crystal() -> Atoms:
    atoms = bulk("Cu", cubic=True)
    atoms.set_cell(atoms.cell.array @ np.array([[1, 0.3, 0], [0, 1.02, 0.1], [0.1, 0, 0.97]]), scale_atoms=True)
    atoms.rattle(0.1, seed=2)
    return atoms


def test_mean_and_spread() -> None:
    members = [potential(seed) for seed in range(3)]
    atoms = crystal()
    apart = []
    for member in members:
        atoms.calc = EquiREANNCalculator(member)
        apart.append((atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()))
    atoms.calc = CommitteeCalculator(members)
    energies, forces, stresses = (np.array(values) for values in zip(*apart, strict=True))
    assert atoms.get_potential_energy() == pytest.approx(energies.mean(), rel=1e-12)
    assert energies.std() > 1e-3
    results = atoms.calc.results
    assert results["energy_std"] == pytest.approx(energies.std(ddof=1), rel=1e-10)
    np.testing.assert_allclose(atoms.get_forces(), forces.mean(0), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(results["forces_std"], forces.std(0, ddof=1), rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(results["stress_std"], stresses.std(0, ddof=1), rtol=1e-8, atol=1e-14)
    assert results["energies_std"].shape == (4,)
    atoms.positions[0] += 0.1
    assert atoms.get_potential_energy() != pytest.approx(energies.mean(), rel=1e-6)


def test_committee_of_open_systems_has_no_stress() -> None:
    atoms = molecule("CH4")
    atoms.calc = CommitteeCalculator([potential(seed, ("H", "C")) for seed in range(2)])
    assert atoms.get_forces().shape == (5, 3)
    assert "stress_std" not in atoms.calc.results


def test_what_is_no_committee(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a list of two or more"):
        CommitteeCalculator([potential(0)])
    with pytest.raises(ValueError, match="a list of two or more"):
        CommitteeCalculator("one.ckpt")
    with pytest.raises(ValueError, match="the same elements"):
        CommitteeCalculator([potential(0), potential(1, ("Ag",))])
    with pytest.raises(FileNotFoundError):
        CommitteeCalculator([tmp_path / "a.ckpt", tmp_path / "b.ckpt"])


def test_made_anew_from_plain_values(tmp_path: Path) -> None:
    files = [tmp_path / f"{seed}.pt" for seed in range(2)]
    for seed, file in enumerate(files):
        save_potential(potential(seed), file)
    atoms = crystal()
    for calculator in (EquiREANNCalculator(files[0], dtype="float32", skin=0.3), CommitteeCalculator(files, skin=0.1)):
        atoms.calc = calculator
        energy = atoms.get_potential_energy()
        again = json.loads(json.dumps(calculator.todict()))
        atoms.calc = type(calculator)(**again)
        assert atoms.get_potential_energy() == energy
        assert atoms.calc.todict() == again
    assert EquiREANNCalculator(potential(0)).todict()["potential"] is None


def test_stresses_of_atoms() -> None:
    atoms = crystal()
    atoms.calc = EquiREANNCalculator(potential(0))
    shares, whole = atoms.get_stresses(), atoms.get_stress()
    assert np.abs(whole).max() > 1e-4
    np.testing.assert_allclose(shares.sum(0), whole, rtol=1e-10, atol=1e-14)
    assert np.ptp(shares, axis=0).max() > 1e-2 * np.abs(shares).max()


def test_stresses_of_atoms_turn_and_permute() -> None:
    made, atoms = potential(0), crystal()
    reference = atomic_stress(made, from_ase(atoms, 3.0))
    q = random_orthogonal(seed=3, reflect=True)
    turned = atoms.copy()
    turned.set_cell(atoms.cell.array @ q.numpy().T, scale_atoms=True)
    assert_close(atomic_stress(made, from_ase(turned, 3.0)), q @ reference @ q.T, 1e-10, "stresses under a reflection")
    mixed = atoms[[2, 0, 3, 1]]
    assert_close(atomic_stress(made, from_ase(mixed, 3.0)), reference[[2, 0, 3, 1]], 1e-10, "stresses of other order")


def test_stresses_want_a_volume() -> None:
    atoms = molecule("CH4")
    atoms.calc = EquiREANNCalculator(potential(0, ("H", "C")))
    with pytest.raises(ValueError, match="no cell volume"):
        atoms.get_stresses()
