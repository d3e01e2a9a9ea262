"""Rows of the tables, as those of trainings in our loop."""

from __future__ import annotations

from datetime import date
from importlib.metadata import version

from torch import Tensor

from experiments.benchmark.own.laps import Laps
from experiments.benchmark.own.program import Program, Setup
from experiments.runs.results import Row
from experiments.runs.rows import cpu

Outputs = list[dict[str, Tensor]]


def common(program: Program, setup: Setup, laps: Laps, parameters: int) -> Row:
    """What all rows of a training share, but for the case and its budget."""
    return {
        "model": program.model,
        "epochs": str(setup.epochs),
        "steps": str(len(laps.ends)),
        "train_frames": str(setup.frames),
        "batch_size": str(program.batch_size),
        "cutoff": f"{setup.cutoff:g}",
        "iterations": "",
        "parameters": str(parameters),
        "seed": str(setup.seed),
        "seconds": f"{laps.busy():.0f}",
        "ms_per_step": f"{1e3 * laps.busy() / len(laps.ends):.3g}",
        "threads": "1",
        "cpu": cpu(),
        "torch": version("torch"),
        "package": program.environment.packages[0],
        "date": str(date.today()),
    }
