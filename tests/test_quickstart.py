"""The quickstart: its table and pictures, what it does not say, and (slow) its claim."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from equireann_pyg.cli.quickstart import EPOCHS, parser

PICTURES = ["learning_curve.png", "parity.png", "torsion.png"]


def quickstart(folder: Path, epochs: int) -> str:
    """What is printed; run in a folder that is not the checkout."""
    command = [sys.executable, "-m", "equireann_pyg", "quickstart", "--epochs", str(epochs), "--out", "out"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    assert [line for line in done.stderr.splitlines() if "compiling the kernels" not in line] == []
    return done.stdout


def scan_errors(text: str) -> dict[str, float]:
    """Torsion-scan RMSE of each model from the printed table."""
    rows = re.findall(r"│ ([\w-]+)\s*│([^│]*)│([^│]*)│([^│]*)│", text)
    return {name: float(scan) for name, _, _, scan in rows if "EANN" in name}


def test_prints_a_table_and_draws(tmp_path: Path) -> None:
    text = quickstart(tmp_path, epochs=1)
    assert set(scan_errors(text)) == {"EquiREANN-plus-s", "REANN"}
    assert sorted(path.name for path in (tmp_path / "out").glob("*.png")) == PICTURES
    assert {path.name for path in (tmp_path / "out").glob("*.pt")} == {"equireann-plus-s.pt", "reann.pt"}
    for advert in ("GPU available", "litlogger", "Tip", "Warning", "num_workers"):
        assert advert not in text


@pytest.mark.parametrize("words", [["--epochs", "0"], ["--epochs", "many"], ["--seed", "-1"]], ids=str)
def test_refuses(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parser().parse_args(words)
    assert caught.value.code == 2
    assert words[0].removeprefix("--") in capsys.readouterr().err


@pytest.mark.slow
def test_equireann_plus_resolves_the_twist_and_reann_does_not(tmp_path: Path) -> None:
    errors = scan_errors(quickstart(tmp_path, epochs=EPOCHS))
    assert errors["REANN"] > 200  # meV: the spread of the scans
    assert errors["EquiREANN-plus-s"] < 0.05 * errors["REANN"]
