"""What the package promises on a CUDA device, and how each promise is read off the files of results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from experiments.speed.report import Row

GOAL_COLUMNS = ("card", "target", "measured", "bound", "met", "by")
GOAL_KEYS = ("card", "target")

Reading = tuple[float, str] | None
"""Value and what gave it; None where something was not measured."""


@dataclass(frozen=True)
class Goal:
    """One promise.

    Args:
        name: what is measured, and where.
        bound: limit of the value.
        read: value from the rows of results and of operators.
        at_least: the bound is a lower one.
    """

    name: str
    bound: float
    read: Callable[[list[Row], list[Row]], Reading]
    at_least: bool = False


def quickest(column: str, case: str, step: str, model: str = "plus-m") -> Callable[[list[Row], list[Row]], Reading]:
    """Smallest number in a column, over the paths of a model but the plain one."""

    def read(results: list[Row], operators: list[Row]) -> Reading:
        found = [
            (float(row[column]), row["contestant"])
            for row in results
            if (row["case"], row["step"]) == (case, step) and row["contestant"].rpartition(" ")[0] == model
            if row.get(column) and not row["contestant"].endswith(" plain")
        ]
        return min(found, default=None)

    return read


def share(order: str) -> Callable[[list[Row], list[Row]], Reading]:
    """Share of the copy's bytes per second in the sum over 96 radial and 16 message channels of 10,192 atoms."""

    def read(results: list[Row], operators: list[Row]) -> Reading:
        for row in operators:
            wanted = (row["case"], row["operator"], row["order"]) == ("cu10192", "orbital_sum", order)
            if wanted and "10192x16x16" in row["shapes"] and row.get("of copy") and row.get("kernel us"):
                return float(row["of copy"]), "kernel"
        return None

    return read


GOALS = [
    Goal(
        "plus-m, energy and forces of 10,192 copper atoms, us an atom", 1.0, quickest("us/atom", "cu10192", "inference")
    ),
    Goal("sum over neighbours forward, share of the copy's bandwidth", 0.5, share("forward"), at_least=True),
    Goal("sum over neighbours backward, share of the copy's bandwidth", 0.5, share("first"), at_least=True),
    Goal("plus-m, training step of 64 aspirin molecules, ms", 5.0, quickest("ms", "mol64", "training")),
    Goal("plus-m, 1,000,188 copper atoms in blocks, peak MB", 80e3, quickest("peak MB", "cu1000188", "inference")),
]


def goal_rows(card: str, results: Iterable[Row], operators: Iterable[Row]) -> Iterator[Row]:
    """Every promise with what was measured on a card."""
    ours, sums = ([row for row in rows if row["card"] == card] for rows in (results, operators))
    for goal in GOALS:
        reading = goal.read(ours, sums)
        value, by = (None, "") if reading is None else reading
        met = value is not None and (value >= goal.bound if goal.at_least else value <= goal.bound)
        yield {
            "card": card,
            "target": goal.name,
            "measured": "" if value is None else f"{value:.4g}",
            "bound": f"{'>=' if goal.at_least else '<='} {goal.bound:g}",
            "met": "not measured" if value is None else "yes" if met else "no",
            "by": by,
        }
