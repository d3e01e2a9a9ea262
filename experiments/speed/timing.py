"""Times of contestants that take turns, and the memory of one call."""

from __future__ import annotations

import ctypes
import gc
import time
from collections.abc import Callable, Mapping
from pathlib import Path

Stopwatch = Callable[[int], float]
"""Runs a contestant that many times; CPU seconds of one call."""

SHORTEST = 0.02
"""Seconds that one sample takes at least: quick calls are repeated."""


def stopwatch(call: Callable[[], object]) -> Stopwatch:
    """Times ``call`` in this process.

    CPU time: on one thread it is the wall time of a quiet machine, and other people's load hardly shows in it.
    """

    def run(number: int) -> float:
        start = time.process_time()
        for _ in range(number):
            call()
        return (time.process_time() - start) / number

    return run


def interleave(
    contestants: Mapping[str, Stopwatch], seconds: float, min_rounds: int = 3, max_rounds: int = 50
) -> dict[str, list[float]]:
    """Seconds of one call of every contestant in every round; the order turns round from one round to the next.

    Args:
        contestants: stopwatches by name.
        seconds: time for all rounds together, beyond the warm-up.
        min_rounds: rounds that are run however long they take.
        max_rounds: rounds that are enough.
    """
    for watch in contestants.values():
        watch(1)
    cost = {name: max(watch(1), 1e-6) for name, watch in contestants.items()}
    number = {name: max(1, round(SHORTEST / value)) for name, value in cost.items()}
    rounds = round(seconds / max(sum(cost[name] * number[name] for name in cost), 1e-6))
    samples: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(min(max(rounds, min_rounds), max_rounds)):
        for name in list(contestants)[:: 1 if turn % 2 else -1]:
            samples[name].append(contestants[name](number[name]))
    return samples


def peak_memory(call: Callable[[], object], repeats: int = 3) -> float:
    """Rise of the resident memory during one call, in MB (10^6 bytes): the median of some calls. Linux only."""
    call()  # what is loaded, compiled or cached once is not counted
    rises = []
    for _ in range(repeats):
        gc.collect()
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")  # the peak restarts at the present size
        before = _status("VmRSS")
        call()
        rises.append(_status("VmHWM") - before)
    return sorted(rises)[repeats // 2] / 1e6


def _status(field: str) -> int:
    """A size from /proc/self/status, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))
