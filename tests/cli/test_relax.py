"""``equireann relax``: forces and pressure vanish, and what does not converge is said so."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ase import units
from ase.constraints import FixAtoms
from ase.io import read, write

from equireann_pyg import EquiREANNCalculator
from equireann_pyg.cli import main
from tests.cli.simulations import Effective, Exploding, Interrupting, frames_of, run, write_structures


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_structures()


@pytest.fixture
def calculator(monkeypatch: pytest.MonkeyPatch) -> Callable[[type], None]:
    """Has the command use another calculator."""
    return lambda kind: monkeypatch.setattr("equireann_pyg.simulation.processes.calculator_of", kind)


def test_forces_vanish(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["relax", "water.pt", "water.xyz", "--fmax", "0.003"]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    assert shown.out.splitlines()[-1].startswith("structure: converged after ")
    assert shown.out.splitlines()[-1].endswith("eV, in relaxed.extxyz")
    before, (after,) = read("water.xyz"), frames_of("relaxed.extxyz")
    for atoms in (before, again := after.copy()):
        atoms.calc = EquiREANNCalculator("water.pt")
    assert np.abs(before.get_forces()).max() > 0.3
    assert np.linalg.norm(after.get_forces(), axis=1).max() < 0.003
    np.testing.assert_allclose(again.get_forces(), after.get_forces(), atol=1e-5)
    assert after.get_potential_energy() < before.get_potential_energy() - 0.01
    assert after.info["converged"]
    labelled = read("water.xyz")
    labelled.info |= {"REF_energy": -1.0, "charge": 1.0, "name": "water"}
    labelled.arrays["REF_forces"] = np.ones((3, 3))
    write("labelled.xyz", labelled, format="extxyz")
    assert main(["relax", "water.pt", "labelled.xyz", "--fmax", "0.003", "--overwrite", "true"]) == 0
    (after,) = frames_of("relaxed.extxyz")
    assert (after.info["charge"], after.info["name"]) == (1.0, "water")
    assert not {"REF_energy", "REF_forces"} & {*after.info, *after.arrays}  # of the structure as it was
    assert after.info["relaxation_steps"] > 1


@pytest.mark.parametrize("optimizer", ["lbfgs", "bfgs", "fire"])
def test_cell(optimizer: str, calculator: Callable[[type], None]) -> None:
    calculator(Effective)
    lengths = []
    for pressure in (0.0, 15.0):
        words = ["--cell", "true", "--pressure", str(pressure), "--optimizer", optimizer, "--overwrite", "true"]
        assert run("relax", "copper.pt", "copper.xyz", *words, "--fmax", "0.005").status == 0
        (after,) = frames_of("relaxed.extxyz")
        np.testing.assert_allclose(after.get_stress()[:3] / units.GPa, -pressure, atol=0.3)
        np.testing.assert_allclose(after.get_stress()[3:] / units.GPa, 0, atol=0.3)
        lengths.append(after.cell.lengths())
    np.testing.assert_allclose(lengths[0], 3.59, atol=0.01)  # of effective medium theory
    assert (lengths[1] < 0.98 * lengths[0]).all()


def test_frames_one_by_one(calculator: Callable[[type], None], capsys: pytest.CaptureFixture[str]) -> None:
    calculator(Effective)
    start = read("copper.xyz")
    frames = [start.copy() for _ in range(3)]
    for index, atoms in enumerate(frames):
        atoms.positions[1] += 0.1 * index
        atoms.info["name"] = f"number{index}"
        atoms.set_constraint(FixAtoms([0]))
    write("three.xyz", frames, format="extxyz")
    assert run("relax", "copper.pt", "three.xyz", "--out", "new/out.traj").status == 0
    assert capsys.readouterr().out.count("converged after") == 3
    after = frames_of("new/out.traj")
    assert len(after) == 3
    assert all(np.linalg.norm(atoms.get_forces(), axis=1).max() < 0.01 for atoms in after)
    for atoms, before in zip(after, frames, strict=True):
        np.testing.assert_array_equal(atoms.positions[0], before.positions[0])
        assert np.abs(atoms.positions - before.positions).max() > 1e-3
    assert run("relax", "copper.pt", "three.xyz").status == 0
    assert [atoms.info["name"] for atoms in frames_of("relaxed.extxyz")] == ["number0", "number1", "number2"]


def test_what_does_not_converge(refused: Callable[..., str]) -> None:
    said = refused("relax", "water.pt", "water.xyz", "--steps", "2")
    assert "not converged to --fmax 0.01 in 2 steps, the largest force is" in said
    assert "relaxed.extxyz has what was reached" in said
    (after,) = frames_of("relaxed.extxyz")
    assert not after.info["converged"]
    assert after.info["relaxation_steps"] == 2
    largest = np.linalg.norm(after.get_forces(), axis=1).max()
    assert largest > 0.01
    assert f"is {largest:.3g} eV" in said
    assert run("relax", "water.pt", "relaxed.extxyz", "--out", "done.xyz", "--fmax", "0.005").status == 0
    frames = [read("water.xyz"), read("done.xyz")]
    write("two.xyz", frames, format="extxyz")
    ending = run("relax", "water.pt", "two.xyz", "--steps", "3", "--out", "b.xyz")
    assert ending.status == 2
    assert "1 of 2 frames, the first is 0: not converged" in ending.message
    assert [atoms.info["converged"] for atoms in frames_of("b.xyz")] == [False, True]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["absent.pt", "copper.xyz"], "absent.pt"),
        (["copper.pt", "absent.xyz"], "absent.xyz: no such file"),
        (["copper.pt", "water.xyz"], "unknown element H, O"),
        (["water.pt", "water.xyz", "--cell", "true"], "--cell true: expected a cell with a period in all three"),
        (["copper.pt", "copper.xyz", "--pressure", "1"], "--pressure 1: it acts on the cell, which --cell true relaxes"),
        (["water.pt", "water.xyz", "--out", "a.cif"], "--out a.cif: expected a name that ends in .extxyz, .xyz, .traj"),
    ],
)  # fmt: skip
def test_what_is_refused(words: list[str], said: str) -> None:
    ending = run("relax", *words)
    assert ending.status == 2
    assert said in ending.message
    assert not list(Path().glob("*relaxed*"))


def test_files_that_exist_are_not_lost(calculator: Callable[[type], None]) -> None:
    Path("relaxed.extxyz").write_text("mine\n")
    assert "relaxed.extxyz exists: replace it with --overwrite true" in run("relax", "water.pt", "water.xyz").message
    calculator(Exploding)
    ending = run("relax", "copper.pt", "copper.xyz", "--fmax", "1e-9", "--overwrite", "true")
    assert ending.status == 2
    assert "structure, step 5: forces not finite at atoms 1 (Cu), 3 (Cu) (nothing was written)" in ending.message
    assert Path("relaxed.extxyz").read_text() == "mine\n"
    assert run("relax", "water.pt", "water.xyz", "--overwrite", "true").status == 0
    assert len(frames_of("relaxed.extxyz")) == 1


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signals(number: int, status: int, calculator: Callable[[type], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Interrupting, "number", number)
    calculator(Interrupting)
    frames = [read("copper.xyz")] * 2
    write("two.xyz", frames, format="extxyz")
    ending = run("relax", "copper.pt", "two.xyz", "--fmax", "1e-9")
    assert ending.status == status
    name = signal.Signals(number).name
    assert ending.message.startswith(f"stopped by {name} in frame 0 after step ")
    assert ending.message.endswith("relaxed.extxyz has what was reached")
    (after,) = frames_of("relaxed.extxyz")
    assert not after.info["converged"]
