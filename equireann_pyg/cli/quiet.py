"""What a user sees of messages: warnings in one line each, and none that say nothing to do."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from equireann_pyg.wording import one_line

IDLE = (
    "LightningCLI's args parameter is intended to run from within Python",
    "Checkpoint directory .* exists and is not empty",
    "The dirpath has changed from",  # resumed runs may write elsewhere
    "The '\\w+_dataloader' does not have many workers",
    "The number of training batches .* is smaller than the logging interval",  # errors are logged each epoch
    "`isinstance\\(treespec, LeafSpec\\)` is deprecated",
    "Experiment logs directory .* exists and is not empty",
    "You're resuming from a checkpoint that ended before the epoch ended",
    "The `\\w+` package is not installed",
)
"""Warnings of libraries about themselves, or about what is meant to be so."""

LOUD = ("lightning.pytorch", "lightning.fabric")
"""Loggers that say nothing of use below a warning."""


@contextmanager
def quiet() -> Iterator[None]:
    """Within this context warnings take one line, and idle ones do not show."""
    loggers, ours = [logging.getLogger(name) for name in LOUD], logging.getLogger("equireann_pyg")
    levels = [logger.level for logger in [*loggers, ours]]
    with warnings.catch_warnings():
        warnings.filterwarnings("default", category=UserWarning)
        for kind in (DeprecationWarning, PendingDeprecationWarning):  # of libraries about each other
            warnings.filterwarnings("ignore", category=kind, module=r"(?!equireann_pyg)")
        for message in IDLE:
            warnings.filterwarnings("ignore", message)
        warnings.showwarning = _show
        for logger in loggers:
            logger.setLevel(logging.WARNING)
        ours.setLevel(logging.INFO)
        ours.addHandler(handler := _Lines())
        try:
            yield
        finally:
            ours.removeHandler(handler)
            for logger, level in zip([*loggers, ours], levels, strict=True):
                logger.setLevel(level)


class _Lines(logging.Handler):
    """Messages of the package on the terminal: a line each, of warnings on the standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        text = one_line(record.getMessage())
        if record.levelno >= logging.WARNING:
            _show(text)
        else:
            print(text)


def _show(message: Any, *_: Any, **__: Any) -> None:
    print(f"equireann: warning: {one_line(message)}", file=sys.stderr)
