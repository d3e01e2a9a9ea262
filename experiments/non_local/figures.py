"""Pictures of the scans: energies along a torsion, along a distance, and errors along the length of a chain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from equireann_pyg.evaluation import plots
from experiments.runs.figures import curves, first_seed, legend, near_reference, plain_log
from experiments.runs.results import Row
from experiments.runs.tables import chosen, distinct

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LONGEST_TRAINED = 14
"""Carbon atoms of the longest chain in the GNL training set."""


def torsions(axis: Axes, rows: Sequence[Row], title: str) -> None:
    """Energy against the angle, relative to the first point of the reference."""
    x, reference, predictions = curves(rows)
    plots.torsion_profile(axis, x, reference, predictions, title)
    near_reference(axis, reference - reference[0])


def dissociation(axis: Axes, rows: Sequence[Row], title: str) -> None:
    """Energy against the distance, relative to the farthest point of the reference; a line ends the training set."""
    plots.torsion_profile(axis, *curves(rows, backwards=True), title)
    near = [float(row["x"]) for row in rows if row["split"] == "near"]
    if near:
        axis.axvline(max(near), color="0.6", lw=0.8, ls=":")


def lengths(axis: Axes, rows: Sequence[Row]) -> None:
    """Error of the energy against the number of carbon atoms; a line ends the training set."""
    count, reference, predictions = curves(rows)
    palette = plots.colors(predictions)
    for model, energy in predictions.items():
        error = np.maximum(1e3 * np.abs(energy - reference), 1e-2)
        axis.semilogy(count, error, "o-", ms=3, lw=1.2, color=palette[model], label=model)
    axis.axvline(LONGEST_TRAINED, color="0.6", lw=0.8, ls=":")
    axis.set(xlabel="carbon atoms", ylabel="energy error (meV)")
    axis.set_title("chains at 5 degrees", fontsize=10)
    plain_log(axis.yaxis)


def panels(picture: Any, axes: Any, xlabel: str) -> None:
    """Labels, one legend, and no empty axes."""
    drawn = [axis for axis in axes.flat if axis.lines]
    for axis in axes.flat:
        axis.set_visible(axis in drawn)
    picture.supxlabel(xlabel, fontsize=10)
    picture.supylabel("energy (eV)", fontsize=10)
    legend(picture, drawn[0])


def draw(rows: Sequence[Row], folder: Path) -> list[Path]:
    """All pictures for which there are scans; the first seed of each case."""
    rows = first_seed(rows)
    made = []
    by_case: Mapping[str, list[Row]] = {case: chosen(rows, case=case) for (case,) in distinct(rows, "case")}
    small = {name: by_case[name] for name in ("c9h4-200", "c9h4-600") if name in by_case}
    if small:
        made.append(_torsion_of_c9h4(small, folder / "c9h4.png"))
    if "gnl" in by_case:
        made.append(_gnl(by_case["gnl"], folder / "gnl.png"))
    if "cumulene" in by_case:
        made.append(_groups(by_case["cumulene"], torsions, "torsion (degrees)", folder / "cumulene.png", "C{}H$_4$"))
    for name in ("charge-charge", "lode"):
        if name in by_case:
            made.append(_groups(by_case[name], dissociation, "distance (Å)", folder / f"{name}.png"))
    return made


def _torsion_of_c9h4(by_case: Mapping[str, list[Row]], path: Path) -> Path:
    picture, axes = plots.figure(1, len(by_case), 3.6, 3.2)
    for axis, (name, rows) in zip(axes.flat, by_case.items(), strict=True):
        torsions(axis, rows, f"C$_9$H$_4$, {name.partition('-')[2]} points")
    panels(picture, axes, "angle (degrees)")
    plots.save(picture, path)
    return path


def _gnl(rows: list[Row], path: Path) -> Path:
    picture, axes = plots.figure(1, 2, 3.6, 3.2)
    torsions(axes[0, 0], chosen(rows, split="scan_angle"), "C$_{12}$H$_4$")
    axes[0, 0].set(xlabel="angle (degrees)", ylabel="energy (eV)")
    lengths(axes[0, 1], chosen(rows, split="scan_length"))
    legend(picture, axes[0, 0])
    plots.save(picture, path)
    return path


def _groups(rows: list[Row], draw_one: Any, xlabel: str, path: Path, title: str = "{}") -> Path:
    groups = [group for (group,) in distinct(rows, "group")]
    columns = min(5, -(-len(groups) // 2))
    picture, axes = plots.figure(-(-len(groups) // columns), columns, 2.4, 2.2)
    for axis, group in zip(axes.flat, groups, strict=False):
        draw_one(axis, chosen(rows, group=group), title.format(f"$_{group}$" if title != "{}" else group))
    panels(picture, axes, xlabel)
    plots.save(picture, path)
    return path
