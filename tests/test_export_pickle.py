"""Calculators of every kind of potential can be pickled and copied; an exported one stays tied to its file."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from ase import Atoms
from ase.build import bulk

from equireann_pyg import EquiREANN, Potential
from equireann_pyg.inference.calculator import EquiREANNCalculator
from equireann_pyg.inference.exported import export_potential, load_exported
from equireann_pyg.testing import randomize

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # torch's compiler


def potential() -> Potential:
    torch.manual_seed(0)
    model = EquiREANN(["Cu"], 3.0, num_radial=4, num_density=4, num_iterations=0, hidden_channels=[4])
    randomize(model)
    return Potential(model.double()).eval()


def copper() -> Atoms:
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=0)
    return atoms


def forces(calculator: EquiREANNCalculator) -> list[float]:
    atoms = copper()
    atoms.calc = calculator
    return atoms.get_forces().ravel().tolist()


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One file for all tests here: compiling takes a while."""
    return export_potential(potential(), tmp_path_factory.mktemp("exported") / "model.pt2")


@pytest.fixture
def file(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A copy of it, named relative to the current folder."""
    monkeypatch.chdir(tmp_path)
    Path("model.pt2").write_bytes(exported.read_bytes())
    return "model.pt2"


@pytest.mark.parametrize("used", [False, True], ids=["fresh", "used"])
@pytest.mark.parametrize("block_size", [None, 2], ids=["whole", "blocks"])
def test_of_a_potential(block_size: int | None, used: bool) -> None:
    calculator = EquiREANNCalculator(potential(), block_size=block_size)
    expected = forces(EquiREANNCalculator(potential()))
    assert max(map(abs, expected)) > 1e-3
    if used:
        forces(calculator)
    for twin in (pickle.loads(pickle.dumps(calculator)), copy.deepcopy(calculator), copy.copy(calculator)):
        assert forces(twin) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("used", [False, True], ids=["fresh", "used"])
def test_of_an_exported_potential(used: bool, file: str) -> None:
    calculator = EquiREANNCalculator(file)
    expected = forces(EquiREANNCalculator(potential()))
    if used:
        forces(calculator)
    for twin in (pickle.loads(pickle.dumps(calculator)), copy.deepcopy(calculator), copy.copy(calculator)):
        assert forces(twin) == pytest.approx(expected, rel=1e-6, abs=1e-8)


def test_copies_need_no_file(file: str) -> None:
    calculator = EquiREANNCalculator(file)
    expected = forces(calculator)
    Path(file).unlink()
    assert forces(copy.deepcopy(calculator)) == expected


def test_structures_with_an_exported_calculator_can_be_sent(file: str) -> None:
    atoms = copper()
    atoms.calc = EquiREANNCalculator(file)
    expected = atoms.get_potential_energy()
    sent = pickle.loads(pickle.dumps(atoms))
    sent.calc.reset()
    assert sent.get_potential_energy() == pytest.approx(expected, rel=1e-12)


def test_in_another_process_and_folder(file: str, tmp_path: Path) -> None:
    (tmp_path / "pickled").write_bytes(pickle.dumps(load_exported(file)))
    (tmp_path / "elsewhere").mkdir()
    code = "import pickle; print(pickle.load(open('../pickled', 'rb')).cutoff)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / "elsewhere", capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "3.0", done.stderr


def test_a_file_that_is_gone_or_another_is_named(file: str, tmp_path: Path) -> None:
    pickled = pickle.dumps(load_exported(file))
    Path(file).write_bytes(Path(file).read_bytes() + b"more")
    with pytest.raises(ValueError, match=r"model\.pt2: changed since the potential was pickled"):
        pickle.loads(pickled)
    Path(file).rename("moved.pt2")
    with pytest.raises(
        FileNotFoundError, match=rf"{tmp_path}/model\.pt2: no such file: a pickled \.pt2 potential needs"
    ):
        pickle.loads(pickled)
