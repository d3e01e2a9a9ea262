"""Files of results that several runs, each of a part, fill together."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from experiments.speed.report import Row, write

KEYS = ("card", "case", "step", "contestant")
COLUMNS = (
    *KEYS,
    "rounds",
    "ms",
    "spread",
    "wall ms",
    "us/atom",
    "to plus-m",
    "to floor",
    "peak MB",
    "deviation",
    "note",
)
OPERATOR_KEYS = ("card", "case", "operator", "order", "shapes")
OPERATOR_COLUMNS = (
    *OPERATOR_KEYS[:4],
    "kernel us",
    "reference us",
    "gain",
    "MB",
    "GB/s",
    "of copy",
    "deviation",
    "shapes",
    "note",
)


def read(path: Path) -> list[Row]:
    """Rows of a file; none if there is no such file."""
    if not path.exists():
        return []
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def merge(path: Path, rows: Iterable[Row], columns: Sequence[str], keys: Sequence[str]) -> list[Row]:
    """Put rows into a file, in the places of those with the same keys, and give all that it then holds."""
    found = {tuple(str(row.get(key, "")) for key in keys): row for row in [*read(path), *rows]}
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = path.with_suffix(".part")
    write(whole, found.values(), columns)
    whole.replace(path)
    return list(found.values())


def say_machine(path: Path, line: str) -> None:
    """Put the line of a card into a file, in the place of an earlier line of the same card."""
    card = line.partition(":")[0]
    lines = path.read_text().splitlines() if path.exists() else []
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{text}\n" for text in lines if text.partition(":")[0] != card) + line + "\n")
