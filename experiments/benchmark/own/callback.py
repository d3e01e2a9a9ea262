"""Times the steps of a training by Lightning; a configuration of NequIP names it."""

from __future__ import annotations

from typing import Any

import lightning

from experiments.benchmark.own.laps import Laps


class StepTimes(lightning.Callback):
    """Keeps the processor time of every step.

    Args:
        path: file that is written at the end.
    """

    def __init__(self, path: str) -> None:
        self.laps = Laps(path)

    def on_train_batch_start(self, *_: Any) -> None:
        """Start of a step."""
        self.laps.start()

    def on_train_batch_end(self, *_: Any) -> None:
        """End of a step."""
        self.laps.end()

    def on_train_end(self, *_: Any) -> None:
        """Write the file."""
        self.laps.save()
