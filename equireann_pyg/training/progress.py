"""Progress of a run on one line."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column

from equireann_pyg.training.metrics import three_digits

NAMES = {"fit": "epoch", "validate": "validation", "test": "test", "predict": "prediction"}


class OneLineProgress(ProgressBar):
    """Epoch, batches, time left in the epoch and the last validation errors, on one line of whatever width.

    Where the output is no terminal, in the log of a batch job say, a line is printed after each validation instead.

    Args:
        console: where to print; by default standard output.
    """

    def __init__(self, console: Console | None = None) -> None:
        super().__init__()
        self.console = Console() if console is None else console
        self.on = True
        self.line: Progress | None = None
        self.errors = ""

    def disable(self) -> None:
        """Show nothing (called by Lightning on all processes but one)."""
        self.on = False

    def enable(self) -> None:
        """Show progress again."""
        self.on = True

    def _start(self, name: str, total: float) -> None:
        """A new line, or the old one from its beginning."""
        if not self.on or not self.console.is_terminal:
            return
        size = None if total == float("inf") else total
        if self.line is None:
            text = TextColumn("{task.fields[errors]}", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1))
            columns = (TextColumn("{task.description}"), BarColumn(10), MofNCompleteColumn(), TimeRemainingColumn(True))
            self.line = Progress(*columns, text, console=self.console, transient=True, expand=True)
            self.line.start()
            self.line.add_task(name, total=size, errors=self.errors)
        self.line.reset(self.line.task_ids[0], description=name, total=size, errors=self.errors)

    def _stop(self) -> None:
        if self.line is not None:
            self.line.stop()
            self.line = None

    def _advance(self, completed: int) -> None:
        if self.line is not None:
            self.line.update(self.line.task_ids[0], completed=completed)

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print above the line."""
        if self.on:
            self.console.print(*args, **kwargs)

    def on_train_epoch_start(self, trainer: Trainer, *_: Any) -> None:
        """A new epoch."""
        self._start(epoch(trainer), self.total_train_batches)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """One more training batch."""
        self._advance(batch_idx + 1)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the validation errors of a fit."""
        if trainer.state.fn != "fit":
            self._stop()
        elif not trainer.sanity_checking:
            values = trainer.progress_bar_metrics
            self.errors = "  ".join(_labelled(name, value) for name, value in values.items())
            if self.line is not None:
                self.line.update(self.line.task_ids[0], errors=self.errors)
            elif self.on:
                self.console.print(f"{epoch(trainer)}: {self.errors}", soft_wrap=True, highlight=False)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The end of a fit."""
        self._stop()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leave a clean terminal."""
        self._stop()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The start of ``validate``."""
        if trainer.state.fn == "validate":
            self._start(NAMES["validate"], sum(trainer.num_val_batches))

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        """One more batch of ``validate``."""
        if trainer.state.fn == "validate":
            self._advance(batch_idx + 1)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The start of ``test``."""
        self._start(NAMES["test"], sum(trainer.num_test_batches))

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        """One more batch of ``test``."""
        self._advance(batch_idx + 1)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The end of ``test``."""
        self._stop()

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The start of ``predict``."""
        self._start(NAMES["predict"], sum(trainer.num_predict_batches))

    def on_predict_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        """One more batch of ``predict``."""
        self._advance(batch_idx + 1)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The end of ``predict``."""
        self._stop()


def epoch(trainer: Trainer) -> str:
    """The present epoch, and how many there are at most: ``epoch 3/300``."""
    last = trainer.max_epochs
    return f"epoch {trainer.current_epoch + 1}" + (f"/{last}" if last and last > 0 else "")


def _labelled(name: str, value: Any) -> str:
    """``E 1.23 meV/atom`` of the name ``E meV/atom`` and a number."""
    symbol, _, unit = name.partition(" ")
    return f"{symbol} {three_digits(float(value))} {unit}"
