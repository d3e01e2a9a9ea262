"""Parts of the iterations of a network: copies of its plans for the orbitals that each iteration has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import groupby

import torch

from equireann_pyg.nn import Layout, MessageRule, Plan


def layouts_of(local: Layout, rule: MessageRule, num_iterations: int) -> list[Layout]:
    """Layout of the orbitals of every iteration t = 0..T: local ones, then with the channels that a rule has for messages."""
    return [local, *[replace(local, num_messages=rule.num_messages)] * num_iterations]


def copies(plan: Plan, layouts: Iterable[Layout], *shape: int) -> Iterator[torch.nn.Module]:
    """Built copies of a descriptor or rule, one for each layout; what a plan shares, it shares between equal layouts."""
    for layout, equal in groupby(layouts):
        yield from plan.copies(layout, *shape, len(list(equal)))


def common_count(descriptors: torch.nn.ModuleList) -> int:
    """Number of features of all descriptors of a network.

    Raises:
        ValueError: if it differs between them.
    """
    counts = sorted({int(part.num_features) for part in descriptors})  # type: ignore[arg-type]
    if len(counts) > 1:
        raise ValueError(
            f"{type(descriptors[0]).__name__}: expected as many features in every iteration, got {counts}: beside a rule with "
            "channels for messages, a descriptor must mix the channels to a number of its own"
        )
    return counts[0]
