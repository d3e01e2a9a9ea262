"""Tables of results that grow by whole runs: a file is replaced at once or not at all."""

from __future__ import annotations

import csv
import fcntl
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from equireann_pyg.files import replacing

Row = dict[str, str]

COLUMNS = (
    *("case", "model", "split", "config_type", "frames", "energy_rmse", "energy_mae"),
    *("energy_per_atom_rmse", "energy_per_atom_mae", "forces_rmse", "forces_mae", "stress_rmse", "stress_mae"),
    *("minutes", "epochs", "steps", "train_frames", "batch_size", "cutoff", "iterations", "parameters", "seed"),
    *("seconds", "ms_per_step", "threads", "cpu", "torch", "package", "date", "source", "recipe"),
)
"""Columns of ``results.csv``: energies in meV, forces in meV/Angstrom, stress in meV/Angstrom^3."""

PROGRESS_COLUMNS = ("case", "model", "seed", "recipe", "steps", "minutes", "energy_rmse", "forces_rmse")
"""Columns of a table of validation errors against the processor time of the steps until then, in minutes."""

SCAN_COLUMNS = ("case", "model", "seed", "recipe", "split", "group", "x", "reference", "prediction")
"""Columns of ``scans.csv``: energies in eV."""


def read(path: Path) -> list[Row]:
    """Rows of a table; none if there is no file.

    Raises:
        ValueError: if the file is no such table.
    """
    if not path.is_file():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if any(None in row or None in row.values() or "case" not in row for row in rows):
        raise ValueError(f"{path}: a row has more or fewer cells than the heading: restore the file, or move it away")
    return rows


def write(path: Path, rows: Iterable[Row], columns: Sequence[str]) -> None:
    """Write a table whole or not at all."""
    with replacing(path) as partial, open(partial, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(columns), restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


RUN = ("case", "model", "seed")
"""Columns that tell one run from another."""


def append(path: Path, rows: Sequence[Row], columns: Sequence[str], key: Sequence[str] = RUN) -> None:
    """Add the rows of a run to a table, in place of those of an earlier run with the same entries in ``key``."""
    same = {tuple(row[name] for name in key) for row in rows}
    with locked(path):
        kept = [row for row in read(path) if tuple(row[name] for name in key) not in same]
        write(path, [*kept, *rows], columns)


def add(path: Path, rows: Sequence[Row], columns: Sequence[str]) -> None:
    """Add rows to a table that keeps every line."""
    with locked(path):
        write(path, [*read(path), *rows], columns)


def run_of(row: Row) -> tuple[str, str, str]:
    """Case, model and seed of a row."""
    return row["case"], row["model"], row["seed"]


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Lets one process at a time change a file; the lock of a process that dies is free again."""
    with _lock(path) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def taken(path: Path) -> Iterator[bool]:
    """Whether a file or folder is ours as long as the context lasts; not if another process has it."""
    with _lock(path) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def _lock(path: Path) -> TextIO:
    lock = path.with_name(f".{path.name}.lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    return open(lock, "w")
