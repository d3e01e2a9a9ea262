"""What the pictures of experiments share: plain numbers on logarithmic axes, one legend for several axes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis


def plain_log(axis: Axis) -> None:
    """Numbers without powers on a logarithmic axis, also where it spans less than a decade."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def legend(picture: Any, *axes: Axes, wide: bool = True) -> None:
    """One legend, of all that some axes show, above them."""
    labels = {}
    for axis in axes:
        labels |= {label: handle for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    columns = len(labels) if wide else 2
    picture.legend(labels.values(), labels.keys(), loc="outside upper center", ncols=columns, frameon=False, fontsize=8)
