"""The compiled sum over neighbours and the linear maps per element: against the plain path, with their derivatives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import equireann_pyg.nn.conv
from equireann_pyg import EquiREANN, Potential
from equireann_pyg.nn import ElementMLP, OrbitalConv
from equireann_pyg.ops import edge_order, element_linear, orbital_sum, plain_path
from equireann_pyg.testing import assert_close, randomize, sample_graphs

pytestmark = pytest.mark.usefixtures("kernels")
N, E = 6, 23
SPECIES = torch.tensor([3, 0, 0, 3, 1, 0])  # of four elements, one absent


def fields(lm: int, n: int, per_channel: bool = False) -> list[Tensor]:
    """Coefficient, orbital, radial, angular, envelope."""
    envelope = torch.rand(E, n) if per_channel else torch.rand(E)
    return [torch.randn(N, n), torch.randn(N, lm, n), torch.randn(E, n), torch.randn(E, lm), envelope]


def edges(seed: int = 0) -> Tensor:
    """Edges in no order; the last atom has none."""
    return torch.randint(0, N - 1, (2, E), generator=torch.Generator().manual_seed(seed))


def derivatives(function: Callable[..., Tensor], inputs: list[Tensor]) -> list[Tensor]:
    """Value, gradients, and gradients of a function of the gradients."""
    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    value = function(*leaves)
    first = torch.autograd.grad(value.sin().sum(), leaves, create_graph=True)
    second = torch.autograd.grad(sum(g.square().sum() for g in first), leaves)
    return [value.detach(), *(g.detach() for g in first), *second]


def assert_paths_agree(function: Callable[..., Tensor], inputs: list[Tensor], tolerance: float) -> None:
    """Compiled and plain path: same value, same first and second derivatives."""
    actual = derivatives(function, inputs)
    with plain_path():
        expected = derivatives(function, inputs)
    for k, (mine, theirs) in enumerate(zip(actual, expected, strict=True)):
        assert_close(mine, theirs, tolerance, f"tensor {k}", smallest=1e-3)


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("with_orbital", [False, True])
@pytest.mark.parametrize(("lm", "n"), [(1, 1), (4, 8), (9, 8), (9, 3), (10, 4), (16, 16), (20, 5), (25, 12)])
def test_sum(lm: int, n: int, with_orbital: bool, per_channel: bool, dtype: torch.dtype) -> None:
    conv, edge_index = OrbitalConv(), edges()
    coefficient, orbital, radial, angular, envelope = fields(lm, n, per_channel)

    def function(c: Tensor, R: Tensor, Y: Tensor, *rest: Tensor) -> Tensor:
        M, f = rest if with_orbital else (None, envelope)
        return conv(c, M, edge_index, R, Y, f)

    inputs = [coefficient, radial, angular, *([orbital, envelope] if with_orbital else [])]
    assert_paths_agree(function, inputs, 2e-4 if dtype == torch.float32 else 1e-12)


@pytest.mark.parametrize("per_channel", [False, True])
def test_sum_by_differences(per_channel: bool, double: torch.dtype) -> None:
    edge_index = edges()
    order = edge_order(edge_index, N)
    inputs = [x.requires_grad_() for x in fields(4, 2, per_channel)]

    def function(c: Tensor, M: Tensor, R: Tensor, Y: Tensor, f: Tensor) -> Tensor:
        return orbital_sum(c, M, edge_index, order, R, Y, f)

    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs)


def test_sum_takes_views() -> None:
    edge_index = edges()
    c, M, R, Y, f = fields(4, 8)
    expected = OrbitalConv()(c, M, edge_index, R, Y, f)
    views = [torch.stack([x, x], dim=-1)[..., 0] for x in (c, M, R, Y, f)]
    c, M, R, Y, f = views
    assert not any(view.is_contiguous() for view in views)
    assert torch.equal(OrbitalConv()(c, M, edge_index.T.contiguous().T, R, Y, f), expected)


@pytest.mark.parametrize("num_nodes", [0, 3])
def test_no_edges(num_nodes: int) -> None:
    empty = torch.zeros(2, 0, dtype=torch.long)
    c, M = torch.randn(num_nodes, 8), torch.randn(num_nodes, 4, 8)
    out = OrbitalConv()(c, M, empty, torch.zeros(0, 8), torch.zeros(0, 4), torch.zeros(0))
    assert torch.equal(out, torch.zeros(num_nodes, 4, 8))


def test_edge_order() -> None:
    edge_index = edges()
    order = edge_order(edge_index, N)
    for row in (0, 1):
        starts, numbers = order[row, : N + 1].tolist(), order[row, N + 1 :].tolist()
        expected = torch.argsort(edge_index[row], stable=True).tolist()
        assert numbers == expected
        assert starts == [int((edge_index[row] < atom).sum()) for atom in range(N + 1)]
    with pytest.raises(RuntimeError, match="expected atoms 0 to 2"):
        edge_order(edge_index, 3)


@pytest.mark.parametrize("n", [8, 16])
def test_threads_and_repetition_give_the_same_bits(n: int) -> None:
    edge_index, before = edges(), torch.get_num_threads()
    edge_index = edge_index[:, torch.argsort(edge_index[1], stable=True)]  # as in every graph of radius_graph
    results = []
    for threads in (1, 1, 2):
        torch.set_num_threads(threads)
        torch.manual_seed(1)
        results.append(derivatives(lambda c, M, R, Y, f: OrbitalConv()(c, M, edge_index, R, Y, f), fields(9, n)))
    torch.set_num_threads(before)
    for one, again, two in zip(*results, strict=True):
        assert torch.equal(one, again)
        assert torch.equal(one, two)


@pytest.mark.parametrize(("which", "name"), [(1, "orbital"), (2, "radial"), (3, "angular"), (4, "envelope")])
def test_wrong_shapes_are_refused(which: int, name: str) -> None:
    inputs = fields(4, 8)
    inputs[which] = inputs[which][:-1].clone()
    c, M, R, Y, f = inputs
    with pytest.raises(ValueError, match=name):
        orbital_sum(c, M, edges(), edge_order(edges(), N), R, Y, f)


def test_an_order_of_other_edges_is_refused() -> None:
    c, M, R, Y, f = fields(4, 8)
    with pytest.raises(ValueError, match="order"):
        orbital_sum(c, M, edges(), edge_order(edges()[:, 1:], N), R, Y, f)


def test_many_components_take_the_plain_path(double: torch.dtype) -> None:
    c, M, R, Y, f = fields(70, 2)
    with pytest.raises(ValueError, match="at most 64 components"):
        orbital_sum(c, M, edges(), edge_order(edges(), N), R, Y, f)
    actual = OrbitalConv()(c, M, edges(), R, Y, f)
    with plain_path():
        assert torch.equal(actual, OrbitalConv()(c, M, edges(), R, Y, f))


def test_third_derivatives_are_refused() -> None:
    c, M, R, Y, f = (x.requires_grad_() for x in fields(4, 8))
    value = orbital_sum(c, M, edges(), edge_order(edges(), N), R, Y, f)
    (first,) = torch.autograd.grad(value.sin().sum(), R, create_graph=True)
    (second,) = torch.autograd.grad(first.sin().sum(), R, create_graph=True)
    with pytest.raises(NotImplementedError, match="plain_path"):
        torch.autograd.grad(second.sum(), R)


class Doubled(OrbitalConv):
    """A layer with messages of its own."""

    def message(self, **fields: Any) -> Tensor:  # type: ignore[override]
        return 2 * super().message(**fields)


def watched() -> OrbitalConv:
    conv = OrbitalConv()
    conv.register_message_forward_hook(lambda module, inputs, output: output)
    return conv


def explained() -> OrbitalConv:
    conv = OrbitalConv()
    conv.explain = False
    conv.fuse = False
    return conv


@pytest.mark.parametrize(
    ("make", "fused"),
    [
        (OrbitalConv, True),
        (explained, False),
        (watched, False),
        (lambda: OrbitalConv(aggr="mean"), False),
        (lambda: OrbitalConv(flow="target_to_source"), False),
    ],
)
def test_which_path_is_taken(make: Callable[[], OrbitalConv], fused: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def counted(*arguments: Any) -> Tensor:
        calls.append(1)
        return orbital_sum(*arguments)

    monkeypatch.setattr(equireann_pyg.nn.conv, "orbital_sum", counted)
    c, M, R, Y, f = fields(4, 8)
    actual = make()(c, M, edges(), R, Y, f)
    with plain_path():
        assert_close(actual, make()(c, M, edges(), R, Y, f), 1e-5, "sum")
    assert bool(calls) == fused
    calls.clear()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        OrbitalConv()(c, M, edges(), R, Y, f)
    assert not calls


@pytest.mark.filterwarnings("ignore:Sparse invariant checks:UserWarning")
def test_transposed_adjacency_matrix(double: torch.dtype) -> None:
    edge_index = torch.unique(edges(), dim=1)
    edge_index = edge_index[:, torch.argsort(edge_index[1] * N + edge_index[0])]
    c, M, *_ = fields(4, 8)
    R, Y, f = (x[: edge_index.size(1)] for x in fields(4, 8)[2:])
    transposed = torch.sparse_coo_tensor(edge_index.flip(0), torch.ones(edge_index.size(1)), (N, N), is_coalesced=True)
    assert_close(OrbitalConv()(c, M, transposed, R, Y, f), OrbitalConv()(c, M, edge_index, R, Y, f), 1e-12, "sum")


@pytest.mark.parametrize("sizes", [(5, 3), (16, 16), (64, 64), (7, 70), (40, 1)])
@pytest.mark.parametrize("num_species", [1, 4])
def test_linear_maps(sizes: tuple[int, int], num_species: int, dtype: torch.dtype) -> None:
    species = SPECIES if num_species > 1 else torch.zeros_like(SPECIES)
    x, weight = torch.randn(N, sizes[0]), torch.randn(num_species, *sizes)
    actual = derivatives(lambda x, weight: element_linear(x, species, weight), [x, weight])
    expected = derivatives(lambda x, weight: torch.einsum("ni,nij->nj", x, weight[species]), [x, weight])
    for k, (mine, theirs) in enumerate(zip(actual, expected, strict=True)):
        assert_close(mine, theirs, 2e-5 if dtype == torch.float32 else 1e-12, f"tensor {k}")
    if num_species > 1:
        assert not actual[2][2].any()  # the absent element


def test_linear_maps_by_differences(double: torch.dtype) -> None:
    x, weight = torch.randn(N, 3, requires_grad=True), torch.randn(4, 3, 2, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, weight: element_linear(x, SPECIES, weight), (x, weight))
    assert torch.autograd.gradgradcheck(lambda x, weight: element_linear(x, SPECIES, weight), (x, weight))
    assert element_linear(x[:0], SPECIES[:0], weight).shape == (0, 2)
    with pytest.raises(IndexError, match="species: expected 0 to 3"):
        element_linear(x, SPECIES + 1, weight)
    with pytest.raises(ValueError, match="sizes do not fit"):
        element_linear(x, SPECIES, weight[:, :2])


@pytest.mark.parametrize("num_species", [1, 4])
def test_networks(num_species: int, dtype: torch.dtype) -> None:
    mlp, species = ElementMLP(num_species, 5, [6, 7], 3), SPECIES if num_species > 1 else torch.zeros_like(SPECIES)
    randomize(mlp)
    assert_paths_agree(lambda x: mlp(x, species), [torch.randn(N, 5)], 1e-4 if dtype == torch.float32 else 1e-11)


@pytest.mark.parametrize("graph", sample_graphs([1, 6], 3.0), ids=lambda graph: f"{graph.num_nodes} atoms")
def test_whole_model(graph: Any, dtype: torch.dtype) -> None:
    potential = Potential(EquiREANN(["H", "C"], 3.0, num_iterations=2))
    randomize(potential)

    def everything() -> list[Tensor]:
        potential.zero_grad()
        output = potential.train()(graph)
        (output["energy"].square().sum() + output["forces"].square().sum()).backward()
        return [*(v.detach() for v in output.values()), *(p.grad.clone() for p in potential.parameters())]

    actual = everything()
    with plain_path():
        expected = everything()
    for k, (mine, theirs) in enumerate(zip(actual, expected, strict=True)):
        known = torch.isfinite(theirs)
        if float(theirs[known].abs().max()) > 1e-3:
            assert_close(mine[known], theirs[known], 5e-3 if dtype == torch.float32 else 1e-9, f"tensor {k}")


@pytest.mark.parametrize("with_orbital", [True, False])
def test_operators_tell_torch_the_truth(with_orbital: bool) -> None:
    c, M, R, Y, f = (x.requires_grad_() for x in fields(4, 8))
    arguments = (
        c,
        M if with_orbital else None,
        edges(),
        edge_order(edges(), N),
        R,
        Y,
        f if with_orbital else f.detach(),
    )
    torch.library.opcheck(torch.ops.equireann.orbital_sum.default, arguments)
    torch.library.opcheck(torch.ops.equireann.edge_order.default, (edges(), N))
    x, weight = torch.randn(N, 3, requires_grad=True), torch.randn(4, 3, 2, requires_grad=True)
    torch.library.opcheck(torch.ops.equireann.element_linear.default, (x, SPECIES, weight))
