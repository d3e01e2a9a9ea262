"""How isolated an atom is."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from equireann_pyg.nn import isolation


def chain(*distances: float | Tensor) -> Tensor:
    """Isolation of atom 0 with neighbours at some distances, cutoff 3 Angstrom."""
    r = torch.stack([torch.as_tensor(x, dtype=torch.float64) for x in distances])
    edge_vec = r.unsqueeze(1) * torch.tensor([0.48, 0.6, -0.64], dtype=torch.float64)
    sources = torch.arange(1, len(distances) + 1)
    return isolation(torch.stack([sources, torch.zeros_like(sources)]), edge_vec, 1 + len(distances), 3.0)


def test_values() -> None:
    value = chain(1.5, 2.4)
    expected = math.exp(-8 * (math.exp(-0.25 / 0.75) + math.exp(-0.64 / 0.36)))
    assert float(value[0]) == pytest.approx(expected, rel=1e-12)
    assert value[1:].tolist() == [1.0, 1.0]  # nobody's centre
    assert isolation(torch.empty(2, 0, dtype=torch.int64), torch.empty(0, 3), 2, 3.0).tolist() == [1.0, 1.0]
    assert chain(3.0, 3.1, 1e6)[0] == 1.0  # beyond the cutoff
    assert float(chain(*4 * [1.0])[0]) < 1e-9


def test_two_smooth_derivatives(double: torch.dtype) -> None:
    r = torch.tensor([0.5, 1.4, 2.5, 2.95], requires_grad=True)
    assert torch.autograd.gradcheck(lambda r: chain(*r), (r,))
    assert torch.autograd.gradgradcheck(lambda r: chain(*r), (r,))
    for gap in (1e-2, 1e-3, 0.0, -1e-3):
        near = torch.tensor(3.0 - gap, requires_grad=True)
        (slope,) = torch.autograd.grad(chain(near)[0], near, create_graph=True)
        (bend,) = torch.autograd.grad(slope, near)
        assert abs(float(slope.detach())) + abs(float(bend)) < 1e-10
