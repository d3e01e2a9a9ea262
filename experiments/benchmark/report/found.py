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


Budget = tuple[str, str, float]
"""Case, ``"minutes"`` or ``"epochs"``, and how many."""


def budget_of(record: Record) -> Budget:
    """What a training was given."""
    kind = "epochs" if "epochs" in record.options else "minutes"
    return record.options["case"], kind, record.options[kind]


def trainings(records: Iterable[Record], budget: Budget | None = None) -> list[Record]:
    """Trainings whose test errors were measured."""
    found = [record for record in of_task(records, "train") if "rows" in record.answer]
    return [record for record in found if budget in (None, budget_of(record))]


def budgets_of(records: Iterable[Record]) -> list[Budget]:
    """Sets that models were trained on, with each budget."""
    return sorted({budget_of(record) for record in trainings(records)})


def timed_budgets(records: Iterable[Record]) -> list[Budget]:
    """Of each set the largest budget in minutes."""
    largest = {case: amount for case, kind, amount in budgets_of(records) if kind == "minutes"}
    return [(case, "minutes", amount) for case, amount in largest.items()]


def rows_of(records: Iterable[Record]) -> list[Row]:
    """Errors on test frames of some trainings."""
    return [row for record in records for row in record.answer["rows"]]


def typical(values: Iterable[float]) -> float:
    """Geometric mean."""
    return statistics.geometric_mean(values)
