"""Scaling of one structure on several processes: the model of a step, and the measurement at toy size."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from experiments.md.scaling import CASES, COLUMNS, WIDTHS, expected, kappa_of, main

ONE = {"model": "toy", "atoms": 1000, "cpu ms": 100.0, "exchanges": 3, "bytes": 1000.0, "kappa": 0.3}


def test_expected_steps() -> None:
    one = expected(ONE, 2000, 1, latency=1e-4, bandwidth=1e9)
    assert one["step ms"] == pytest.approx(200)
    assert one["efficiency"] == pytest.approx(1)
    several = [expected(ONE, 100_000, processes, latency=1e-4, bandwidth=1e9) for processes in (4, 16, 64)]
    efficiencies = [row["efficiency"] for row in several]
    assert 1 > efficiencies[0] > efficiencies[1] > efficiencies[2] > 0.1
    large = expected(ONE, 10_000_000, 64, latency=1e-4, bandwidth=1e9)
    assert large["ghosts"] > several[2]["ghosts"] > 1000
    assert large["efficiency"] > efficiencies[2]
    slow = expected(ONE, 100_000, 64, latency=1e-4, bandwidth=1e7)
    assert slow["exchanges ms"] > 10 * several[2]["exchanges ms"]


def test_cost_of_a_ghost() -> None:
    several = [{"cpu ms": 60.0, "own": 500, "ghosts": 400}, {"cpu ms": 120.0, "own": 1000, "ghosts": 400}]
    assert kappa_of(ONE, *several) == pytest.approx((0.25 + 0.5) / 2)


@pytest.mark.slow
def test_measurement_at_toy_size(tmp_path: Path) -> None:
    main(["--atoms", "108", "--steps", "1", "--out", str(tmp_path)])
    rows = list(csv.DictReader((tmp_path / "scaling.csv").open()))
    assert len(rows) == len(WIDTHS) * len(CASES)
    assert tuple(rows[0]) == COLUMNS
    assert [row["exchanges"] for row in rows[:3]] == ["0", "3", "3"]  # there, back, and forces
    assert (tmp_path / "scaling_expected.csv").is_file()
