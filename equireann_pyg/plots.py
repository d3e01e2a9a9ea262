"""Pictures: parity plots, learning curves, torsion profiles."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")
"""Okabe and Ito's colours: told apart by everybody."""


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
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        picture.savefig(partial, dpi=200)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def parity(axis: Axes, reference: ArrayLike, predictions: Mapping[str, ArrayLike], quantity: str, unit: str) -> None:
    """Draw predictions against the reference, with the diagonal and the RMSE of each model (thousandths of ``unit``)."""
    x = np.ravel(np.asarray(reference))
    for color, (name, values) in zip(COLORS[1:] if len(predictions) > 1 else COLORS, predictions.items(), strict=False):
        y = np.ravel(np.asarray(values))
        rmse = 1e3 * np.sqrt(np.mean((y - x) ** 2))
        axis.plot(x, y, "o", ms=2.5, mew=0, alpha=0.5, color=color, label=f"{name}: {rmse:.3g} m{unit}")
    ends = [x.min(), x.max()]
    axis.plot(ends, ends, "-", lw=0.8, color="0.3", zorder=0)
    axis.set_xlabel(f"reference {quantity} ({unit})")
    axis.set_ylabel(f"predicted {quantity} ({unit})")
    axis.set_aspect("equal", adjustable="datalim")
    axis.legend(frameon=False, fontsize=8, markerscale=2)


def learning_curves(axis: Axes, curves: Mapping[str, tuple[Sequence[float], Sequence[float]]], label: str) -> None:
    """Draw one error against the epoch for each model, logarithmically."""
    for color, (name, (epochs, errors)) in zip(COLORS[1:], curves.items(), strict=False):
        axis.semilogy(epochs, errors, color=color, label=name)
    axis.set_xlabel("epoch")
    axis.set_ylabel(label)
    axis.legend(frameon=False, fontsize=8)


def torsion_profile(
    axis: Axes, angle: ArrayLike, reference: ArrayLike, predictions: Mapping[str, ArrayLike], title: str
) -> None:
    """Draw a torsion scan: reference as circles, models as lines; energies in eV relative to the reference's first."""
    reference = np.asarray(reference)
    axis.plot(angle, reference - reference[0], "o", ms=4, mfc="none", color="0.2", label="DFT")
    for color, (name, values) in zip(COLORS[1:], predictions.items(), strict=False):
        axis.plot(angle, np.asarray(values) - reference[0], "-", lw=1.6, color=color, label=name)
    axis.set_title(title, fontsize=10)
