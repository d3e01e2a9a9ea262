"""Rows of ghosts and the way back of their gradients, by a halo that copies images within one process."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from equireann_pyg import EANN, REANN, EquiREANN, EquiREANNPlus, OrbitalNetwork, edge_vectors
from equireann_pyg.models.domain import Domain
from equireann_pyg.ops.exchange import Halo, collect, exchange
from equireann_pyg.testing import assert_close, random_crystal, randomize

MODELS: dict[str, Callable[[], OrbitalNetwork]] = {
    "eann": lambda: EANN(["H", "Cu"], 3.0, num_radial=4, num_density=8, hidden_channels=[8]),
    "reann": lambda: REANN(["H", "Cu"], 3.0, num_radial=4, num_density=8, hidden_channels=[8]),
    "equireann": lambda: EquiREANN(["H", "Cu"], 3.0, num_radial=4, num_density=8, hidden_channels=[8]),
    "plus": lambda: EquiREANNPlus(
        ["H", "Cu"], 3.0, num_radial=8, num_products=4, num_messages=3, num_iterations=2, hidden_channels=[8]
    ),
}


class Images(Halo):
    """Ghosts that are copies of atoms of this process."""

    def __init__(self, index: Tensor) -> None:
        super().__init__()
        self.index, self.sends, self.returns = index, 0, 0

    def send(self, own: Tensor, ghosts: Tensor) -> None:
        self.sends += 1
        ghosts.copy_(own[self.index])

    def send_back(self, ghosts: Tensor, own: Tensor) -> None:
        self.returns += 1
        own.index_add_(0, self.index, ghosts)


@pytest.fixture
def halo() -> Images:
    return Images(torch.tensor([2, 0, 2]))


def test_ghosts_come_first(halo: Images) -> None:
    own = torch.arange(8.0).view(4, 2)
    rows = exchange(own, 7, halo.number)
    assert torch.equal(rows, torch.cat([own[[2, 0, 2]], own]))
    assert torch.equal(collect(rows, 4, halo.number), own * torch.tensor([[2.0], [1.0], [3.0], [1.0]]))
    assert torch.equal(own, torch.arange(8.0).view(4, 2))  # as they were


def test_each_is_the_transpose_of_the_other(halo: Images, double: torch.dtype) -> None:
    own, rows = torch.randn(4, 3, requires_grad=True), torch.randn(7, 3, requires_grad=True)
    left = (exchange(own, 7, halo.number) * rows).sum()
    right = (own * collect(rows, 4, halo.number)).sum()
    assert abs(float(left.detach())) > 0.1
    assert float(left.detach()) == pytest.approx(float(right.detach()), rel=1e-13)
    for function, x, size in ((exchange, own, 7), (collect, rows, 4)):
        assert torch.autograd.gradcheck(lambda x, f=function, s=size: f(x, s, halo.number), x)
        assert torch.autograd.gradgradcheck(lambda x, f=function, s=size: f(x, s, halo.number).sin(), x)


@pytest.mark.parametrize("width", [1, 3])
def test_both_are_operators_by_the_rules_of_torch(halo: Images, width: int) -> None:
    own, rows = torch.randn(4, width, requires_grad=True), torch.randn(7, width, requires_grad=True)
    torch.library.opcheck(torch.ops.equireann.exchange.default, (own, 7, halo.number))
    torch.library.opcheck(torch.ops.equireann.collect.default, (rows, 4, halo.number))


def test_a_traced_function_exchanges_anew(halo: Images, double: torch.dtype) -> None:
    def slope(own: Tensor) -> Tensor:
        own = own.detach().requires_grad_()
        energy = exchange(own, own.size(0) + 3, halo.number).pow(3).sum()
        return torch.autograd.grad(energy, own)[0]

    traced = make_fx(slope, tracing_mode="symbolic")(torch.randn(4, 2))
    names = {str(node.target) for node in traced.graph.nodes}
    assert {"equireann.exchange.default", "equireann.collect.default"} <= names
    for atoms in (4, 6):
        own = torch.randn(atoms, 2)
        halo.sends = halo.returns = 0
        assert_close(traced(own), slope(own), 1e-13, "slope")
        assert (halo.sends, halo.returns) == (2, 2)


def test_a_halo_that_has_gone_is_named(halo: Images) -> None:
    number = Images(torch.tensor([0])).number
    with pytest.raises(RuntimeError, match=f"halo {number} does not exist in this process"):
        exchange(torch.ones(1, 1), 2, number)


def with_ghosts(z: Tensor, edge_index: Tensor, edge_shift: Tensor) -> tuple[Images, Tensor, Tensor]:
    """Halo, atomic numbers and edges of a crystal that has a ghost for every image of an atom."""
    j, i = edge_index
    far = (edge_shift != 0).any(1)
    images, place = torch.unique(torch.cat([j[far, None], edge_shift[far].long()], 1), dim=0, return_inverse=True)
    halo = Images(images[:, 0])
    neighbours = j + len(images)
    neighbours[far] = place
    return halo, torch.cat([z[halo.index], z]), torch.stack([neighbours, i + len(images)])


@pytest.mark.parametrize("block_size", [None, 2])
@pytest.mark.parametrize("kind", MODELS)
def test_a_network_with_ghosts_is_the_whole_network(kind: str, block_size: int | None, double: torch.dtype) -> None:
    """Energies and their derivatives, where every image of an atom is a ghost."""
    network = MODELS[kind]().eval().requires_grad_(False)
    randomize(network, seed=1)
    graph = random_crystal(network.elements, 3.0, num_atoms=5, length=4.0)
    whole, divided = (edge_vectors(graph).requires_grad_() for _ in range(2))
    expected = network(graph.z, graph.edge_index, whole)
    halo, z, edge_index = with_ghosts(graph.z, graph.edge_index, graph.edge_shift)
    assert len(halo.index) > 10
    network.domain, network.block_size = Domain(len(halo.index), halo.number), block_size
    energy = network(z, edge_index, divided)
    assert halo.sends == network.num_iterations
    assert_close(energy, expected, 1e-12, "energies")
    weights = torch.randn(len(energy))
    slopes = [torch.autograd.grad(e @ weights, v)[0] for e, v in ((expected, whole), (energy, divided))]
    assert halo.returns == network.num_iterations
    assert_close(slopes[1], slopes[0], 1e-12, "derivatives")


@pytest.mark.parametrize("kind", ["equireann", "plus"])
def test_second_derivatives_go_through_the_halo(kind: str, double: torch.dtype) -> None:
    network = MODELS[kind]().eval().requires_grad_(False)
    randomize(network, seed=1)
    graph = random_crystal(network.elements, 3.0, num_atoms=3, length=4.0)
    halo, z, edge_index = with_ghosts(graph.z, graph.edge_index, graph.edge_shift)
    along = torch.randn(graph.num_edges, 3)
    curvatures = []
    for domain, nodes, edges in (
        (network.domain, graph.z, graph.edge_index),
        (Domain(len(halo.index), halo.number), z, edge_index),
    ):
        network.domain = domain
        vectors = edge_vectors(graph).requires_grad_()
        energy = network(nodes, edges, vectors).sum()
        (slope,) = torch.autograd.grad(energy, vectors, create_graph=True)
        curvatures.append(torch.autograd.grad(slope, vectors, along)[0])
    assert_close(curvatures[1], curvatures[0], 1e-11, "second derivatives")
