"""Figures of the benchmark: error against training time, and against the cost of an evaluation with the Pareto front."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from equireann_pyg.evaluation import plots
from experiments.benchmark.measurements.records import Record
from experiments.benchmark.report.found import Budget, models_of, rows_of, timed_budgets, timing, trainings, typical
from experiments.benchmark.tasks.systems import SYSTEMS
from experiments.runs.figures import legend, plain_log
from experiments.runs.tables import chosen, mean

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKERS, LINES = "osD^v*", ("-", "--", ":", "-.")


class Style(NamedTuple):
    """How a model looks in all figures."""

    color: str
    marker: str
    line: str


def styles(models: Iterable[str]) -> dict[str, Style]:
    """Colour, marker and line of every model."""
    count, found = len(plots.COLORS), {}
    for n, name in enumerate(sorted(models)):
        turn = n // count
        found[name] = Style(plots.COLORS[n % count], MARKERS[turn % len(MARKERS)], LINES[turn % len(LINES)])
    return found


def draw(records: Sequence[Record], folder: Path) -> list[Path]:
    """All figures that there is something to show in."""
    look, made = styles(models_of(records)), []
    for name, function in (("error-time", error_time), ("error-cost", error_cost), ("speed", speed)):
        path = folder / f"{name}.png"
        if function(records, look, path):
            made.append(path)
    return made


def error_time(records: Sequence[Record], look: dict[str, Style], path: Path) -> bool:
    """Force error on validation frames against the processor time of the training."""
    budgets = timed_budgets(records)
    if not budgets:
        return False
    cases = [case for case, *_ in budgets]
    picture, axes = plots.figure(-(-len(cases) // 2), min(2, len(cases)), 5.0 if len(cases) > 1 else 8.0, 4.0)
    for axis, budget in zip(axes.flat, budgets, strict=False):
        for run in trainings(records, budget):
            points = [
                (float(p["minutes"]), float(p["forces_rmse"])) for p in run.answer["progress"] if p.get("forces_rmse")
            ]
            if points and run.options["seed"] == 0:
                color, marker, line = look[run.model]
                axis.loglog(
                    *zip(*points, strict=True),
                    line,
                    color=color,
                    marker=marker,
                    markevery=[-1],
                    lw=1.2,
                    label=run.model,
                )
        finish(axis, "minutes of one core", "validation force RMSE (meV/Å)", budget[0])
    for axis in axes.flat[len(cases) :]:
        axis.set_visible(False)
    legend(picture, *axes.flat, width=2.6)
    plots.save(picture, path)
    return True


def error_cost(records: Sequence[Record], look: dict[str, Style], path: Path) -> bool:
    """Force error on test frames against the time of an evaluation; a line joins what nothing beats in both."""
    points = {budget[0]: error_and_cost(records, budget) for budget in timed_budgets(records)}
    points = {case: found for case, found in points.items() if found}
    if not points:
        return False
    picture, axes = plots.figure(-(-len(points) // 2), min(2, len(points)), 5.0 if len(points) > 1 else 8.0, 4.0)
    for axis, (case, found) in zip(axes.flat, points.items(), strict=False):
        for model, (time, error) in found.items():
            axis.loglog(time, error, look[model].marker, color=look[model].color, ms=7, label=model)
        front = pareto(found.values())
        axis.plot(*zip(*front, strict=True), "-", color="0.6", lw=1, zorder=0)
        finish(axis, "µs per atom, energy and forces, one thread", "test force RMSE (meV/Å)", case)
    for axis in axes.flat[len(points) :]:
        axis.set_visible(False)
    legend(picture, *axes.flat, width=2.6)
    plots.save(picture, path)
    return True


def error_and_cost(records: Sequence[Record], budget: Budget) -> dict[str, tuple[float, float]]:
    """Microseconds for each atom of the trained model, and its force error on all test frames."""
    runs = trainings(records, budget)
    rows = [row for row in rows_of(runs) if row["config_type"] == "all" and row["forces_rmse"]]
    found = {}
    for model in dict.fromkeys(row["model"] for row in rows):
        time = next(run.answer.get("us_per_atom") for run in runs if run.model == model)
        errors = [
            mean(chosen(rows, model=model, split=split), "forces_rmse") for split in {row["split"] for row in rows}
        ]
        if time is not None and None not in errors:
            found[model] = (time, typical(float(error) for error in errors if error is not None))
    return found


def pareto(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Points that no other one beats in both coordinates, from left to right."""
    front: list[tuple[float, float]] = []
    for point in sorted(points):
        if not front or point[1] < front[-1][1]:
            front.append(point)
    return front


def speed(records: Sequence[Record], look: dict[str, Style], path: Path) -> bool:
    """Times as multiples of the reference's, all systems in one line for each model."""
    found: dict[str, list[tuple[str, float]]] = {}
    for model in models_of(records):
        for system in SYSTEMS:
            record = timing(records, model, system)
            if record is not None and "ratio" in record.answer:
                found.setdefault(model, []).append((system, record.answer["ratio"]))
    if not found:
        return False
    order = sorted(found, key=lambda model: -typical(ratio for _, ratio in found[model]))
    picture, axes = plots.figure(1, 1, 7.0, 1.0 + 0.26 * len(order))
    palette = dict(zip(SYSTEMS, plots.COLORS, strict=False))
    for height, model in enumerate(order):
        for system, ratio in found[model]:
            axes[0, 0].semilogx(ratio, height, "o", color=palette[system], ms=6, label=system)
    axes[0, 0].set_yticks(range(len(order)), order, fontsize=8)
    axes[0, 0].axvline(1, color="0.7", lw=0.8, zorder=0)
    axes[0, 0].set_xlabel("time of energy and forces, in units of SchNet (PyG)")
    plain_log(axes[0, 0].xaxis)
    legend(picture, axes[0, 0])
    plots.save(picture, path)
    return True


def finish(axis: Axes, x: str, y: str, title: str) -> None:
    """Labels, and plain numbers."""
    axis.set_xlabel(x)
    axis.set_ylabel(y)
    axis.set_title(title, fontsize=10)
    for side in (axis.xaxis, axis.yaxis):
        plain_log(side)
