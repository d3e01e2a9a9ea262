"""Times and peak memory of contestants on any device; one that fails is reported, and the others go on."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import NamedTuple

import torch

SHORTEST = 0.02
"""Seconds that one sample takes at least: quick calls are repeated."""


class Sample(NamedTuple):
    """Seconds of one call."""

    device: float
    """Between two events on the device; on the CPU its own time."""

    wall: float
    """By the clock on the wall, with what Python takes to launch it."""


Watch = Callable[[int], Sample]
"""Runs a contestant that many times."""


class LostDeviceError(RuntimeError):
    """A contestant has broken the device's context: only a new process can go on."""


@dataclass
class Turns:
    """What came of contestants that took turns.

    Args:
        samples: of each contestant that did not fail, one for every round.
        failed: reason of each that did.
    """

    samples: dict[str, list[Sample]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


def watch_of(call: Callable[[], object], device: torch.device) -> Watch:
    """Times ``call``: by events on a CUDA device, by processor time elsewhere."""

    def on_cpu(number: int) -> Sample:
        wall, start = time.perf_counter(), time.process_time()
        for _ in range(number):
            call()
        return Sample((time.process_time() - start) / number, (time.perf_counter() - wall) / number)

    def on_device(number: int) -> Sample:
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize(device)
        wall = time.perf_counter()
        first.record()
        for _ in range(number):
            call()
        last.record()
        torch.cuda.synchronize(device)
        wall = time.perf_counter() - wall
        return Sample(1e-3 * first.elapsed_time(last) / number, wall / number)

    return on_device if device.type == "cuda" else on_cpu


def take_turns(
    watches: Mapping[str, Watch],
    seconds: float,
    min_rounds: int = 3,
    max_rounds: int = 20,
    note: Callable[[str], None] = lambda name: None,
) -> Turns:
    """Samples of every contestant in every round; the order turns round from one round to the next.

    Args:
        watches: by name.
        seconds: time for all rounds together, beyond the warm-up.
        min_rounds: rounds that are run however long they take.
        max_rounds: rounds that are enough.
        note: called with the name of the contestant whose turn it is.
    """
    turns, costs, numbers = Turns(), dict[str, float](), dict[str, int]()

    def turn(name: str, number: int) -> Sample | None:
        note(name)
        try:
            return watches[name](number)
        except Exception as error:
            turns.failed[name] = reason(error)
            turns.samples.pop(name, None)
            require_device()
            return None

    for name in watches:
        if turn(name, 1) is not None and (cost := turn(name, 1)) is not None:
            numbers[name] = max(1, round(SHORTEST / max(cost.wall, 1e-6)))
            costs[name], turns.samples[name] = cost.wall * numbers[name], []
    rounds = round(seconds / max(sum(costs.values()), 1e-6))
    for number in range(min(max(rounds, min_rounds), max_rounds)):
        for name in list(turns.samples)[:: 1 if number % 2 else -1]:
            if name in turns.samples and (sample := turn(name, numbers[name])) is not None:
                turns.samples[name].append(sample)
    return turns


def reason(error: BaseException) -> str:
    """An error in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:200].replace(",", ";")


def require_device() -> None:
    """Find out whether the device still works after an error.

    Raises:
        LostDeviceError: if it does not.
    """
    if not (torch.cuda.is_available() and torch.cuda.is_initialized()):
        return
    try:
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        torch.zeros(1, device="cuda").item()
    except Exception as error:
        raise LostDeviceError(reason(error)) from error


def peak_bytes(call: Callable[[], object], device: torch.device) -> int:
    """Rise of the memory that torch has given out on a CUDA device during one call; zero elsewhere."""
    if device.type != "cuda":
        return 0
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    call()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before


def middle(samples: list[Sample], kind: str = "device") -> float:
    """Median seconds."""
    return median(getattr(sample, kind) for sample in samples)


def spread(samples: list[Sample]) -> float:
    """Half of the distance between the quartiles, relative to the median."""
    times = sorted(sample.device for sample in samples)
    low, high = times[len(times) // 4], times[(3 * len(times)) // 4 if len(times) > 3 else -1]
    return 0.5 * (high - low) / median(times)
