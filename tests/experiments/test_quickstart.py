"""The quickstart: its table and pictures, and (slow) its claim."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PICTURES = ["learning_curve.png", "parity.png", "torsion.png"]


def quickstart(out: Path, epochs: int) -> str:
    command = [sys.executable, "-m", "experiments.quickstart", "--epochs", str(epochs), "--out", str(out)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def scan_errors(text: str) -> dict[str, float]:
    """Torsion-scan RMSE of each model from the printed table."""
    rows = re.findall(r"│ (\w+)\s*│([^│]*)│([^│]*)│([^│]*)│", text)
    return {name: float(scan) for name, _, _, scan in rows if "EANN" in name}


def test_prints_a_table_and_draws(tmp_path):
    text = quickstart(tmp_path, epochs=1)
    assert set(scan_errors(text)) == {"EquiREANN", "REANN"}
    assert sorted(path.name for path in tmp_path.glob("*.png")) == PICTURES
    assert {path.name for path in tmp_path.glob("*.pt")} == {"equireann.pt", "reann.pt"}


@pytest.mark.slow
def test_equireann_resolves_the_twist_and_reann_does_not(tmp_path):
    errors = scan_errors(quickstart(tmp_path, epochs=60))
    assert errors["REANN"] > 200  # meV: the spread of the scans
    assert errors["EquiREANN"] < 0.1 * errors["REANN"]
