from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor
from torch_geometric.data import Data

from equireann_pyg.data import OrderedSizeBatchSampler, ShardSampler, SizeBatchSampler, SizeBounds, sampling

BOUNDS = [SizeBounds(max_atoms=250), SizeBounds(max_edges=6000), SizeBounds(250, 6000), SizeBounds(200)]


def mixed(count: int = 400) -> Tensor:
    """Sizes of many small, sparse frames and a few large, dense ones."""
    generator = torch.Generator().manual_seed(1)
    atoms = torch.randint(3, 40, (count,), generator=generator)
    atoms[::10] = torch.randint(100, 201, (len(atoms[::10]),), generator=generator)
    neighbours = 8 + 20 * torch.rand(count, generator=generator)
    return torch.stack([atoms, (atoms * neighbours).long()], 1)


def within(batches: list[list[int]], sizes: Tensor, bounds: SizeBounds) -> bool:
    return all(bool((sizes[batch].sum(0) <= bounds.tensor()).all()) for batch in batches)


def flat(batches: list[list[int]]) -> list[int]:
    return [index for batch in batches for index in batch]


def test_sizes_of_graphs():
    graphs = [Data(z=torch.ones(n), edge_index=torch.zeros(2, e, dtype=torch.int64)) for n, e in ((3, 6), (1, 0))]
    assert sampling.frame_sizes(graphs).tolist() == [[3, 6], [1, 0]]


@pytest.mark.parametrize("bounds", BOUNDS, ids=str)
@pytest.mark.parametrize("world", [1, 2, 3])
def test_every_frame_once_within_the_bounds(bounds, world):
    sizes = mixed()
    samplers = [SizeBatchSampler(sizes, bounds, world, rank) for rank in range(world)]
    for epoch in range(4):
        for sampler in samplers:
            sampler.set_epoch(epoch)
        shards = [list(sampler) for sampler in samplers]
        assert {len(shard) for shard in shards} == {len(sampler) for sampler in samplers} == {len(samplers[0])}
        assert sorted(index for shard in shards for index in flat(shard)) == list(range(400))
        assert all(within(shard, sizes, bounds) for shard in shards)
        assert all(batch for shard in shards for batch in shard)


@pytest.mark.parametrize("bounds", BOUNDS[:3], ids=str)
def test_batches_are_well_filled(bounds):
    sizes = mixed(2000)
    fewest = int((sizes.sum(0) / bounds.tensor()).amax().ceil())
    assert fewest > 30
    assert fewest <= len(SizeBatchSampler(sizes, bounds)) < 1.15 * fewest


def test_an_epoch_is_a_function_of_seed_and_epoch():
    def epochs(seed: int, order: list[int]) -> dict[int, list[list[int]]]:
        sampler = SizeBatchSampler(mixed(), BOUNDS[0], seed=seed)
        found = {}
        for epoch in order:
            sampler.set_epoch(epoch)
            found[epoch] = list(sampler)
        return found

    forth, back = epochs(0, [0, 1, 2]), epochs(0, [2, 1, 0])
    assert forth == back
    assert list(SizeBatchSampler(mixed(), BOUNDS[0])) == forth[0]  # before any set_epoch
    assert epochs(5, [1])[1] != forth[1]
    together = [{(a, b) for batch in forth[epoch] for a in batch for b in batch if a < b} for epoch in (0, 1)]
    assert len(together[0]) > 1000
    assert len(together[0] & together[1]) < 0.1 * len(together[0])  # not the same batches in another order


def test_frames_of_one_size_are_dealt_at_random():
    sampler = SizeBatchSampler(torch.full((60, 2), 7), SizeBounds(42))  # six to a batch
    met = torch.zeros(60, 60)
    for epoch in range(200):
        sampler.set_epoch(epoch)
        for batch in sampler:
            met[torch.tensor(batch)[:, None], batch] += 1
    assert len(sampler) == 10
    pairs = met[~torch.eye(60, dtype=torch.bool)]
    assert float(pairs.mean()) == pytest.approx(200 * 5 / 59)
    assert float(pairs.std()) == pytest.approx((200 * 5 / 59 * 54 / 59) ** 0.5, rel=0.1)  # as of a fair coin
    assert float(pairs.min()) > 0


def test_lightning_finds_set_epoch():
    from lightning.fabric.utilities.data import _set_sampler_epoch
    from torch.utils.data import DataLoader

    sampler = SizeBatchSampler(mixed(), BOUNDS[0])
    before = list(sampler)
    _set_sampler_epoch(DataLoader(range(400), batch_sampler=sampler), 3)  # type: ignore[arg-type]
    after = list(sampler)
    sampler.set_epoch(3)
    assert before != after == list(sampler)


@pytest.mark.parametrize(("frames", "world", "batches"), [(5, 2, 6), (1, 3, 3), (4, 2, 4)])
def test_frames_come_twice_only_where_there_are_too_few(frames, world, batches):
    samplers = [SizeBatchSampler(torch.full((frames, 2), 9), SizeBounds(9), world, rank) for rank in range(world)]
    drawn = [index for sampler in samplers for index in flat(list(sampler))]
    assert set(drawn) == set(range(frames))
    assert len(drawn) == batches
    assert {len(sampler) for sampler in samplers} == {batches // world}


def test_an_epoch_that_does_not_fit_takes_a_packing_that_does(monkeypatch):
    sizes, bounds = mixed(), BOUNDS[2]
    sampler = SizeBatchSampler(sizes, bounds)
    monkeypatch.setattr(sampling, "_deal", lambda *arguments: None)
    epochs = []
    for epoch in (1, 2):
        sampler.set_epoch(epoch)
        epochs.append(list(sampler))
        assert sorted(flat(epochs[-1])) == list(range(400))
        assert within(epochs[-1], sizes, bounds)
        assert len(epochs[-1]) == len(sampler)
    assert epochs[0] != epochs[1]


def test_frames_without_edges():
    sizes = torch.tensor([[2, 0], [1, 0], [4, 0]])
    assert sorted(flat(list(SizeBatchSampler(sizes, SizeBounds(max_edges=5))))) == [0, 1, 2]
    assert SizeBounds(max_edges=5).largest(sizes) == (7, 0)


@pytest.mark.parametrize("bounds", BOUNDS, ids=str)
@pytest.mark.parametrize("world", [1, 3])
def test_ordered_batches(bounds, world):
    sizes = mixed(100)
    samplers = [OrderedSizeBatchSampler(sizes, bounds, world, rank) for rank in range(world)]
    for rank, sampler in enumerate(samplers):
        batches = list(sampler)
        assert flat(batches) == list(ShardSampler(range(100), world, rank))  # type: ignore[arg-type]
        assert len(sampler) == len(batches) < 100 / world
        assert within(batches, sizes, bounds)
        joined = [first + second[:1] for first, second in pairwise(batches)]
        assert not any(within([batch], sizes, bounds) for batch in joined)  # none ends early


@pytest.mark.parametrize("kind", [SizeBatchSampler, OrderedSizeBatchSampler])
def test_a_frame_that_fits_no_batch(kind):
    sizes = torch.tensor([[5, 20], [9, 40], [12, 30]])
    with pytest.raises(
        ValueError, match=r"frame 1: 9 atoms, more than max_atoms 8 \(2 such .* max_atoms to 12 or more"
    ):
        kind(sizes, SizeBounds(8, 30))
    with pytest.raises(ValueError, match=r"frame 1: 40 edges, more than max_edges 39 \(1 such .* max_edges to 40"):
        kind(sizes, SizeBounds(12, 39))
    kind(sizes, SizeBounds(12, 40))


def test_bad_bounds():
    for name in ("max_atoms", "max_edges"):
        with pytest.raises(ValueError, match=f"{name}: expected at least 1 or null, got 0"):
            SizeBounds(**{name: 0})
    with pytest.raises(ValueError, match="expected max_atoms, max_edges or both, got neither"):
        SizeBounds()


@pytest.mark.parametrize("bounds", BOUNDS, ids=str)
def test_largest_batch_is_an_upper_limit(bounds):
    sizes = mixed()
    sampler = SizeBatchSampler(sizes, bounds)
    seen = torch.stack([sizes[batch].sum(0) for batch in sampler]).amax(0)
    largest = torch.tensor(bounds.largest(sizes))
    assert bool((seen <= largest).all())
    assert bool((largest < 4 * seen).all())
    assert bool((largest <= bounds.tensor()).all())
    densest = int((sizes[:, 1] / sizes[:, 0]).argmax())
    alone = sizes[[densest]].repeat(50, 1)
    assert SizeBounds(max_atoms=10 * int(alone[0, 0])).largest(alone) == (10 * alone[0, 0], 10 * alone[0, 1])
