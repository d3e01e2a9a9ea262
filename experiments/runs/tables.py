"""Tables for the screen and for Markdown, and what is read off the rows of several seeds."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from equireann_pyg.evaluation.plots import three_digits
from equireann_pyg.files import replacing
from experiments.runs.results import Row

WIDTH = 150
"""Smallest width of printed tables."""


@dataclass
class Sheet:
    """A table of text.

    Args:
        title: above it.
        heading: of the columns; the first is aligned to the left.
        rows: cells.
        note: below it.
    """

    title: str
    heading: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)
    note: str = ""

    def rich(self) -> Table:
        """For the screen."""
        table = Table(title=self.title, caption=self.note or None, box=SIMPLE_HEAD)
        for index, name in enumerate(self.heading):
            table.add_column(name, justify="right" if index else "left")
        for row in self.rows:
            table.add_row(*map(escape, row))  # brackets are no markup
        return table

    def markdown(self) -> str:
        """For a file."""
        lines = [f"## {self.title}", "", _line(self.heading), _line(["---"] * len(self.heading))]
        lines += [_line(row) for row in self.rows]
        return "\n".join([*lines, *(["", self.note] if self.note else []), ""])


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("\n", " ") for cell in cells) + " |"


def publish(sheets: Iterable[Sheet], path: Path, title: str, console: Console | None = None) -> None:
    """Print tables, and write them to a Markdown file, whole or not at all."""
    sheets = list(sheets)
    console = console or Console()
    console.width = max(console.width, WIDTH)
    for sheet in sheets:
        console.print(sheet.rich())
    with replacing(path) as partial:
        partial.write_text("\n".join([f"# {title}", "", *(sheet.markdown() for sheet in sheets)]), encoding="utf-8")


def over_seeds(rows: Iterable[Row], column: str) -> str:
    """Value of a column; with several seeds the mean and its spread (standard deviation of the runs)."""
    values = [float(row[column]) for row in rows if row.get(column)]
    if not values:
        return "-"
    if len(values) == 1:
        return three_digits(values[0])
    return f"{three_digits(statistics.fmean(values))} ± {statistics.stdev(values):.2g}"


def energy_and_forces(rows: Sequence[Row], measure: str = "rmse") -> str:
    """Errors of energy and forces in one cell."""
    return f"{over_seeds(rows, f'energy_{measure}')} / {over_seeds(rows, f'forces_{measure}')}" if rows else "-"


def mean(rows: Iterable[Row], column: str) -> float | None:
    """Mean of a column over the rows that have it."""
    values = [float(row[column]) for row in rows if row.get(column)]
    return statistics.fmean(values) if values else None


def chosen(rows: Iterable[Row], **wanted: str) -> list[Row]:
    """Rows with these entries."""
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


def distinct(rows: Iterable[Row], *columns: str) -> list[tuple[str, ...]]:
    """Different entries of some columns, in order of appearance."""
    return list(dict.fromkeys(tuple(row[column] for column in columns) for row in rows))


def run_sheet(rows: Sequence[Row], title: str = "Runs") -> Sheet:
    """What every run was and took."""
    heading = (
        "case",
        "model",
        "T",
        "parameters",
        "frames",
        "min",
        "epochs",
        "steps",
        "time, s",
        "CPU ms/step",
        "seeds",
        "threads",
    )
    sheet = Sheet(title, heading)
    for case, model in distinct(rows, "case", "model"):
        runs = list({row["seed"]: row for row in chosen(rows, case=case, model=model)}.values())
        names = ("iterations", "parameters", "train_frames", "minutes", "epochs", "steps")
        fixed = [", ".join(dict.fromkeys(run.get(name) or "" for run in runs)) for name in names]
        times = [over_seeds(runs, "seconds"), over_seeds(runs, "ms_per_step")]
        sheet.rows.append([case, model, *fixed, *times, ", ".join(run["seed"] for run in runs), runs[0]["threads"]])
    machines = {f"{row['cpu']}, torch {row['torch']}, equireann_pyg {row['package']}" for row in rows}
    sheet.note = (
        "; ".join(sorted(machines))
        + ". Budgets, min, are minutes of one core for the steps alone. Times are of a machine that "
        "may have been busy; see the table of costs."
    )
    return sheet
