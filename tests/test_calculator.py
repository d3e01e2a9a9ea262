from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.build import bulk, fcc111, molecule
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from ase.calculators.lj import LennardJones
from ase.geometry import wrap_positions
from ase.md.verlet import VelocityVerlet

from equireann_pyg import EquiREANN, Potential, save_potential
from equireann_pyg.inference.calculator import EquiREANNCalculator
from equireann_pyg.nn import PolynomialCutoff
from equireann_pyg.potential.checkpoint import potential_state
from equireann_pyg.testing import randomize

CUTOFF = 3.0


def potential(elements: tuple[str, ...] = ("Cu",), dtype: torch.dtype = torch.float64, scale: float = 1.0) -> Potential:
    """A potential with random parameters everywhere, the same in every call."""
    torch.manual_seed(1)
    sizes = {"num_radial": 4, "num_density": 8, "num_iterations": 2, "hidden_channels": [8]}
    model = EquiREANN(elements, CUTOFF, envelope=PolynomialCutoff(), **sizes)
    randomize(model, seed=1)
    result = Potential(model.to(dtype))
    result.set_references(dict.fromkeys(model.elements, -3.0), scale=scale)
    return result.eval()


def skewed() -> Atoms:
    atoms = bulk("Cu", cubic=True)
    atoms.set_cell(atoms.cell.array @ np.array([[1, 0.3, 0], [0, 1.02, 0.1], [0.1, 0, 0.97]]), scale_atoms=True)
    atoms.rattle(0.1, seed=2)
    return atoms


def slab() -> Atoms:
    atoms = fcc111("Cu", (2, 1, 2), vacuum=5.0)
    atoms.rattle(0.1, seed=3)
    return atoms


def cluster() -> Atoms:
    return Atoms("Cu6", np.random.default_rng(0).uniform(0, 4, (6, 3)))


def one_in_a_small_cell() -> Atoms:
    return Atoms("Cu", cell=[[2.2, 0, 0], [0.7, 2.1, 0], [0.2, -0.5, 2.4]], pbc=True)


class SmoothLennardJones(torch.nn.Module):
    """The formula of ``ase.calculators.lj.LennardJones(smooth=True)``."""

    def __init__(self, sigma: float = 2.3, epsilon: float = 0.1, onset: float = 4.0, cutoff: float = 6.0) -> None:
        super().__init__()
        self.cutoff, self.elements, self.sigma, self.onset = cutoff, [18], sigma, onset
        self.epsilon = torch.nn.Parameter(torch.tensor(epsilon, dtype=torch.float64))

    def forward(self, z: torch.Tensor, edge_index: torch.Tensor, edge_vec: torch.Tensor) -> torch.Tensor:
        r2, on2, off2 = edge_vec.square().sum(-1), self.onset**2, self.cutoff**2
        c6 = (self.sigma**2 / r2) ** 3
        switch = (off2 - r2) ** 2 * (off2 + 2 * r2 - 3 * on2) / (off2 - on2) ** 3
        pair = 4 * self.epsilon * (c6**2 - c6) * torch.where(r2 < on2, torch.ones_like(r2), switch)
        return torch.zeros(z.numel(), dtype=pair.dtype).index_add(0, edge_index[1], 0.5 * pair)


@pytest.mark.parametrize("structure", [skewed, slab, cluster, one_in_a_small_cell])
def test_forces_and_stress_are_derivatives_of_the_energy(structure: Callable[[], Atoms]) -> None:
    atoms = structure()
    atoms.calc = EquiREANNCalculator(potential())
    if len(atoms) > 1:
        forces = atoms.get_forces()
        assert np.abs(forces).max() > 1e-2
        np.testing.assert_allclose(
            forces, calculate_numerical_forces(atoms, eps=1e-4), rtol=0, atol=1e-6 * np.abs(forces).max()
        )
    if atoms.pbc.any():
        stress = atoms.get_stress()
        assert np.abs(stress).min() > 1e-6  # every component is tested
        numerical = calculate_numerical_stress(atoms, eps=1e-5)
        np.testing.assert_allclose(stress, numerical, rtol=0, atol=1e-6 * np.abs(stress).max())


@pytest.mark.parametrize("factor", [0.9, 1.0, 1.1])
def test_agrees_with_the_lennard_jones_calculator_of_ase(factor: float) -> None:
    atoms = bulk("Ar", "fcc", a=3.7, cubic=True)
    atoms.set_cell(factor * atoms.cell.array @ np.array([[1, 0.2, 0], [0, 1, 0.1], [0.1, 0, 1]]), scale_atoms=True)
    atoms.rattle(0.1, seed=0)
    atoms.calc = EquiREANNCalculator(Potential(SmoothLennardJones()))
    expected = LennardJones(sigma=2.3, epsilon=0.1, ro=4.0, rc=6.0, smooth=True)
    for name in ("energy", "free_energy", "energies", "forces", "stress"):
        value, reference = atoms.calc.get_property(name, atoms), expected.get_property(name, atoms)
        assert np.shape(value) == np.shape(reference)
        assert np.abs(reference).max() > 1e-3
        np.testing.assert_allclose(value, reference, rtol=0, atol=1e-10 * np.abs(reference).max(), err_msg=name)
    pressure = -atoms.get_stress()[:3].mean()
    if factor != 1.0:
        assert (pressure > 1e-3) if factor < 1 else (pressure < -1e-3)  # compressed: stress negative, it pushes out


@pytest.mark.parametrize("structure", [skewed, cluster])
def test_skin_changes_nothing_while_atoms_cross_cutoff_and_boundaries(structure: Callable[[], Atoms]) -> None:
    atoms, rng = structure(), np.random.default_rng(5)
    velocities = 0.05 * rng.normal(size=atoms.positions.shape)  # Angstrom per step
    fresh, kept = (EquiREANNCalculator(potential(), skin=skin) for skin in (0.0, 0.6))
    searches, edges, outside = set(), set(), 0
    for step in range(60):
        atoms.positions += velocities + 0.01 * rng.normal(size=velocities.shape)
        if step % 25 == 24 and atoms.pbc.any():
            atoms.wrap()
        outside += not np.array_equal(atoms.positions, wrap_positions(atoms.positions, atoms.cell, atoms.pbc))
        for name in ("energy", "forces", "energies", *(("stress",) if atoms.pbc.any() else ())):
            value, reference = kept.get_property(name, atoms), fresh.get_property(name, atoms)
            np.testing.assert_allclose(value, reference, rtol=0, atol=1e-11 * np.abs(reference).max())
        assert kept._built is not None
        searches.add(id(kept._built[1].edge_index))
        edges.add(kept._graph(atoms)[0].num_edges)
    assert 2 < len(searches) < 40  # kept for several steps, rebuilt when needed
    assert len(edges) > 5  # pairs came and went
    assert outside > 10 or not atoms.pbc.any()


@pytest.mark.parametrize("change", ["cell", "pbc", "numbers", "length", "order", "far"])
def test_every_change_of_the_structure_is_noticed(change: str) -> None:
    kept, atoms = EquiREANNCalculator(potential(("Cu", "Au")), skin=1.0), skewed()
    before = kept.get_potential_energy(atoms)
    if change == "cell":
        atoms.cell[0] *= 1.01  # without the atoms
    elif change == "pbc":
        atoms.pbc = [True, True, False]
    elif change == "numbers":
        atoms.numbers[1] = 79
    elif change == "length":
        del atoms[2]
    elif change == "order":
        atoms = Atoms("Cu3Au", atoms.positions[::-1], cell=atoms.cell, pbc=True)
    else:
        atoms.positions[0] += 100 * atoms.cell[1]  # an equivalent place
    after = kept.get_potential_energy(atoms)
    assert after == pytest.approx(EquiREANNCalculator(kept.potential).get_potential_energy(atoms), rel=1e-12)
    if change == "far":
        assert after == pytest.approx(before, rel=1e-12)
    else:
        assert abs(after - before) > 1e-4


def test_models_that_do_not_vanish_beyond_the_cutoff() -> None:
    class Pairs(torch.nn.Module):
        """Longer for longer pairs, without an end."""

        cutoff, elements = CUTOFF, (29,)

        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones((), dtype=torch.float64))

        def forward(self, z: torch.Tensor, edge_index: torch.Tensor, edge_vec: torch.Tensor) -> torch.Tensor:
            return torch.zeros(len(z), dtype=edge_vec.dtype).index_add(
                0, edge_index[1], edge_vec.norm(dim=-1) * self.weight
            )

    sums = [EquiREANNCalculator(Potential(Pairs()), skin=skin).get_potential_energy(skewed()) for skin in (0.0, 2.0)]
    assert sums[0] == pytest.approx(sums[1], rel=1e-12)
    assert sums[0] > 10


def simulate(atoms: Atoms, timestep: float, steps: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Total and kinetic energies (eV) along a velocity Verlet run, and how many numbers of edges there were."""
    dynamics, total, kinetic, edges = VelocityVerlet(atoms, timestep * units.fs), [], [], set()
    for _ in range(steps):
        dynamics.run(1)
        total.append(atoms.get_total_energy())
        kinetic.append(atoms.get_kinetic_energy())
        edges.add(atoms.calc._graph(atoms)[0].num_edges)
    return np.array(total), np.array(kinetic), len(edges)


@pytest.mark.parametrize("name", ["water", "copper"])
def test_dynamics_conserve_energy(name: str, tmp_path, record_property: Callable[[str, object], None]) -> None:
    atoms = molecule("H2O") if name == "water" else skewed()
    elements, scale, timestep = (("H", "O"), 0.3, 0.2) if name == "water" else (("Cu",), 0.03, 1.0)
    save_potential(potential(elements, scale=scale), tmp_path / "potential.pt")
    momenta = np.sqrt(0.03 * atoms.get_masses())[:, None] * np.random.default_rng(0).normal(size=(len(atoms), 3))
    fluctuations = []
    for refinement in (1, 2):
        run = atoms.copy()
        run.set_momenta(momenta)
        run.calc = EquiREANNCalculator(tmp_path / "potential.pt")
        total, kinetic, edges = simulate(run, timestep / refinement, 120 * refinement)
        assert np.std(kinetic) > 1e-2  # eV: energy does flow
        assert edges > 3 or name == "water"  # pairs cross the cutoff
        drift = float(np.polyfit(np.linspace(0, 1, len(total)), total, 1)[0])  # eV over the run
        record_property(f"drift of {name} in eV, time step {timestep / refinement} fs", drift)
        assert abs(drift) < 2e-3 * np.std(kinetic)
        assert np.std(total) < 2e-3 * np.std(kinetic)
        fluctuations.append(np.std(total))
    assert fluctuations[0] / fluctuations[1] == pytest.approx(4, rel=0.15)  # second order in the time step


def test_single_precision_agrees_with_double() -> None:
    atoms, forces = skewed(), []
    for dtype in (torch.float64, torch.float32):
        calculator = EquiREANNCalculator(potential(), dtype=dtype)
        assert calculator.potential.dtype == dtype
        atoms.calc = calculator
        forces.append(atoms.get_forces())
    assert np.abs(forces[0]).max() > 1e-2
    assert 0 < np.abs(forces[0] - forces[1]).max() < 1e-4 * np.abs(forces[0]).max()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_results_are_numpys_double_precision(dtype: torch.dtype) -> None:
    atoms = skewed()
    atoms.calc = EquiREANNCalculator(potential(dtype=dtype))
    assert type(atoms.get_potential_energy()) is float
    assert atoms.get_potential_energy(force_consistent=True) == atoms.get_potential_energy()
    assert atoms.get_potential_energies().sum() == pytest.approx(atoms.get_potential_energy(), rel=1e-12)
    for value, shape in (
        (atoms.get_forces(), (4, 3)),
        (atoms.get_stress(), (6,)),
        (atoms.get_potential_energies(), (4,)),
    ):
        assert isinstance(value, np.ndarray)
        assert value.dtype == np.float64
        assert value.shape == shape


def test_the_potential_of_the_caller_is_left_alone() -> None:
    mine = potential(dtype=torch.float32).train()
    state = potential_state(mine)
    calculator = EquiREANNCalculator(mine, dtype=torch.float64)
    before = calculator.get_potential_energy(skewed())
    assert mine.training
    assert mine.dtype == torch.float32
    assert all(parameter.requires_grad and parameter.grad is None for parameter in mine.parameters())
    assert all(torch.equal(value, state["state_dict"][name]) for name, value in mine.state_dict().items())
    with torch.no_grad():
        for parameter in mine.parameters():
            parameter.zero_()  # training goes on
    calculator.reset()
    assert calculator.get_potential_energy(skewed()) == before


def test_no_stress_without_volume() -> None:
    atoms = cluster()
    atoms.calc = EquiREANNCalculator(potential())
    atoms.get_potential_energy()
    with pytest.raises(PropertyNotImplementedError, match="stress"):
        atoms.get_stress()


def test_structures_that_are_refused() -> None:
    calculator = EquiREANNCalculator(potential(("H", "O")))
    flat = Atoms("CF", [[0, 0, 0], [np.nan, 0, 0]], cell=[1, 0, 0], pbc=True)
    with pytest.raises(ValueError, match="unknown element C, F: this model was made for H, O"):  # before all else
        calculator.get_potential_energy(flat)
    flat.numbers[:] = 8
    with pytest.raises(ValueError, match="not finite"):
        calculator.get_potential_energy(flat)
    flat.positions[:] = np.eye(2, 3)
    with pytest.raises(ValueError, match="no volume"):
        calculator.get_potential_energy(flat)
    water = molecule("H2O")
    energy = calculator.get_potential_energy(water)
    exploded = water.copy()
    exploded.positions[1] = np.nan
    with pytest.raises(ValueError, match="positions of atom 1 are not finite"):
        calculator.get_potential_energy(exploded)
    assert calculator.get_potential_energy(water) == energy  # still of use


@pytest.mark.parametrize("skin", [-0.1, float("nan"), float("inf")])
def test_skin_must_be_a_length(skin: float) -> None:
    with pytest.raises(ValueError, match="skin: expected 0 or more Angstrom, got"):
        EquiREANNCalculator(potential(), skin=skin)


def test_bad_files_are_named(tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match=r"absent\.ckpt"):
        EquiREANNCalculator("absent.ckpt")
    (tmp_path / "bad.ckpt").write_text("weights\n")
    with pytest.raises(ValueError, match=r"bad\.ckpt: "):
        EquiREANNCalculator(tmp_path / "bad.ckpt")


def test_a_device_that_is_not_there(make_potential):
    with pytest.raises(ValueError, match="device hpu: not usable"):
        EquiREANNCalculator(make_potential(), device="hpu")


@pytest.mark.parametrize("dtype", ["double64", "nn", "int64", torch.int32])
def test_what_is_no_arithmetic(dtype):
    with pytest.raises(ValueError, match="dtype: expected float32 or float64, got"):
        EquiREANNCalculator(Potential(EquiREANN(["H"], 3.0)), dtype=dtype)
