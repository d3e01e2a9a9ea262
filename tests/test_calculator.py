from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from ase.md.verlet import VelocityVerlet

from equireann_pyg import EquiREANN, Potential, save_potential
from equireann_pyg.calculator import EquiREANNCalculator


def potential(elements=("H", "O"), scale=1e-3) -> Potential:
    """A potential with random parameters everywhere and a moderate energy."""
    torch.manual_seed(1)
    model = EquiREANN(
        list(elements), cutoff=3.0, num_radial=4, num_density=8, num_iterations=2, hidden_channels=[8]
    ).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    result = Potential(model)
    result.set_references(dict.fromkeys(model.elements, -3.0), scale=scale)
    return result.eval()


def skewed() -> Atoms:
    atoms = bulk("Cu", cubic=True)
    atoms.set_cell(atoms.cell.array @ np.array([[1, 0.3, 0], [0, 1.02, 0.1], [0.1, 0, 0.97]]), scale_atoms=True)
    atoms.rattle(0.1, seed=2)
    return atoms


class LennardJones(torch.nn.Module):
    """Sum of smooth pair energies, for signs and units that are known."""

    def __init__(self) -> None:
        super().__init__()
        self.cutoff, self.elements = 6.0, [29]
        self.depth = torch.nn.Parameter(torch.tensor(0.1, dtype=torch.float64))

    def forward(self, z, edge_index, edge_vec):
        x = (2.3 / edge_vec.norm(dim=-1)).pow(6)
        pair = 2 * self.depth * (x * x - x) * (1 - edge_vec.norm(dim=-1) / 6.0).clamp(min=0).square()
        return torch.zeros(z.numel(), dtype=pair.dtype).index_add(0, edge_index[1], pair)


def test_forces_and_stress_are_derivatives_of_the_energy():
    atoms = skewed()
    atoms.calc = EquiREANNCalculator(potential(["Cu"]), skin=0.0)
    forces, stress = atoms.get_forces(), atoms.get_stress()
    numerical_forces = calculate_numerical_forces(atoms, eps=1e-5)
    numerical_stress = calculate_numerical_stress(atoms, eps=1e-5)
    assert np.abs(forces).max() > 1e-3
    assert np.abs(stress).max() > 1e-5
    np.testing.assert_allclose(forces, numerical_forces, atol=1e-6 * np.abs(forces).max())
    np.testing.assert_allclose(stress, numerical_stress, atol=1e-6 * np.abs(stress).max())


def test_sign_of_the_stress_is_ases():
    calculator = EquiREANNCalculator(Potential(LennardJones()))
    pressures = []
    for factor in (0.9, 1.1):
        atoms = bulk("Cu", cubic=True)
        atoms.set_cell(factor * atoms.cell, scale_atoms=True)
        atoms.calc = calculator
        pressures.append(atoms.get_stress()[:3].sum())
        np.testing.assert_allclose(
            atoms.get_stress(), calculate_numerical_stress(atoms, eps=1e-5), rtol=1e-4, atol=1e-8
        )
    assert pressures[0] < 0 < pressures[1]  # compressed: negative; stretched: positive


@pytest.mark.parametrize("periodic", [True, False])
def test_skin_changes_nothing(periodic):
    atoms = skewed() if periodic else Atoms("Cu8", np.random.default_rng(0).uniform(0, 5, (8, 3)))
    fresh = EquiREANNCalculator(potential(["Cu"]), skin=0.0)
    kept = EquiREANNCalculator(potential(["Cu"]), skin=0.6)
    rng, graphs = np.random.default_rng(5), set()
    for _ in range(30):
        atoms.positions += 0.06 * rng.normal(size=atoms.positions.shape)
        energies, forces = [], []
        for calculator in (fresh, kept):
            atoms.calc = calculator
            energies.append(atoms.get_potential_energy())
            forces.append(atoms.get_forces())
        graphs.add(id(kept._graph))
        assert energies[0] == pytest.approx(energies[1], rel=1e-11)
        np.testing.assert_allclose(forces[0], forces[1], atol=1e-9 * np.abs(forces[0]).max())
    assert 1 < len(graphs) < 30  # kept for several steps, rebuilt when needed


def test_dynamics_conserve_energy(tmp_path):
    save_potential(potential(), tmp_path / "water.pt")
    atoms = molecule("H2O")
    atoms.calc = EquiREANNCalculator(tmp_path / "water.pt")
    atoms.set_momenta(0.1 * np.random.default_rng(0).normal(size=(3, 3)))
    dynamics = VelocityVerlet(atoms, 0.25 * units.fs)
    totals, kinetic = [], []
    for _ in range(300):
        dynamics.run(1)
        totals.append(atoms.get_total_energy())
        kinetic.append(atoms.get_kinetic_energy())
    assert np.std(kinetic) > 1e-3  # eV: energy does flow
    drift = np.polyfit(np.arange(len(totals)), totals, 1)[0] * len(totals)
    assert np.std(totals) < 0.02 * np.std(kinetic)
    assert abs(drift) < 0.02 * np.std(kinetic)


def test_single_precision_agrees_with_double():
    atoms = skewed()
    forces = []
    for dtype in (torch.float64, torch.float32):
        atoms.calc = EquiREANNCalculator(potential(["Cu"]), dtype=dtype)
        forces.append(atoms.get_forces())
    assert forces[1].dtype == np.float64
    assert 0 < np.abs(forces[0] - forces[1]).max() < 1e-4 * np.abs(forces[0]).max()


def test_results_and_errors():
    water = molecule("H2O")
    water.calc = EquiREANNCalculator(potential())
    assert water.get_potential_energies().sum() == pytest.approx(water.get_potential_energy(), rel=1e-12)
    with pytest.raises(Exception, match="stress"):
        water.get_stress()
    alien = molecule("CH4")
    alien.calc = EquiREANNCalculator(potential())
    with pytest.raises(ValueError, match="unknown element C"):
        alien.get_potential_energy()
    with pytest.raises(ValueError, match="skin"):
        EquiREANNCalculator(potential(), skin=-1.0)
    with pytest.raises(FileNotFoundError, match=r"absent\.ckpt"):
        EquiREANNCalculator("absent.ckpt")
