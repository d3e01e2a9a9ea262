"""Every example runs, one after the other in one folder: some use what an earlier one has written."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning
import pytest

ROOT = Path(__file__).parents[1]
FIRST = ("train",)
NAMES = [*FIRST, *sorted(path.stem for path in (ROOT / "examples").glob("*.py") if path.stem not in FIRST)]
SAID = {
    "energy_and_forces": "ethanol: tensor",
    "fine_tuning": "forces along the twist",
    "molecular_dynamics": "the total energy stays within",
    "own_descriptor": "Directed: 24 features",
    "own_model": "largest force",
    "own_network": "with orbitals: error",
    "own_rule": "UpToDegree passes on 4 of 9 components",
    "properties": "dipole:",
    "train": "meV/atom",
}


def shortened(**options: Any) -> lightning.Trainer:
    """A trainer for one epoch, whatever an example wants."""
    return TRAINER(**{**options, "max_epochs": 1, "limit_train_batches": 8, "limit_val_batches": 2})


TRAINER = lightning.Trainer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of all examples, with the potential that the first one trains."""
    path = tmp_path_factory.mktemp("examples")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        patch.setattr(lightning, "Trainer", shortened)
        patch.setattr(sys, "argv", ["train.py"])
        runpy.run_path(str(ROOT / "examples" / "train.py"), run_name="__main__")
    return path


@pytest.mark.parametrize("name", NAMES[len(FIRST) :])
@pytest.mark.filterwarnings("ignore:reference energies of H, O")
def test_example_runs(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr(lightning, "Trainer", shortened)
    monkeypatch.setattr(sys, "argv", [f"{name}.py"])
    runpy.run_path(str(ROOT / "examples" / f"{name}.py"), run_name="__main__")
    assert SAID[name] in capsys.readouterr().out


@pytest.mark.slow
def test_examples_in_full(tmp_path: Path) -> None:
    for name in NAMES:
        command = [sys.executable, str(ROOT / "examples" / f"{name}.py")]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        assert SAID[name] in result.stdout
