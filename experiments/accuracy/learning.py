"""Learning curves: errors on 3BPA against the number of training frames, and against the time of training.

    python -m experiments.accuracy.learning [--quick] [--data FOLDER] [--case 3bpa-50 3bpa-450] [--model EquiREANN-plus-m]

The first 50, 100, 200 and 450 frames of the official training set; 50 others validate every run. All runs have the same
budget, so that few frames are seen more often. Adds to learning.csv and learning-progress.csv, then prints a table and
draws figures/learning.png.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from equireann_pyg.evaluation import plots
from equireann_pyg.training.metrics import three_digits
from experiments.accuracy.cases import BPA, CASES
from experiments.accuracy.published import Published, published
from experiments.accuracy.suite import MODELS
from experiments.runs.figures import legend, plain_log
from experiments.runs.results import Row
from experiments.runs.run import Suite, options_of, run_suite
from experiments.runs.tables import Sheet, chosen, distinct, energy_and_forces, mean, publish

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FRAMES = (50, 100, 200, 450)
TESTS = ("300K", "600K")
WHOLE = CASES["3bpa"]
LEARNING = {
    f"3bpa-{count}": replace(
        WHOLE,
        name=f"3bpa-{count}",
        title=f"3BPA, {count} frames",
        train=BPA("train_300K", f":{count}"),
        tests={name: WHOLE.tests[name] for name in TESTS},
        minutes=30.0,
        longer={},
    )
    for count in FRAMES
}
SUITE = Suite(
    Path(__file__).parent,
    LEARNING,
    MODELS,
    "learning",
    progress="learning-progress",
    quick_cases=("3bpa-50", "3bpa-100"),
)


def slope(frames: Sequence[float], errors: Sequence[float]) -> float:
    """Power of the number of frames with which errors fall: the slope of a line through the logarithms."""
    return float(np.polyfit(np.log(frames), np.log(errors), 1)[0])


def points(rows: Sequence[Row], model: str, split: str) -> list[tuple[float, float]]:
    """Number of frames and error of the forces, mean over the seeds."""
    own = chosen(rows, model=model, split=split, config_type="all")
    found = (
        (float(count), mean(chosen(own, train_frames=count), "forces_rmse"))
        for (count,) in distinct(own, "train_frames")
    )
    return sorted((count, error) for count, error in found if error is not None)


def sheet(rows: Sequence[Row], others: Sequence[Published]) -> Sheet:
    """Errors for each number of frames, and the slope of those of the forces."""
    counts = sorted({int(row["train_frames"]) for row in rows})
    heading = ("RMSE, energy meV / forces meV/Å", "test", *(f"{count} frames" for count in counts), "slope")
    made = Sheet(
        "3BPA: learning curves", heading, note=f"Budget: {rows[0]['minutes'] or '-'} minutes of one core for each run."
    )
    for (model,) in distinct(rows, "model"):
        for split in TESTS:
            own = chosen(rows, model=model, split=split, config_type="all")
            cells = [energy_and_forces(chosen(own, train_frames=str(count))) for count in counts]
            line = points(rows, model, split)
            power = three_digits(slope(*zip(*line, strict=True))) if len(line) > 1 else "-"
            made.rows.append([model, split, *cells, power])
    for entry in others:
        if entry.set == "3bpa" and entry.split in TESTS and entry.model.startswith("MACE") and 450 in counts:
            empty = ["-"] * (len(counts) - 1)
            made.rows.append([entry.label, entry.split, *empty, f"{entry.energy:g} / {entry.forces:g}", "-"])
    return made


def draw(rows: Sequence[Row], progress: Sequence[Row], others: Sequence[Published], path: Path) -> None:
    """Force errors against the number of frames, and the validation error of the largest set against the time."""
    picture, axes = plots.figure(1, 3, 3.4, 3.2)
    palette = plots.colors(MODELS)
    for axis, split in zip(axes.flat, TESTS, strict=False):
        for model, color in palette.items():
            line = points(rows, model, split)
            if line:
                axis.loglog(*zip(*line, strict=True), "o-", ms=4, lw=1.2, color=color, label=model)
        for entry in others:
            if (entry.set, entry.split) == ("3bpa", split) and entry.model.startswith("MACE") and entry.forces:
                axis.loglog(
                    450, entry.forces, "D", ms=4, mfc="none", color="0.3", label="MACE, L = 0, 1, 2 (published)"
                )
        axis.set(xlabel="training frames", ylabel=f"force RMSE at {split.replace('K', ' K')} (meV/Å)")
        axis.set_xticks(FRAMES, [str(count) for count in FRAMES], minor=False)
        axis.set_xticks([], minor=True)
        plain_log(axis.yaxis)
    course(axes[0, 2], progress)
    legend(picture, *axes.flat)
    plots.save(picture, path)


def course(axis: Axes, progress: Sequence[Row]) -> None:
    """Validation error of the forces against the processor time, with the most frames that there are."""
    largest = max((row["case"] for row in progress), key=lambda case: int(case.rpartition("-")[2]), default=None)
    for model, color in plots.colors(MODELS).items():
        own = [row for row in progress if (row["case"], row["model"]) == (largest, model) and row["forces_rmse"]]
        own = chosen(own, seed=min(row["seed"] for row in own)) if own else []
        if own:
            axis.loglog([float(row["minutes"]) for row in own], [float(row["forces_rmse"]) for row in own], color=color)
    axis.set(xlabel="minutes of one core", ylabel="validation, force RMSE (meV/Å)")
    axis.set_title("" if largest is None else f"{largest.rpartition('-')[2]} frames", fontsize=10)
    for side in (axis.xaxis, axis.yaxis):
        plain_log(side)


def report(fast: bool) -> None:
    """Print and write the table, and draw."""
    rows, others = SUITE.rows(SUITE.name, fast), published()
    if not rows:
        return
    folder = SUITE.folder / "work" if fast else SUITE.folder
    publish([sheet(rows, others)], folder / "learning.md", "Learning curves" + (" of quick runs" if fast else ""))
    draw(rows, SUITE.rows("learning-progress", fast), others, folder / "figures" / "learning.png")
    print(folder / "figures" / "learning.png")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, and print the table; number of jobs that failed."""
    failures = run_suite(SUITE, __doc__, arguments)
    report(options_of(SUITE, __doc__, arguments).quick)
    return failures


if __name__ == "__main__":
    sys.exit(min(main(), 1))
