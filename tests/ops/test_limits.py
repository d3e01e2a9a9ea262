"""What the compiled sum over neighbours does not serve, and what it tells torch about itself."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from equireann_pyg.nn import OrbitalConv
from equireann_pyg.ops import edge_order, element_linear, orbital_sum, plain_path

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


def test_transforms_of_torch_func_are_refused_by_operators_and_served_by_layers(double: torch.dtype) -> None:
    c, M, R, Y, f = fields(4, 8)
    tangent, edge_index = torch.randn_like(R), edges()
    with pytest.raises(NotImplementedError, match="plain path"):
        torch.func.jvp(lambda x: element_linear(x, SPECIES, torch.ones(4, 8, 2)), (c,), (c,))
    _, slope = torch.func.jvp(lambda R: OrbitalConv()(c, M, edge_index, R, Y, f), (R,), (tangent,))
    expected = OrbitalConv()(c, None, edge_index, tangent, Y, f)
    assert float(expected.abs().max()) > 0.1
    assert torch.allclose(slope, expected, rtol=1e-12, atol=1e-12)
