"""What tables and figures read off the records."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from experiments.benchmark.measurements.records import Record
from experiments.runs.results import Row


def of_task(records: Iterable[Record], task: str, **options: Any) -> list[Record]:
    """Records with an answer, of a task with these options; an option of None must not be there."""
    return [
        record
        for record in records
        if record.task == task
        and record.answer
        and all(record.options.get(name) == value for name, value in options.items())
    ]


PLAIN = {"step": None, "dtype": None, "threads": None, "cutoff": None}
"""Options of a timing of energy and forces in single precision on one thread at the usual cutoff."""


def timing(records: Iterable[Record], model: str, system: str, **options: Any) -> Record | None:
    """Timing of a model."""
    found = [r for r in of_task(records, "speed", **{**PLAIN, "system": system, **options}) if r.model == model]
    return found[-1] if found else None


def models_of(records: Iterable[Record]) -> list[str]:
    """Models, in the order of their first records."""
    return list(dict.fromkeys(record.model for record in records))


def exponent(sizes: Sequence[float], times: Sequence[float]) -> float | None:
    """Power with which times grow: slope of a line through the logarithms."""
    if len(sizes) < 2:
        return None
    return float(np.polyfit(np.log(sizes), np.log(times), 1)[0])


def growth(records: Sequence[Record], model: str) -> float | None:
    """Power with which the time of a crystal grows with its atoms."""
    found = [timing(records, model, name) for name in ("copper 108", "copper 1008", "copper 10192")]
    points = [(r.answer["atoms"], r.answer["ms"]) for r in found if r is not None]
    return exponent(*zip(*points, strict=True)) if len(points) > 1 else None


def growth_with_cutoff(records: Sequence[Record], model: str) -> float | None:
    """Power with which the time of a crystal grows with the cutoff; the number of neighbours grows with the third."""
    found = [(cutoff or 5.0, timing(records, model, "copper 108", cutoff=cutoff)) for cutoff in (4.0, None, 6.0, 7.0)]
    points = [(cutoff, record.answer["ms"]) for cutoff, record in found if record is not None]
    return exponent(*zip(*points, strict=True)) if len(points) > 1 else None


def cost(records: Sequence[Record], model: str, system: str) -> float | None:
    """Microseconds for each atom of a system."""
    record = timing(records, model, system)
    return None if record is None else 1e3 * record.answer["ms"] / record.answer["atoms"]


def trainings(records: Iterable[Record], case: str | None = None, equal: bool = False) -> list[Record]:
    """Trainings whose test errors were measured: of equal time, or of equal numbers of epochs."""
    chosen = [r for r in of_task(records, "train") if "rows" in r.answer and ("epochs" in r.options) == equal]
    return [record for record in chosen if case in (None, record.options["case"])]


def cases_of(records: Iterable[Record]) -> list[str]:
    """Sets that models were trained on."""
    return list(dict.fromkeys(record.options["case"] for record in trainings(records)))


def rows_of(records: Iterable[Record]) -> list[Row]:
    """Errors on test frames of some trainings."""
    return [row for record in records for row in record.answer["rows"]]


def typical(values: Iterable[float]) -> float:
    """Geometric mean."""
    return statistics.geometric_mean(values)
