"""Which frames make a batch: shards in order, and batches bounded by their number of atoms or edges."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import DistributedSampler, Sampler
from torch_geometric.data import Data

NAMES = ("atoms", "edges")
ATTEMPTS = 3
"""Random packings that must succeed with a number of batches before it is taken, and that an epoch tries."""


class ShardSampler(DistributedSampler[Data]):
    """Every frame exactly once over all processes, in order; the last shards may be shorter."""

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.rank, len(self.dataset), self.num_replicas))  # type: ignore[arg-type]

    def __len__(self) -> int:
        return len(range(self.rank, len(self.dataset), self.num_replicas))  # type: ignore[arg-type]


def frame_sizes(graphs: Sequence[Data]) -> Tensor:
    """Numbers of atoms and edges of each frame [F, 2]."""
    return torch.tensor([(data.z.size(0), data.edge_index.size(1)) for data in graphs]).view(-1, 2)


@dataclass(frozen=True)
class SizeBounds:
    """What a batch may hold.

    Args:
        max_atoms: largest number of atoms; None for any.
        max_edges: largest number of edges; None for any.

    Raises:
        ValueError: if a bound is not positive, or none is given.
    """

    max_atoms: int | None = None
    max_edges: int | None = None

    def __post_init__(self) -> None:
        for name, bound in (("max_atoms", self.max_atoms), ("max_edges", self.max_edges)):
            if bound is not None and bound < 1:
                raise ValueError(f"{name}: expected at least 1 or null, got {bound}")
        if self.max_atoms is None and self.max_edges is None:
            raise ValueError("expected max_atoms, max_edges or both, got neither")

    def tensor(self) -> Tensor:
        """Both bounds [2]; a missing one is the largest integer."""
        unbounded = torch.iinfo(torch.int64).max
        return torch.tensor([unbounded if bound is None else bound for bound in (self.max_atoms, self.max_edges)])

    def check(self, sizes: Tensor, what: str = "frame") -> None:
        """Refuse frames [F, 2] of which one fits no batch; ``what`` stands before its index in the message.

        Raises:
            ValueError: naming the first such frame, its size and the bound that holds all frames.
        """
        for kind, size, bound in zip(NAMES, sizes.T, self.tensor(), strict=True):
            above = (size > bound).nonzero().flatten().tolist()
            if above:
                raise ValueError(
                    f"{what} {above[0]}: {int(size[above[0]])} {kind}, more than max_{kind} {int(bound)} ({len(above)} such "
                    f"in the set): set max_{kind} to {int(size.max())} or more, or remove what is larger"
                )

    def largest(self, sizes: Tensor) -> tuple[int, int]:
        """Numbers of atoms and edges that no batch of these frames [F, 2] exceeds, however they are packed."""
        limits = [(sizes[:, k], bound) for k, bound in enumerate((self.max_atoms, self.max_edges)) if bound is not None]
        atoms, edges = (min(_most(gain, cost, limit) for cost, limit in limits) for gain in sizes.T)
        return atoms, edges


def _most(gain: Tensor, cost: Tensor, limit: int) -> int:
    """Upper limit of the gain [F] of frames that together cost [F] no more than ``limit``: the last one in part."""
    order = (gain / cost).argsort(descending=True)
    gain, cost = gain[order], cost[order]
    spent = cost.cumsum(0)
    whole = int((spent <= limit).sum())
    total = int(gain[:whole].sum())
    if whole < len(gain):
        total += int(gain[whole] * (limit - spent[whole] + cost[whole]) // cost[whole])
    return total


class SizeBatchSampler(Sampler[list[int]]):
    """Shuffled batches of bounded size, the same number in every process and every epoch.

    Lightning reads the number of batches once, before the first epoch: with a changing number it would cut epochs off
    and skip validations. So the number is fixed first, with a little room to spare, and each epoch deals all frames
    over that many batches: one to each batch in turn, the largest frames first, so that batches are about equally full.
    An epoch is a function of seed and epoch alone. Every frame comes exactly once over all processes; only where there
    are fewer frames than batches (all of the largest size, or fewer than processes) a few come twice.

    The sizes of all frames are known beforehand, and the data are not touched. A trainer on several processes needs
    ``use_distributed_sampler=False``, as the command line sets it.

    Args:
        sizes: numbers of atoms and edges of each frame [F, 2].
        bounds: what a batch may hold, per process and step.
        num_replicas: number of processes.
        rank: index of this process.
        seed: seed of the shuffling.

    Raises:
        ValueError: if a frame alone exceeds the bounds.
    """

    def __init__(self, sizes: Tensor, bounds: SizeBounds, num_replicas: int = 1, rank: int = 0, seed: int = 0) -> None:
        bounds.check(sizes)
        self.sizes = sizes
        self.bounds = bounds.tensor()
        self.num_replicas = num_replicas
        self.rank = rank
        self.seed = seed
        self.num_batches, self._spare = self._plan()  # over all processes
        self.set_epoch(0)

    @property
    def sampler(self) -> SizeBatchSampler:
        """This object: Lightning calls ``set_epoch`` of the sampler of a batch sampler."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Pack the batches of an epoch."""
        generator = torch.Generator().manual_seed(self.seed + epoch)
        packings = (_deal(self.sizes, self.bounds, self.num_batches, generator) for _ in range(ATTEMPTS))
        batch = next((packing for packing in packings if packing is not None), None)
        if batch is None:  # rare; the packing that settled the number of batches always fits
            batch = torch.randperm(self.num_batches, generator=generator)[self._spare]
        counts = torch.bincount(batch, minlength=self.num_batches).tolist()
        self.batches = [frames.tolist() for frames in batch.argsort(stable=True).split(counts)]
        for empty in (frames for frames in self.batches if not frames):
            empty.append(int(torch.randint(len(self.sizes), (), generator=generator)))

    def _plan(self) -> tuple[int, Tensor]:
        """Number of batches with which random packings succeed, and such a packing."""
        fewest = int((-(-self.sizes.sum(0) // self.bounds)).max())
        count = self._rounded(max(1, fewest))
        generator = torch.Generator().manual_seed(self.seed)
        while True:
            packings = [_deal(self.sizes, self.bounds, count, generator) for _ in range(ATTEMPTS)]
            fitting = [packing for packing in packings if packing is not None]
            if len(fitting) == ATTEMPTS:
                return count, fitting[0]
            count = self._rounded(count + 1 + count // 100)

    def _rounded(self, count: int) -> int:
        return -(-count // self.num_replicas) * self.num_replicas

    def __iter__(self) -> Iterator[list[int]]:
        # A generator: of a resumed run, Lightning makes the iterator first and tells the epoch afterwards.
        yield from self.batches[self.rank :: self.num_replicas]

    def __len__(self) -> int:
        return self.num_batches // self.num_replicas


def _deal(sizes: Tensor, bounds: Tensor, count: int, generator: torch.Generator) -> Tensor | None:
    """Random batch [F] of each frame, such that none exceeds its bounds; None if the frames do not fit."""
    pending = torch.randperm(len(sizes), generator=generator)
    share = (sizes / bounds).amax(1)
    pending = pending[share[pending].argsort(descending=True, stable=True)]
    batch = torch.empty(len(sizes), dtype=torch.int64)
    room = bounds.repeat(count, 1)  # -> [B, 2]
    while len(pending):
        tier, rest = pending[:count], pending[count:]
        bins = torch.randperm(count, generator=generator)
        left = _place(tier, bins, sizes, room, batch)
        roomiest = (room[bins] / bounds).amin(1).argsort(descending=True, stable=True)
        left = _place(left, bins[roomiest], sizes, room, batch)
        if len(left) == len(tier) or (len(left) and not (sizes[left[0]] <= room).all(1).any()):
            return None
        pending = torch.cat([left, rest])
    return batch


def _place(frames: Tensor, bins: Tensor, sizes: Tensor, room: Tensor, batch: Tensor) -> Tensor:
    """Put the first frame into the first bin and so on, where they fit; returns the frames that do not."""
    bins = bins[: len(frames)]
    fits = (sizes[frames] <= room[bins]).all(1)
    batch[frames[fits]] = bins[fits]
    room[bins[fits]] -= sizes[frames[fits]]
    return frames[~fits]


class OrderedSizeBatchSampler(Sampler[list[int]]):
    """Every frame exactly once over all processes, in order, in batches of bounded size.

    Each process takes every ``num_replicas``-th frame, as :class:`~equireann_pyg.data.ShardSampler` does; numbers of
    batches may differ between processes.

    Args:
        sizes: numbers of atoms and edges of each frame [F, 2].
        bounds: what a batch may hold, per process and step.
        num_replicas: number of processes.
        rank: index of this process.

    Raises:
        ValueError: if a frame alone exceeds the bounds.
    """

    def __init__(self, sizes: Tensor, bounds: SizeBounds, num_replicas: int = 1, rank: int = 0) -> None:
        bounds.check(sizes)
        self.batches: list[list[int]] = []
        limits, room = bounds.tensor().tolist(), [0, 0]
        for index, size in list(enumerate(sizes.tolist()))[rank::num_replicas]:
            room = [free - needed for free, needed in zip(room, size, strict=True)]
            if min(room) < 0 or not self.batches:
                self.batches.append([])
                room = [free - needed for free, needed in zip(limits, size, strict=True)]
            self.batches[-1].append(index)

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)
