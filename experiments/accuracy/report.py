"""Print our errors beside published ones, write results.md, and draw error against cost and the scans.

python -m experiments.accuracy.report [--quick] [--case 3bpa]
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from equireann_pyg.evaluation import plots
from experiments.accuracy.cases import CASES
from experiments.accuracy.published import Published, published
from experiments.accuracy.scans import barrier_sheet, draw_scans
from experiments.accuracy.sheets import case_sheet, measure_of, rmd17_sheet, stress_sheet
from experiments.accuracy.suite import SUITE
from experiments.runs.figures import legend, plain_log
from experiments.runs.models import models
from experiments.runs.results import Row
from experiments.runs.tables import Sheet, chosen, distinct, mean, publish, run_sheet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DRAWN = {"3bpa": "600K", "acac": "600K", "rmd17-aspirin": "test"}
"""Cases of the picture, with the test that is drawn."""

TIMED = "rmd17-aspirin"
"""Case of the molecule that the speed experiment trains on."""

SPEED, TRAIN8 = Path(__file__).parents[1] / "speed" / "results.csv", 8
"""Results of the speed experiment, and the number of molecules of its training step."""


def draw(rows: Sequence[Row], others: Sequence[Published], path: Path) -> None:
    """Force error against the processor time of training on one frame.

    Published errors are lines, as their cost is not known; MACE is a point where the speed experiment has measured it.

    Raises:
        ValueError: if none of the cases of the picture has results.
    """
    cases = {name: split for name, split in DRAWN.items() if chosen(rows, case=name, split=split)}
    if not cases:
        raise ValueError(f"nothing to draw: no results of {', '.join(DRAWN)}")
    picture, axes = plots.figure(1, len(cases), 3.4, 3.2)
    for axis, (name, split) in zip(axes.flat, cases.items(), strict=True):
        own = chosen(rows, case=name, split=split, config_type="all")
        theirs = [entry for entry in others if (entry.set, entry.split) == (name, split) and entry.verified]
        panel(axis, own, theirs, measure_of(name, others))
        if name == TIMED:
            _mace(axis, theirs)
        axis.set_title(f"{name}, {split}", fontsize=10)
    legend(picture, *axes.flat)
    plots.save(picture, path)


def panel(axis: Axes, own: Sequence[Row], theirs: Sequence[Published], measure: str) -> None:
    """Our models as points, published errors as lines."""
    for model, color in plots.colors(models()).items():
        runs = [row for row in own if row["model"] == model and row["ms_per_step"]]
        error = mean(runs, f"forces_{measure.lower()}")
        if error is not None:
            cost = sum(float(row["ms_per_step"]) / float(row["batch_size"]) for row in runs) / len(runs)
            axis.loglog(cost, error, "o", ms=7, color=color, label=model)
    lines = sorted((entry.forces, entry.model) for entry in theirs if entry.forces is not None)
    for number, (forces, model) in enumerate(lines):
        axis.axhline(forces, color="0.7", lw=0.8, zorder=0)
        place = {"xytext": (2, 1), "textcoords": "offset points", "xycoords": ("axes fraction", "data")}
        axis.annotate(
            model, (0.2 * (number % 5), forces), fontsize=5, **place
        )  # side by side: errors lie close together
    axis.set(xlabel="CPU ms per training frame", ylabel=f"force {measure} (meV/Å)")
    axis.set(xscale="log", yscale="log")
    axis.margins(0.25)
    for side in (axis.xaxis, axis.yaxis):
        plain_log(side)


def _mace(axis: Axes, theirs: Sequence[Published]) -> None:
    cost, entries = mace_cost(), [entry for entry in theirs if entry.model == "MACE" and entry.forces is not None]
    if cost is not None and entries:
        axis.plot(cost, entries[0].forces, "D", ms=6, mfc="none", color="0.2", label="MACE, cost of MACE-medium")


def mace_cost(path: Path = SPEED) -> float | None:
    """CPU milliseconds of training MACE-medium on one frame of aspirin, from the speed experiment; None if not measured."""
    with open(path, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if (row["case"], row["step"], row["contestant"]) == ("train8", "training", "MACE-medium"):
                return float(row["ms"]) / TRAIN8
    return None


def main(arguments: Sequence[str] | None = None) -> None:
    """Print, write, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="of the quick runs")
    parser.add_argument("--case", nargs="+", choices=list(CASES), default=list(CASES), help="print only these cases")
    options = parser.parse_args(arguments)
    rows, others = SUITE.rows("results", options.quick), published()
    if not rows:
        parser.exit(1, "no results yet: run python -m experiments.accuracy.run\n")
    folder = SUITE.folder / "work" if options.quick else SUITE.folder
    scans = [row for row in SUITE.rows("scans", options.quick) if row["case"] in options.case]
    sheets = list(_sheets([row for row in rows if row["case"] in options.case], scans, others))
    every = options.case == list(CASES)
    title = "Accuracy: results" + (" of quick runs" if options.quick else "")
    publish(sheets, folder / "results.md" if every else folder / "work" / "results-part.md", title)
    if not every:
        return
    if any(chosen(rows, case=name, split=split) for name, split in DRAWN.items()):
        draw(rows, others, folder / "figures" / "error-cost.png")
        print(folder / "figures" / "error-cost.png")
    if scans:
        draw_scans(scans, folder / "figures" / "scans.png")
        print(folder / "figures" / "scans.png")


def _sheets(rows: Sequence[Row], scans: Sequence[Row], others: Sequence[Published]) -> Iterator[Sheet]:
    molecules = [row for row in rows if row["case"].startswith("rmd17-")]
    names = [name for (name,) in distinct(rows, "case")]
    for name in names:
        if not name.startswith("rmd17-"):
            yield case_sheet(name, chosen(rows, case=name), others)
        elif molecules and name == molecules[0]["case"]:
            yield rmd17_sheet(molecules, others)
    for sheet in (barrier_sheet(scans), stress_sheet(rows)):
        if sheet is not None:
            yield sheet
    yield run_sheet(rows)


if __name__ == "__main__":
    main()
