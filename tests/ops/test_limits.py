"""What the compiled sum over neighbours does not serve, and what it tells torch about itself."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from equireann_pyg.nn import OrbitalConv
from equireann_pyg.ops import by_reference, edge_order

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


def test_many_components_are_summed_by_reference(double: torch.dtype) -> None:
    c, M, R, Y, f = fields(70, 2)
    with pytest.raises(ValueError, match="at most 64 components"):
        torch.ops.equireann.orbital_sum(c, M, edges(), edge_order(edges(), N), R, Y, f, False)
    actual = OrbitalConv()(c, M, edges(), R, Y, f)
    with by_reference():
        assert torch.equal(actual, OrbitalConv()(c, M, edges(), R, Y, f))


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
        False,
    )
    torch.library.opcheck(torch.ops.equireann.orbital_sum.default, arguments)
    torch.library.opcheck(torch.ops.equireann.edge_order.default, (edges(), N))
    x, weight = torch.randn(N, 3, requires_grad=True), torch.randn(4, 3, 2, requires_grad=True)
    torch.library.opcheck(torch.ops.equireann.element_linear.default, (x, SPECIES, weight))
