"""Pictures: parity plots, learning curves, torsion profiles."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from equireann_pyg.files import replacing
from equireann_pyg.training.metrics import three_digits

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's colours: told apart by everybody."""


def colors(names: Iterable[str]) -> dict[str, str]:
    """Colour of each model: the same in every picture of the same models, in whatever order they come."""
    return {name: COLORS[(index + 1) % len(COLORS)] for index, name in enumerate(sorted(names))}


def figure(rows: int, columns: int, width: float, height: float) -> tuple[Figure, Any]:
    """A figure of ``rows`` x ``columns`` axes, each ``width`` x ``height`` inches, outside of pyplot's state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    picture = Figure(figsize=(columns * width, rows * height), layout="constrained")
    FigureCanvasAgg(picture)
    axes = picture.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
    return picture, axes


def save(picture: Figure, path: str | Path) -> None:
    """Write a picture whole or not at all, with two dots for each screen pixel."""
    with replacing(path, Path(path).suffix) as partial:
        picture.savefig(partial, dpi=200)


def parity(axis: Axes, reference: ArrayLike, predictions: Mapping[str, ArrayLike], quantity: str, unit: str) -> None:
    """Draw predictions against the reference, with the diagonal and the RMSE of each model (thousandths of ``unit``).

    Args:
        axis: where to draw; gets equal limits and square shape.
        reference: numbers of any shape; NaN where unknown.
        predictions: for each model, numbers of the same shape; the last is drawn on top.
        quantity: what it is, for the axes.
        unit: unit of all numbers.

    Raises:
        ValueError: if the shapes differ or a model has nothing that is finite.
    """
    from matplotlib.ticker import MaxNLocator

    x = np.asarray(reference, dtype=float)
    values = {name: np.asarray(y, dtype=float) for name, y in predictions.items()}
    wrong = {name: y.shape for name, y in values.items() if y.shape != x.shape}
    known = {name: np.isfinite(x - y) for name, y in values.items() if name not in wrong}
    if wrong or not all(k.any() for k in known.values()):
        raise ValueError(f"parity of {quantity}: nothing to draw (reference {x.shape}, other shapes: {wrong})")
    palette = colors(values) if len(values) > 1 else dict.fromkeys(values, COLORS[0])
    for name, y in values.items():
        rmse = 1e3 * np.sqrt(np.mean((y - x)[known[name]] ** 2))
        points, label = (x[known[name]], y[known[name]]), f"{name}: {three_digits(rmse)} m{unit}"
        axis.plot(*points, "o", ms=2.5, mew=0, alpha=0.5, color=palette[name], label=label)
    drawn = np.concatenate([part[known[name]] for name, y in values.items() for part in (x, y)])
    low, high = drawn.min(), drawn.max()
    margin = 0.05 * (high - low) or 1e-3
    ends = (low - margin, high + margin)
    axis.plot(ends, ends, "-", lw=0.8, color="0.3", zorder=1)
    axis.set(xlim=ends, ylim=ends, xlabel=f"reference {quantity} ({unit})", ylabel=f"predicted {quantity} ({unit})")
    axis.set_aspect("equal")
    for side in (axis.xaxis, axis.yaxis):
        side.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    axis.legend(
        frameon=False, fontsize=8, markerscale=2, loc="upper left", handletextpad=0.2, title="RMSE", title_fontsize=8
    )


def read_curve(path: str | Path, column: str) -> tuple[list[float], list[float]]:
    """Epochs and values of a column of Lightning's ``metrics.csv``, for :func:`learning_curves`.

    Raises:
        ValueError: if there is no such column or it is empty.
    """
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        points = [(float(row["epoch"]), float(row[column])) for row in reader if row.get("epoch") and row.get(column)]
    if not points:
        raise ValueError(f"{path}: no values of '{column}'; there are {', '.join(reader.fieldnames or [])}")
    epochs, values = zip(*points, strict=True)
    return list(epochs), list(values)


def learning_curves(axis: Axes, curves: Mapping[str, tuple[Sequence[float], Sequence[float]]], label: str) -> None:
    """Draw one error against the epoch for each model, logarithmically.

    Args:
        axis: where to draw.
        curves: for each model its epochs and errors.
        label: what the error is, with its unit.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    palette = colors(curves)
    for name, (epochs, errors) in curves.items():
        marker = "o" if len(epochs) < 2 else ""
        axis.semilogy(epochs, errors, color=palette[name], label=name, marker=marker)
    axis.set(xlabel="epoch", ylabel=label)
    axis.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5, 7)))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.yaxis.set_minor_formatter(NullFormatter())
    axis.legend(frameon=False, fontsize=8)


def torsion_profile(
    axis: Axes, angle: ArrayLike, reference: ArrayLike, predictions: Mapping[str, ArrayLike], title: str
) -> None:
    """Draw a torsion scan: reference as circles, models as lines; energies in eV relative to the reference's first."""
    reference, palette = np.asarray(reference), colors(predictions)
    axis.plot(angle, reference - reference[0], "o", ms=4, mfc="none", color="0.2", label="DFT")
    for name, values in predictions.items():
        axis.plot(angle, np.asarray(values) - reference[0], "-", lw=1.6, color=palette[name], label=name)
    axis.set_title(title, fontsize=10)
