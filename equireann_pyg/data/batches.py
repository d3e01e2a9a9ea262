"""How frames are put together to batches."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import DistributedSampler
from torch_geometric.data import Batch, Data
from torch_geometric.loader import DataLoader

from equireann_pyg.data.sampling import (
    OrderedSizeBatchSampler,
    ShardSampler,
    SizeBatchSampler,
    SizeBounds,
    frame_sizes,
)

PREFETCH = 4
"""Batches that each worker keeps ready: more than the two of torch, because steps take different times."""


class EpochLoader(DataLoader):
    """Draws nothing before its first batch is asked for.

    Of a resumed run, Lightning makes the iterator first and tells the sampler its epoch afterwards: by then workers would
    already have drawn batches of epoch 0.
    """

    def __iter__(self) -> Iterator[Batch]:
        yield from super().__iter__()


@dataclass(frozen=True)
class Batches:
    """Size of the batches, and who puts them together.

    Args:
        size: frames per process and step; without effect where ``max_atoms`` or ``max_edges`` is given.
        max_atoms: largest number of atoms per process and step, in place of ``size``: as many frames as fit.
        max_edges: largest number of edges per process and step, likewise; both may be given.
        num_workers: processes that collate the next batches while the model works on this one; 0 collates in between.
        seed: of the shuffling.

    Raises:
        ValueError: if a number is out of range.
    """

    size: int = 16
    max_atoms: int | None = None
    max_edges: int | None = None
    num_workers: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value, least in (("size", self.size, 1), ("num_workers", self.num_workers, 0)):
            if value < least:
                raise ValueError(f"batches.{name}: expected at least {least}, got {value}")
        _ = self.bounds

    @property
    def bounds(self) -> SizeBounds | None:
        """What a batch may hold, where it is not a number of frames."""
        unbounded = self.max_atoms is None and self.max_edges is None
        return None if unbounded else SizeBounds(self.max_atoms, self.max_edges)

    def check(self, dataset: Sequence[Data], what: str) -> None:
        """Refuse frames that alone have more atoms or edges than a batch may have.

        Args:
            dataset: graphs.
            what: what a frame is called in the message.

        Raises:
            ValueError: naming the first.
        """
        if self.bounds is not None:
            self.bounds.check(frame_sizes(dataset), what)

    def largest(self, dataset: Sequence[Data]) -> tuple[int, int]:
        """Numbers of atoms and edges that no batch of these graphs exceeds, in whatever epoch and process."""
        sizes = frame_sizes(dataset)
        if self.bounds is not None:
            return self.bounds.largest(sizes)
        atoms, edges = sizes.sort(0, descending=True).values[: self.size].sum(0).tolist()
        return atoms, edges

    def shuffled(self, dataset: Sequence[Data], processes: int = 1, rank: int = 0) -> DataLoader:
        """Batches of one of several processes, shuffled anew each epoch as a function of seed and epoch alone."""
        if self.bounds is not None:
            batches = SizeBatchSampler(frame_sizes(dataset), self.bounds, processes, rank, self.seed)
            return self._loader(dataset, batch_sampler=batches)
        sampler: DistributedSampler[Data] = DistributedSampler(dataset, processes, rank, shuffle=True, seed=self.seed)  # type: ignore[arg-type]
        return self._loader(dataset, batch_size=self.size, sampler=sampler)

    def ordered(self, dataset: Sequence[Data], processes: int = 1, rank: int = 0) -> DataLoader:
        """Batches of one of several processes, in the order of the set; every frame once over all processes."""
        if self.bounds is not None:
            batches = OrderedSizeBatchSampler(frame_sizes(dataset), self.bounds, processes, rank)
            return self._loader(dataset, batch_sampler=batches)
        return self._loader(dataset, batch_size=self.size, sampler=ShardSampler(dataset, processes, rank))  # type: ignore[arg-type]

    def _loader(self, dataset: Sequence[Data], **batching: Any) -> DataLoader:
        if self.num_workers > 0:
            # Forked workers share the graphs. Others, the default on Linux from Python 3.14 on, get them through one
            # file descriptor per tensor, of which large sets have more than a process may open.
            start = "fork" if sys.platform == "linux" else None
            batching |= {"persistent_workers": True, "prefetch_factor": PREFETCH, "multiprocessing_context": start}
        return EpochLoader(dataset, num_workers=self.num_workers, pin_memory=torch.cuda.is_available(), **batching)
