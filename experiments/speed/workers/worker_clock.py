"""What the workers of other packages have in common: they answer each number of calls with the seconds of one.

Knows nothing of this package, nor of theirs.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import redirect_stdout

import torch


def answer(call: Callable[[], object], device: str) -> None:
    """Answer until the input ends: seconds on the device, and by the clock on the wall."""
    for line in sys.stdin:
        with redirect_stdout(sys.stderr):
            seconds = on_cuda(call, int(line)) if device == "cuda" else on_cpu(call, int(line))
        print(*seconds, flush=True)


def on_cpu(call: Callable[[], object], number: int) -> tuple[float, float]:
    """Processor seconds, and seconds on the wall."""
    wall, start = time.perf_counter(), time.process_time()
    for _ in range(number):
        call()
    return (time.process_time() - start) / number, (time.perf_counter() - wall) / number


def on_cuda(call: Callable[[], object], number: int) -> tuple[float, float]:
    """Seconds between two events, and on the wall."""
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    wall = time.perf_counter()
    first.record()
    for _ in range(number):
        call()
    last.record()
    torch.cuda.synchronize()
    return 1e-3 * first.elapsed_time(last) / number, (time.perf_counter() - wall) / number


def moved(case: dict[str, torch.Tensor], device: str) -> dict[str, torch.Tensor]:
    """All fields on the device."""
    return {name: value.to(device) for name, value in case.items()}
