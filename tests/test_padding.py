"""Ghosts that fill up a batch change nothing of it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

from equireann_pyg import REANN, EquiREANN, EquiREANNPlus, Potential
from equireann_pyg.graph.labels import PER_ATOM
from equireann_pyg.inference.padding import GROWTH, PER_GHOST, Sizes, capacity, fits, padded, room_for, sizes_of
from equireann_pyg.nn import ZBL, CartesianMoments, CosineCutoff
from equireann_pyg.properties import Dipole, FieldResponse, LocalDipole, Property
from equireann_pyg.properties.base import GraphTensors
from equireann_pyg.testing import assert_close, make_graph, random_cluster, random_crystal, randomize
from tests.waiting import moved, watched

CUTOFF = 3.0
SIZES = {"num_radial": 4, "num_density": 8, "num_iterations": 2, "hidden_channels": [8]}


def slab() -> Data:
    """Periodic in two directions."""
    crystal = random_crystal([1, 6], CUTOFF, 4)
    return make_graph(crystal.z, crystal.pos, CUTOFF, crystal.cell[0], torch.tensor([True, True, False]))


def wire() -> Data:
    """Periodic in one direction, and without any other lattice vector."""
    cluster = random_cluster([1, 6], CUTOFF, 5)
    cell = torch.zeros(3, 3, dtype=torch.float64)
    cell[2] = torch.tensor([0.0, 0.0, 4.5])
    return make_graph(cluster.z, cluster.pos, CUTOFF, cell, torch.tensor([False, False, True]))


def alone() -> Data:
    """An atom without neighbours."""
    return make_graph(torch.tensor([6]), torch.zeros(1, 3, dtype=torch.float64), CUTOFF)


SYSTEMS: dict[str, Callable[[], Data]] = {
    "open": lambda: random_cluster([1, 6], CUTOFF),
    "isolated atom": alone,
    "crystal": lambda: random_crystal([1, 6], CUTOFF, 3),
    "small cell": lambda: random_crystal([1, 6], CUTOFF, 1, 1.8),
    "slab": slab,
    "wire": wire,
    "molecules": lambda: Batch.from_data_list([random_cluster([1, 6], CUTOFF, size) for size in (5, 1, 7)]),
    "crystals": lambda: Batch.from_data_list([random_crystal([1, 6], CUTOFF, size) for size in (2, 3)]),
    "mixed": lambda: Batch.from_data_list([random_crystal([1, 6], CUTOFF), alone(), random_cluster([1, 6], CUTOFF)]),
}
MODELS: dict[str, Callable[[], torch.nn.Module]] = {
    "equireann": lambda: EquiREANN(["H", "C"], CUTOFF, **SIZES, envelope=CosineCutoff()),
    "reann": lambda: REANN(["H", "C"], CUTOFF, **SIZES),
    "raw moments": lambda: EquiREANN(["H", "C"], CUTOFF, **SIZES, angular=CartesianMoments(2, unit=False)),
    "plus": lambda: EquiREANNPlus(
        ["H", "C"], CUTOFF, num_radial=8, num_products=8, num_messages=4, hidden_channels=[8]
    ),
}


def potential(kind: str = "equireann", dtype: torch.dtype = torch.float64, head: Property | None = None) -> Potential:
    """A small potential in evaluation mode, with a dipole and a repulsion."""
    model = MODELS[kind]()
    randomize(model)
    made = Potential(model.to(dtype), [head or Dipole([4])], ZBL(reach=1.0))
    randomize(made.properties)
    made.set_references({"H": -1.0, "C": -2.0}, scale=0.7)
    return made.eval()


def evaluated(
    made: Potential, graph: GraphTensors, sizes: Sizes, stress: bool
) -> tuple[dict[str, Tensor], list[Tensor]]:
    """Outputs of the first atoms and graphs, and the gradients of a loss of them."""
    made.train()
    output = made.evaluate(graph, True, stress)
    output = {name: value[: sizes.atoms if name in PER_ATOM else sizes.graphs] for name, value in output.items()}
    square = sum(torch.where(value.isfinite(), value, 0.0).square().sum() for value in output.values())
    gradients = torch.autograd.grad(square, list(made.parameters()), allow_unused=True, materialize_grads=True)
    return {name: value.detach() for name, value in output.items()}, list(gradients)


@pytest.mark.parametrize("free", [True, False], ids=["as on the CPU", "as on a GPU"])
@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("kind", MODELS)
def test_padding_changes_nothing(system: str, kind: str, free: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    made, data = potential(kind), SYSTEMS[system]()
    if not free:
        for place in ("potential.potential", "models.network", "nn.repulsion"):
            monkeypatch.setattr(f"equireann_pyg.{place}.readable", lambda tensor: False)
    stress = made.check(data)
    graph = made.tensors(data)
    sizes = sizes_of(graph)
    expected, gradients = evaluated(made, graph, sizes, stress)
    assert ("stress" in expected) == (system in ("crystal", "small cell", "slab", "crystals", "mixed"))
    for room in (Sizes(sizes.atoms + 1, sizes.edges, sizes.graphs + 1), room_for(sizes), Sizes(90, 500, 9)):
        longer = padded(graph, room, CUTOFF)
        assert sizes_of(longer) == room
        assert bool((longer.edge_index[1].diff() >= 0).all())
        actual, theirs = evaluated(made, longer, sizes, stress)
        assert actual.keys() == expected.keys()
        for name, value in expected.items():
            assert torch.equal(torch.isnan(value), torch.isnan(actual[name])), name
            largest = max(1.0, float(value.nan_to_num().abs().max()))
            torch.testing.assert_close(
                actual[name], value, rtol=1e-12, atol=1e-12 * largest, equal_nan=True, msg=lambda m, n=name: f"{n}: {m}"
            )
        largest = max(float(gradient.abs().max()) for gradient in gradients)
        assert (largest > 1e-3) == (system != "isolated atom")
        for mine, theirs_too in zip(gradients, theirs, strict=True):
            torch.testing.assert_close(theirs_too, mine, rtol=1e-12, atol=1e-12 * largest)


def test_a_field_reaches_no_ghost() -> None:
    made, data = potential(head=FieldResponse(LocalDipole([4]))), SYSTEMS["molecules"]()
    data.field = torch.tensor([[0.0, 0.1, 0.2], [0.3, 0.0, 0.0], [0.0, 0.0, -0.1]], dtype=torch.float64)
    graph = made.tensors(data)
    expected, gradients = evaluated(made, graph, sizes_of(graph), False)
    actual, theirs = evaluated(made, padded(graph, Sizes(40, 300, 8), CUTOFF), sizes_of(graph), False)
    for name, value in expected.items():
        assert_close(actual[name], value, 1e-11, name, smallest=1e-4)
    for mine, gradient in zip(theirs, gradients, strict=True):
        torch.testing.assert_close(mine, gradient, rtol=1e-11, atol=1e-11)


def test_padding_is_refused_where_it_cannot_be() -> None:
    graph = potential().tensors(random_cluster([1, 6], CUTOFF))
    sizes = sizes_of(graph)
    for room in (sizes, Sizes(7, 3, 2), Sizes(7, 100, 1), Sizes(6, 100, 2)):
        with pytest.raises(ValueError, match=r"room for a ghost beside the batch, got Sizes\(atoms=6, .* for Sizes"):
            padded(graph, room, CUTOFF)
    with pytest.raises(ValueError, match="at least one atom"):
        padded(graph._replace(z=graph.z[:0], edge_index=graph.edge_index[:, :0]), Sizes(9, 9, 9), CUTOFF)


def test_capacities_grow_geometrically() -> None:
    sizes = [capacity(edges, 64) for edges in range(0, 3000, 7)]
    assert all(size >= edges for size, edges in zip(sizes, range(0, 3000, 7), strict=True))
    series = sorted(set(sizes))
    assert series[:4] == [64, 71, 79, 87]
    assert all(after / before == pytest.approx(GROWTH, rel=0.02) for before, after in pairwise(series))
    assert all(capacity(size, 64) == size for size in series)


def test_every_batch_has_room_and_no_ghost_too_many_edges() -> None:
    for atoms in (1, 2, 9, 21, 150, 1344, 20000):
        for degree in (0, 1, 6, 20, 300):
            for graphs in (1, 8, 64):
                sizes = Sizes(atoms, atoms * degree, graphs)
                room = room_for(sizes)
                assert fits(sizes, room)
                assert room.edges - sizes.edges <= PER_GHOST * (room.atoms - sizes.atoms)
                assert room.edges <= GROWTH * sizes.edges + 64
                assert room.atoms <= GROWTH * (sizes.atoms + sizes.edges * (GROWTH - 1) / PER_GHOST + 2) + 16


def test_room_is_not_wasted() -> None:
    room = room_for(Sizes(1344, 27000, 64))
    assert fits(Sizes(1344, 26500, 64), room)
    assert fits(Sizes(1300, 25000, 60), room)
    assert not fits(Sizes(1344, 20000, 64), room)
    assert not fits(Sizes(900, 27000, 64), room)
    assert not fits(Sizes(1344, room.edges + 1, 64), room)
    assert not fits(Sizes(room.atoms, 27000, 64), room)
    assert not fits(Sizes(1344, 27000, room.graphs), room)


def test_ghosts_share_their_edges() -> None:
    graph = potential().tensors(random_cluster([1, 6], CUTOFF))
    sizes = sizes_of(graph)
    longer = padded(graph, Sizes(sizes.atoms + 4, sizes.edges + 10, 3), CUTOFF)
    counts = torch.bincount(longer.edge_index[1, sizes.edges :], minlength=sizes.atoms + 4)
    assert counts.tolist() == [0] * sizes.atoms + [3, 2, 3, 2]


def test_filling_up_does_not_wait_for_a_gpu() -> None:
    made, data = moved(potential(), SYSTEMS["mixed"](), "meta")
    graph = made.tensors(data)
    with watched():
        longer = padded(graph, room_for(sizes_of(graph)), CUTOFF)
    assert longer.pos.device.type == "meta"
