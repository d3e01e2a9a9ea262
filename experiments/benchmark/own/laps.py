"""Processor time of the steps of a training, written by the process that trains."""

from __future__ import annotations

import json
import time
from pathlib import Path
from statistics import mean

FIRST, TIMED = 3, 12
"""Steps before a timing, in which memory is fetched and code is compiled, and steps that are timed."""


class Laps:
    """Starts and ends of steps.

    Args:
        path: file that keeps them.
    """

    def __init__(self, path: str) -> None:
        self.path = Path(path)
        self.starts: list[float] = []
        self.ends: list[float] = []

    def start(self) -> None:
        """Start of a step."""
        self.starts.append(time.process_time())

    def end(self) -> None:
        """End of a step."""
        self.ends.append(time.process_time())

    def save(self) -> None:
        """Write the file."""
        self.path.write_text(json.dumps({"starts": self.starts, "ends": self.ends}))

    @classmethod
    def load(cls, path: Path) -> Laps:
        """What :meth:`save` has written.

        Raises:
            ValueError: if there are no steps.
        """
        laps, kept = cls(str(path)), json.loads(path.read_text())
        laps.starts, laps.ends = kept["starts"], kept["ends"]
        if not laps.ends:
            raise ValueError(f"{path}: the training made no steps")
        return laps

    def busy(self) -> float:
        """Seconds of all steps."""
        return sum(end - start for start, end in zip(self.starts, self.ends, strict=False))

    def per_step(self) -> float:
        """Mean seconds of the steps after the first ones."""
        first = min(FIRST, len(self.ends) - 1)
        return mean(end - start for start, end in zip(self.starts[first:], self.ends[first:], strict=False))
