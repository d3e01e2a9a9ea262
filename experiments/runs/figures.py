"""What the pictures of experiments share: plain numbers on logarithmic axes, one legend for several axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.runs.results import Row
from experiments.runs.tables import chosen, distinct

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

Curves = tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]
"""Abscissa, reference, and prediction of every model."""


def curves(rows: Sequence[Row], backwards: bool = False) -> Curves:
    """Rows of a scan of one seed as curves; every model must have all points.

    Raises:
        ValueError: if the models have different points.
    """
    found = {}
    for (model,) in distinct(rows, "model"):
        points = [[float(row[name]) for name in ("x", "reference", "prediction")] for row in chosen(rows, model=model)]
        found[model] = np.array(sorted(points, reverse=backwards)).T
    x, reference, _ = next(iter(found.values()))
    if any(table.shape != (3, x.size) or not np.allclose(table[0], x) for table in found.values()):
        raise ValueError(f"{rows[0]['case']}: the models were tested on different points; run them anew")
    return x, reference, {model: table[2] for model, table in found.items()}


def near_reference(axis: Axes, reference: np.ndarray) -> None:
    """Show the range of the reference and a quarter of it, at least 20 meV, on either side: a model may be far off."""
    low, high = float(reference.min()), float(reference.max())
    margin = max(0.25 * (high - low), 0.02)
    bottom, top = axis.get_ylim()
    axis.set_ylim(max(bottom, low - margin), min(top, high + margin))


def plain_log(axis: Axis) -> None:
    """Numbers without powers on a logarithmic axis, also where it spans less than a decade."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def legend(picture: Any, *axes: Axes, width: float = 1.5) -> None:
    """One legend, of all that some axes show, above them, in as many columns as there is room for, ``width`` inches each."""
    labels = {}
    for axis in axes:
        labels |= {label: handle for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    columns = max(1, min(len(labels), int(picture.get_size_inches()[0] / width)))
    picture.legend(labels.values(), labels.keys(), loc="outside upper center", ncols=columns, frameon=False, fontsize=8)


def first_seed(rows: Sequence[Row]) -> list[Row]:
    """Rows of the smallest seed of each case."""
    return [row for row in rows if row["seed"] == min(other["seed"] for other in rows if other["case"] == row["case"])]
