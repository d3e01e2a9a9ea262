"""Progress of a simulation on the terminal, or in the log of a batch job."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column


class Advance:
    """Context that shows how far a simulation is: on a terminal in one line, elsewhere in a line for each tenth.

    Args:
        name: what is counted.
        total: how many there are.
        begin: how many were done before.
        console: where to print; by default standard output.
    """

    def __init__(self, name: str, total: int, begin: int = 0, console: Console | None = None) -> None:
        self.console = Console() if console is None else console
        self.name, self.total, self.shown = name, total, 10 * begin // max(total, 1)
        text = TextColumn("{task.fields[said]}", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1))
        columns = (TextColumn("{task.description}"), BarColumn(10), MofNCompleteColumn(), TimeRemainingColumn(True))
        self.line = Progress(*columns, text, console=self.console, transient=True, expand=True)
        self.task = self.line.add_task(name, total=total, completed=begin, said="")

    def __enter__(self) -> Advance:
        if self.console.is_terminal:
            self.line.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.console.is_terminal:
            self.line.stop()

    def update(self, done: int, said: str) -> None:
        """Show a number and what is said of it."""
        if self.console.is_terminal:
            self.line.update(self.task, completed=done, said=said)
        elif 10 * done // max(self.total, 1) > self.shown:
            self.shown = 10 * done // max(self.total, 1)
            self.console.print(f"{self.name} {done}/{self.total}: {said}", soft_wrap=True, highlight=False)
