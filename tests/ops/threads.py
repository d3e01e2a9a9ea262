"""The same computation on different numbers of threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

Result = TypeVar("Result")


def with_threads(function: Callable[[], Result], counts: tuple[int, ...] = (1, 2)) -> list[Result]:
    """Results of a function on each number of threads."""
    before, results = torch.get_num_threads(), []
    try:
        for count in counts:
            torch.set_num_threads(count)
            results.append(function())
    finally:
        torch.set_num_threads(before)
    return results
