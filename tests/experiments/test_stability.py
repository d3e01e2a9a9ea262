"""Stability: bonds, trajectories that go on where they were, curves without holes, and the command end to end."""

from __future__ import annotations

import ase.io
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.singlepoint import SinglePointCalculator

from equireann_pyg import EANN, Potential, from_ase, save_potential
from equireann_pyg.training.preparation import prepare_potential
from experiments.accuracy.coordinates import proton
from experiments.runs import results
from experiments.stability import dynamics, run, stretch
from experiments.stability.molecule import Bonds, all_bonds, extrema, stretched


class Springs(Calculator):
    """Every pair of atoms on a spring; dies at some call."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012

    def __init__(self, rest: Atoms, dies_at: int = 0, error: type[BaseException] = ValueError) -> None:
        super().__init__()
        self.rest, self.calls, self.dies_at, self.error = rest.get_all_distances(), 0, dies_at, error

    def calculate(self, atoms=None, properties=None, system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.calls += 1
        if self.calls == self.dies_at:
            raise self.error("gone")
        vectors = atoms.positions[:, None] - atoms.positions
        r = np.linalg.norm(vectors, axis=-1) + np.eye(len(atoms))
        stretch = (r - self.rest) * (1 - np.eye(len(atoms)))
        self.results = {
            "energy": 2.0 * (stretch**2).sum(),
            "forces": -8.0 * (stretch / r)[:, :, None].__mul__(vectors).sum(1),
        }


@pytest.fixture
def methanol() -> Atoms:
    return molecule("CH3OH")


def start(atoms: Atoms, calculator: Calculator) -> Atoms:
    moving = dynamics.thermalised(atoms, 300.0, 300.0, seed=1)
    moving.calc = calculator
    return moving


def test_bonds_break_and_protons_move(methanol):
    bonds = Bonds.of(methanol)
    assert [methanol.symbols[i] for i in bonds.pairs[0]] == ["C", "O"]
    assert len(bonds.hydrogens) == 4
    assert bonds.broken(methanol) == ""
    for length, word in ((1.9, ""), (2.6, "C0-O1 broken"), (0.6, "too close")):
        assert word in bonds.broken(stretched(methanol, (0, 1), length))
        assert word or not bonds.broken(stretched(methanol, (0, 1), length))
    far = methanol.copy()
    far.positions[bonds.hydrogens[0]] += 5.0
    assert bonds.broken(far).startswith("H")
    moved = methanol.copy()  # a hydrogen that has changed its partner
    moved.positions[bonds.hydrogens[0]] = moved.positions[1] + [0.0, 0.0, 0.97]
    assert bonds.broken(moved) == ""


@pytest.mark.parametrize("length", [0.6, 1.5, 2.5])
def test_stretching_moves_one_side(methanol, length):
    for i, j in all_bonds(methanol):
        atoms = stretched(methanol, (i, j), length)
        assert atoms.get_distance(i, j) == pytest.approx(length)
        moved = np.linalg.norm(atoms.positions - methanol.positions, axis=1) > 1e-9
        assert moved[j]
        assert not moved[i]
        kept = atoms.get_all_distances() - methanol.get_all_distances()
        assert np.abs(kept[np.ix_(moved, moved)]).max() < 1e-9
        assert np.abs(kept[np.ix_(~moved, ~moved)]).max() < 1e-9
    assert len(list(all_bonds(methanol))) == 5


def test_a_ring_is_not_stretched():
    with pytest.raises(ValueError, match="C0-C1 is in a ring"):
        stretched(molecule("C6H6"), (0, 1), 2.0)


@pytest.mark.parametrize(
    ("curve", "expected"),
    [
        (lambda x: (1 - np.exp(-2 * (x - 1))) ** 2, (1, 0)),
        (lambda x: (x - 0.7) * (x - 1.0) * (x - 1.3) * (x - 1.6), (2, 1)),
        (lambda x: -x, (0, 0)),
        (lambda x: np.sin(20 * x) * 1e-4 + (x - 1) ** 2, (1, 0)),
        (lambda x: np.exp(-100 * (x - 1.2) ** 2), (0, 1)),
    ],
)
def test_extrema_of_curves(curve, expected):
    assert extrema(curve(np.linspace(0.6, 1.8, 241)), 1e-3) == expected


def test_velocities_share_the_energy(methanol):
    atoms = dynamics.thermalised(methanol, 1200.0, 600.0, seed=0)
    assert atoms.get_temperature() == pytest.approx(1800.0)
    assert np.abs(atoms.get_momenta().sum(0)).max() < 1e-9
    assert np.abs(atoms.get_angular_momentum()).max() < 1e-6


def test_a_trajectory_goes_on_where_it_was(methanol, tmp_path, monkeypatch):
    monkeypatch.setattr(dynamics, "SAVED", 200)
    bonds = Bonds.of(methanol)
    whole = start(methanol, Springs(methanol))
    undisturbed = dynamics.propagate(whole, 300.0, 600, bonds, tmp_path / "whole.npz")
    assert undisturbed.ps.tolist() == pytest.approx([0.05 * n for n in range(7)])
    assert abs(undisturbed.energy).max() < 1.0
    assert undisturbed.samples[:, 2].std() > 5
    with pytest.raises(KeyboardInterrupt):
        dynamics.propagate(
            start(methanol, Springs(methanol, 450, KeyboardInterrupt)), 300.0, 600, bonds, tmp_path / "part.npz"
        )
    resumed = Springs(methanol)
    atoms = start(methanol, resumed)
    trace = dynamics.propagate(atoms, 300.0, 600, bonds, tmp_path / "part.npz")
    assert resumed.calls < 250  # 200 steps of 600
    assert np.allclose(trace.samples, undisturbed.samples)
    assert np.allclose(atoms.positions, whole.positions)
    again = dynamics.propagate(start(methanol, Springs(methanol, 2)), 300.0, 600, bonds, tmp_path / "part.npz")
    assert np.allclose(again.samples, undisturbed.samples)


def test_molecules_that_leave(methanol, tmp_path):
    bonds = Bonds.of(methanol)
    trace = dynamics.propagate(start(methanol, Springs(methanol, 150)), 300.0, 400, bonds, tmp_path / "a.npz")
    assert (trace.left, trace.ps[-1]) == ("gone", 0.1)
    wide = methanol.copy()
    wide.positions *= 2.0
    trace = dynamics.propagate(start(methanol, Springs(wide)), 300.0, 400, bonds, tmp_path / "b.npz")
    assert "broken" in trace.left or "lost" in trace.left or "temperature" in trace.left
    assert trace.ps[-1] < 0.2
    line = dynamics.Trace(np.array([[0, 1.0, 3], [2000, 1.1, 3], [4000, 1.2, 3], [6000, 99, 3]]), "gone", 10, 1.0)
    assert line.drift() == pytest.approx(10.0)
    assert line.spread() == pytest.approx(0.0, abs=1e-9)


@pytest.fixture
def acid(tmp_path):
    """Files of acetylacetone that hold formic acid, and a potential of it."""
    frames = []
    for seed in range(12):
        atoms = molecule("HCOOH")
        atoms.positions += 0.05 * np.random.default_rng(seed).normal(size=atoms.positions.shape)
        atoms.calc = SinglePointCalculator(atoms, energy=float(seed % 3), forces=atoms.positions)
        atoms.info["dihedral_angle"] = 30.0 * seed
        frames.append(atoms)
    folder = tmp_path / "data" / "acac"
    folder.mkdir(parents=True)
    for name in ("test_MD_300K", "test_MD_600K", "test_dihedral", "test_H_transfer"):
        ase.io.write(folder / f"{name}.xyz", frames, format="extxyz")
    torch.manual_seed(0)
    potential = Potential(EANN(["H", "C", "O"], 3.0, num_radial=4, num_density=4, hidden_channels=[4]))
    prepare_potential(potential, [from_ase(atoms, 3.0) for atoms in frames])
    save_potential(potential, tmp_path / "acid.ckpt")
    return frames[0], tmp_path / "acid.ckpt"


def test_the_command(acid, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(run, "QUICK_PS", 0.05)
    named = ["--checkpoint", str(acid[1]), "--case", "acac", "--model", "small", "--temperature", "300"]
    files = ["--data", str(tmp_path / "data"), "--out", str(tmp_path)]
    assert run.main(["--quick", *named, *files, "--replicas", "2"]) == 0
    rows = results.read(tmp_path / "work" / "results-quick.csv")
    assert [(row["temperature"], row["replica"]) for row in rows] == [("300", "0"), ("300", "1")]
    assert all(set(row) == set(run.COLUMNS) for row in rows)
    assert len(results.read(tmp_path / "work" / "traces-quick.csv")) == 4
    assert {row["split"] for row in results.read(tmp_path / "work" / "scans-quick.csv")} == {"dihedral", "H-transfer"}
    text = (tmp_path / "work" / "results.md").read_text()
    assert "| acac | small | 300 |" in text
    assert "Barriers, meV" in text
    assert all((tmp_path / "work" / "figures" / f"{name}.png").is_file() for name in ("dynamics", "scans"))
    capsys.readouterr()
    monkeypatch.setattr(run.report, "write", lambda *_: None)
    assert run.main(["--quick", *named, *files, "--replicas", "2"]) == 0
    assert capsys.readouterr().out.count("finished before") == 2


def test_without_a_potential_it_says_how_to_make_one(tmp_path, capsys):
    assert run.main(["--quick", "--case", "acac", "--model", "nobody", "--out", str(tmp_path)]) == 1
    assert "experiments.accuracy.run --quick --case acac --model nobody" in " ".join(capsys.readouterr().out.split())


def test_curves_of_bonds(acid, tmp_path):
    atoms, checkpoint = acid
    lengths = np.array([0.8, 1.1, 1.6])
    rows = [row for name in ("A", f"A{stretch.BARE}") for row in stretch.curves(name, checkpoint, atoms, 0, lengths)]
    assert {row["kind"] for row in rows} == {"C-O", "C-H", "O-H"}
    sheet = stretch.sheet(rows)
    assert [row[:3] for row in sheet.rows[2:4]] == [["C-O", "A", "2"], ["C-O", f"A{stretch.BARE}", "2"]]
    stretch.draw(rows, tmp_path / "stretch.png")
    assert (tmp_path / "stretch.png").stat().st_size > 10_000


def test_the_proton_between_two_oxygens():
    atoms = Atoms("OOHHC", [[0, 0, 0], [2.4, 0, 0], [1.0, 0, 0], [0, 4, 0], [0, 0, 9]])
    assert proton(atoms) == pytest.approx(1.0 - 1.4)
