"""Sums over neighbours in blocks of atoms: the same numbers, and no functions of all edges."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch_geometric.data import Data

from equireann_pyg import EANN, REANN, BlockPotential, EquiREANN, EquiREANNPlus, OrbitalNetwork, Potential
from equireann_pyg.models.neighbourhoods import EDGES, Neighbourhoods, cut
from equireann_pyg.nn import CartesianMoments, Coupled, Filtered
from equireann_pyg.ops import by_reference
from equireann_pyg.testing import assert_close, make_graph, random_cluster, random_crystal, randomize

MODELS: dict[str, Callable[[], OrbitalNetwork]] = {
    "paper": lambda: EquiREANN(["H", "Cu"], 3.0, num_radial=4, num_density=8, num_iterations=2, hidden_channels=[8]),
    "reann": lambda: REANN(["H", "Cu"], 3.0, CartesianMoments(2), num_radial=4, num_density=8, hidden_channels=[8]),
    "eann": lambda: EANN(["H", "Cu"], 3.0, num_radial=4, num_density=8, hidden_channels=[8]),
    "plus": lambda: EquiREANNPlus(
        ["H", "Cu"], 3.0, num_radial=8, num_products=4, num_messages=3, num_iterations=2, hidden_channels=[8]
    ),
    "filtered": lambda: OrbitalNetwork(["H", "Cu"], 3.0, rule=Filtered([8]), num_iterations=2),
    "coupled": lambda: OrbitalNetwork(["H", "Cu"], 3.0, rule=Coupled([8], 4), num_iterations=1),
}


def potential(kind: str) -> Potential:
    """A small potential for H and Cu."""
    torch.manual_seed(0)
    model = MODELS[kind]()
    randomize(model)
    return Potential(model.double()).eval()


def unsorted(graph: Data) -> Data:
    """The same graph with its edges in another order."""
    order = torch.randperm(graph.edge_index.size(1), generator=torch.Generator().manual_seed(0))
    changed = graph.clone()
    changed.edge_index, changed.edge_shift = graph.edge_index[:, order], graph.edge_shift[order]
    return changed


def with_loners(graph: Data) -> Data:
    """Open system with isolated atoms before, between and behind the others."""
    far = 50 * torch.eye(3, dtype=torch.float64)
    pos = torch.cat([far[:1], graph.pos[:3], far[1:2], graph.pos[3:], far[2:]])
    return make_graph(torch.tensor([1, *graph.z[:3].tolist(), 29, *graph.z[3:].tolist(), 29]), pos, 3.0)


CRYSTAL, CLUSTER = random_crystal([1, 29], 3.0, 3), random_cluster([1, 29], 3.0, 9)
GRAPHS = {"crystal": CRYSTAL, "unsorted": unsorted(CRYSTAL), "loners": with_loners(CLUSTER)}


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("kind", MODELS)
def test_energies_forces_and_stress(kind: str, graph: str) -> None:
    made = potential(kind)
    expected = made(GRAPHS[graph])
    assert ("stress" in expected) == (graph != "loners")
    for size in (1, 2, 3, 1000):
        output = BlockPotential(made, size)(GRAPHS[graph])
        assert output.keys() == expected.keys()
        for name, value in expected.items():
            assert_close(output[name], value, 1e-12, f"{name} in blocks of {size}")


@pytest.mark.parametrize("kind", ["paper", "plus"])
def test_features_and_orbitals(kind: str) -> None:
    model, graph = potential(kind).model, GRAPHS["unsorted"]
    inputs = graph.z, graph.edge_index, graph.pos[graph.edge_index].diff(dim=0)[0] + graph.edge_shift @ graph.cell[0]
    with torch.no_grad():
        expected = model.embed(*inputs)
        model.block_size = 2
        for name, mine, theirs in zip(expected._fields, model.embed(*inputs), expected, strict=True):
            assert_close(mine, theirs, 1e-12, name)


class Largest(TorchDispatchMode):
    """Numbers per edge of the largest tensor that has a row or a column for every edge."""

    def __init__(self, edges: int) -> None:
        super().__init__()
        self.edges, self.most = edges, 0.0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, (tuple, list)) else (made,):
            if isinstance(tensor, Tensor) and self.edges in tensor.shape:
                self.most = max(self.most, tensor.numel() / self.edges)
        return made


@pytest.mark.parametrize("kind", ["paper", "plus"])
def test_no_functions_of_all_edges(kind: str) -> None:
    made, graph = potential(kind), random_crystal([1, 29], 3.0, 5)
    assert graph.edge_index.size(1) > 64  # more than any tensor of atoms has columns

    def most(evaluate: Potential | BlockPotential) -> float:
        with by_reference(), Largest(graph.edge_index.size(1)) as largest:
            evaluate(graph, stress=False)
        return largest.most

    assert most(made) >= 4 * 9  # atomic orbitals of all edges
    assert most(BlockPotential(made, 2)) == 3  # edge vectors


def test_gradients_of_edges_and_nodes() -> None:
    """Those of atoms in several blocks are added; None is passed on, and what needs no gradient has none."""
    generator = torch.Generator().manual_seed(0)
    graph, x = GRAPHS["unsorted"], torch.randn(3, 4, generator=generator, dtype=torch.float64)
    (source, target), numbers = graph.edge_index, torch.arange(3.0, dtype=torch.float64)
    weight = torch.randn(3, 4, generator=generator, dtype=torch.float64)
    vec = torch.randn(source.numel(), 3, generator=generator, dtype=torch.float64)

    def whole(vec: Tensor, x: Tensor) -> Tensor:
        messages = x[source] * vec.norm(dim=1, keepdim=True) * numbers[target].unsqueeze(1)
        return x.new_zeros(3, 4).index_add(0, target, messages).sin() * x

    def of_block(block: Any, vec: Tensor, x: Tensor, nothing: None, numbers: Tensor) -> Tensor:
        assert nothing is None
        (source, target), begin = block.edge_index, block.centres.start
        messages = x[source] * vec.norm(dim=1, keepdim=True) * numbers[target].unsqueeze(1)
        own = x[block.centres]
        return torch.zeros_like(own).index_add(0, target - begin, messages).sin() * own

    def in_blocks(vec: Tensor, x: Tensor) -> Tensor:
        graph_of_blocks = Neighbourhoods(graph.edge_index, vec, 3, 1)
        assert len(graph_of_blocks.blocks) == 3
        return graph_of_blocks.evaluate(of_block, x, None, numbers)

    results = []
    for function in (whole, in_blocks):
        leaves = vec.clone().requires_grad_(), x.clone().requires_grad_()
        output = function(*leaves)
        results.append([output.detach(), *torch.autograd.grad((output * weight).sum(), leaves)])
    for name, mine, theirs in zip(("output", "vectors", "nodes"), *results[::-1], strict=True):
        assert_close(mine, theirs, 1e-12, name)


def test_blocks_follow_one_another_and_are_bounded() -> None:
    counts = [0, 3, 0, 45, 10, 10, 0, 0, 0, 41, 0]
    starts = [0, *torch.tensor(counts).cumsum(0).tolist()]
    for size in (1, 2, 3, 100):
        blocks = cut(starts, size)
        assert [atom for atoms, _ in blocks for atom in range(atoms.start, atoms.stop)] == list(range(len(counts)))
        for atoms, edges in blocks:
            number = atoms.stop - atoms.start
            assert 1 <= number <= size
            assert edges == slice(starts[atoms.start], starts[atoms.stop])
            assert edges.stop - edges.start <= EDGES * size or number == 1
    assert [atoms.stop for atoms, _ in cut(starts, 2)] == [2, 3, 4, 6, 8, 9, 10, 11]
    assert len(cut(starts, 100)) == 1


def test_atoms_that_do_not_exist() -> None:
    graph = CRYSTAL.clone()
    graph.edge_index = graph.edge_index.clone()
    graph.edge_index[1, -1] = 3
    with pytest.raises(IndexError, match="expected atoms 0 to 2"):
        Neighbourhoods(graph.edge_index, graph.pos[graph.edge_index[0]], 3, 1)
