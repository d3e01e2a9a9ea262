"""Edges that mean nothing, and evaluations that are recorded and replayed on a GPU."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from itertools import pairwise

import numpy as np
import pytest
import torch
from ase.build import bulk, molecule
from torch_geometric.data import Batch, Data

from equireann_pyg import EquiREANN, EquiREANNCalculator, EquiREANNPlus, Potential
from equireann_pyg.graph import to_device
from equireann_pyg.inference.graphed import GROWTH, GraphedPotential, capacity, padded
from equireann_pyg.nn import ZBL, CartesianMoments, CosineCutoff
from equireann_pyg.properties import Dipole
from equireann_pyg.testing import assert_close, make_graph, random_cluster, random_crystal, randomize

ON_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
CUTOFF = 3.0
SIZES = {"num_radial": 4, "num_density": 8, "num_iterations": 2, "hidden_channels": [8]}


def slab() -> Data:
    crystal = random_crystal([1, 6], CUTOFF, 4)
    return make_graph(crystal.z, crystal.pos, CUTOFF, crystal.cell[0], torch.tensor([True, True, False]))


def wire() -> Data:
    """Periodic in one direction, and without any other lattice vector."""
    cluster = random_cluster([1, 6], CUTOFF, 5)
    cell = torch.zeros(3, 3, dtype=torch.float64)
    cell[2] = torch.tensor([0.0, 0.0, 4.5])
    return make_graph(cluster.z, cluster.pos, CUTOFF, cell, torch.tensor([False, False, True]))


SYSTEMS: dict[str, Callable[[], Data]] = {
    "open": lambda: random_cluster([1, 6], CUTOFF),
    "isolated atom": lambda: make_graph(torch.tensor([6]), torch.zeros(1, 3, dtype=torch.float64), CUTOFF),
    "crystal": lambda: random_crystal([1, 6], CUTOFF, 3),
    "small cell": lambda: random_crystal([1, 6], CUTOFF, 1, 1.8),
    "slab": slab,
    "wire": wire,
}
MODELS: dict[str, Callable[[], EquiREANN | EquiREANNPlus]] = {
    "equireann": lambda: EquiREANN(["H", "C"], CUTOFF, **SIZES, envelope=CosineCutoff()),
    "raw moments": lambda: EquiREANN(["H", "C"], CUTOFF, **SIZES, angular=CartesianMoments(2, unit=False)),
    "plus": lambda: EquiREANNPlus(
        ["H", "C"], CUTOFF, num_radial=8, num_products=8, num_messages=4, hidden_channels=[8]
    ),
}


def potential(kind: str = "equireann", dtype: torch.dtype = torch.float64) -> Potential:
    model = MODELS[kind]()
    randomize(model)
    made = Potential(model.to(dtype), [Dipole([4])], ZBL(reach=1.0))
    made.set_references({"H": -1.0, "C": -2.0}, scale=0.7)
    return made.eval()


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("more", [0, 1, 70])
def test_padding_changes_nothing(system: str, kind: str, more: int) -> None:
    made, data = potential(kind), SYSTEMS[system]()
    stress = made.check(data)
    graph = made.tensors(data)
    longer = padded(graph, graph.edge_index.size(1) + more, CUTOFF)
    assert longer.edge_index.size(1) == longer.edge_shift.size(0) == graph.edge_index.size(1) + more
    assert bool((longer.edge_index[1].diff() >= 0).all())
    expected, actual = (made.evaluate(tensors, True, stress) for tensors in (graph, longer))
    assert ("stress" in expected) == (system in ("crystal", "small cell", "slab"))
    for name, value in expected.items():
        assert torch.equal(torch.isnan(value), torch.isnan(actual[name])), name
        if name in ("energy", "atomic_energy", "stress") or (name == "forces" and data.num_nodes > 1):
            assert_close(actual[name], value, 1e-12, name, smallest=1e-4)
        else:
            torch.testing.assert_close(actual[name], value, rtol=1e-12, atol=1e-12, equal_nan=True, msg=name)


def test_padding_is_refused_where_it_cannot_be() -> None:
    graph = potential().tensors(random_cluster([1, 6], CUTOFF))
    with pytest.raises(ValueError, match=r"at most 3 edges, got 6 atoms and \d+ edges"):
        padded(graph, 3, CUTOFF)
    with pytest.raises(ValueError, match="got 0 atoms"):
        padded(graph._replace(z=graph.z[:0], edge_index=graph.edge_index[:, :0]), 3, CUTOFF)


def test_capacities_grow_geometrically() -> None:
    sizes = [capacity(edges) for edges in range(0, 3000, 7)]
    assert all(size >= edges for size, edges in zip(sizes, range(0, 3000, 7), strict=True))
    series = sorted(set(sizes))
    assert series[:4] == [64, 80, 100, 125]
    assert all(after / before == pytest.approx(GROWTH, rel=0.02) for before, after in pairwise(series))
    assert all(capacity(size) == size for size in series)


def test_elsewhere_it_says_what_to_use_instead() -> None:
    with pytest.raises(
        ValueError, match=r"expected a potential on a CUDA device, got one on cpu; .* compile_potential"
    ):
        GraphedPotential(potential())
    with pytest.raises(ValueError, match="expected a potential on a CUDA device"):
        EquiREANNCalculator(potential(), graphed=True)
    with pytest.raises(ValueError, match="leave out block_size"):
        EquiREANNCalculator(potential(), graphed=True, block_size=10)


@ON_GPU
@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("kind", MODELS)
def test_a_replay_gives_the_results_of_the_potential(system: str, kind: str) -> None:
    made = potential(kind).to("cuda")
    graphed, data = GraphedPotential(made), to_device(SYSTEMS[system](), "cuda")
    for step in range(3):
        data.pos = data.pos + 0.01 * step * torch.sin(torch.arange(data.pos.numel(), device="cuda").view(-1, 3))
        actual, expected = graphed(data), made(data)
        assert actual.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(actual[name], value, rtol=1e-9, atol=1e-10, equal_nan=True, msg=name)
    assert len(graphed._recorded) == 1


@ON_GPU
def test_other_sizes_and_weights() -> None:
    made = potential().to("cuda")
    graphed = GraphedPotential(made)
    graphs = [
        to_device(random_cluster([1, 6], CUTOFF, size, spacing), "cuda") for size in (4, 9) for spacing in (1.6, 1.1)
    ]
    for _ in range(2):
        for data in graphs:
            torch.testing.assert_close(graphed(data)["forces"], made(data)["forces"], rtol=1e-9, atol=1e-10)
        with torch.no_grad():
            for parameter in made.model.parameters():
                parameter.mul_(1.01)  # in its place: replays see it
    made.model.float()  # elsewhere: recorded anew
    torch.testing.assert_close(graphed(graphs[0])["forces"], made(graphs[0])["forces"], rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="got a batch of 2"):
        graphed(Batch.from_data_list(graphs[:2]))
    with pytest.raises(ValueError, match="a recording has no gradients"):
        GraphedPotential(deepcopy(made).train())(graphs[0])


@ON_GPU
def test_results_are_not_overwritten_and_nothing_waits() -> None:
    made = potential().to("cuda")
    graphed, data = GraphedPotential(made), to_device(random_cluster([1, 6], CUTOFF), "cuda")
    first = graphed(data)
    kept = first["forces"].clone()
    data.pos = 1.02 * data.pos
    torch.cuda.set_sync_debug_mode("error")
    try:
        second = graphed(data)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.equal(first["forces"], kept)
    assert not torch.equal(second["forces"], kept)


@ON_GPU
def test_in_the_calculator() -> None:
    made = potential()
    plain, graphed = EquiREANNCalculator(made), EquiREANNCalculator(made, device="cuda", graphed=True)
    for atoms in (bulk("C", cubic=True), molecule("CH4")):
        for seed in range(4):
            atoms.rattle(0.05, seed=seed)
            expected, actual = ({k: c.get_property(k, atoms) for k in ("energy", "forces")} for c in (plain, graphed))
            assert np.abs(expected["forces"]).max() > 1e-2
            np.testing.assert_allclose(actual["forces"], expected["forces"], rtol=1e-8, atol=1e-9)
            assert actual["energy"] == pytest.approx(expected["energy"], rel=1e-9)
