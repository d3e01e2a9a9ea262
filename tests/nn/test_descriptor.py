"""Densities: closed form of one neighbour, loops, invariance."""

from __future__ import annotations

import pytest
import torch

from equireann_pyg.nn import Angular, CartesianMoments, OrbitalConv, OrbitalDensity, SphericalHarmonics
from equireann_pyg.testing import assert_close, random_orthogonal, representation

ANGULAR = [SphericalHarmonics(3), CartesianMoments(2, unit=False)]


def test_one_neighbour_in_closed_form(dtype: torch.dtype) -> None:
    """rho_k = sum_l (2l + 1) (sum_n c_n R_n W_lnk)^2, whatever the direction."""
    angular = SphericalHarmonics(3)
    density = OrbitalDensity(angular.components, 4, 5)
    coefficient, radial, vec = torch.randn(2, 4), torch.rand(1, 4), torch.randn(1, 3)
    edge_index = torch.tensor([[1], [0]])
    orbital = OrbitalConv()(coefficient, None, edge_index, radial, angular(vec, vec.norm(dim=-1)), torch.ones(1))
    contracted = torch.einsum("n,lnk->lk", coefficient[1] * radial[0], density.weight)
    expected = (torch.tensor([1.0, 3.0, 5.0, 7.0]).unsqueeze(1) * contracted.square()).sum(0)
    tolerance = 5e-6 if dtype == torch.float32 else 1e-13
    assert_close(density(orbital)[0], expected, tolerance, "density of one neighbour")
    assert not bool(density(orbital)[1].any())  # atom 1 has no neighbour


@pytest.mark.parametrize("angular", ANGULAR, ids=repr)
def test_against_loops(angular: Angular) -> None:
    density = OrbitalDensity(angular.components, 2, 3).double()
    orbital = torch.randn(4, sum(angular.components), 2, dtype=torch.float64)
    degree_of = [degree for degree, size in enumerate(angular.components) for _ in range(size)]
    expected = torch.zeros(4, 3, dtype=torch.float64)
    for component, degree in enumerate(degree_of):
        expected += (orbital[:, component] @ density.weight[degree]).square()
    assert_close(density(orbital), expected, 1e-13, "density")


@pytest.mark.parametrize("reflect", [False, True])
@pytest.mark.parametrize("angular", ANGULAR, ids=repr)
def test_invariance(angular: Angular, reflect: bool, dtype: torch.dtype) -> None:
    density = OrbitalDensity(angular.components, 4, 5)
    orbital = torch.randn(6, sum(angular.components), 4)
    matrix = representation(angular, random_orthogonal(reflect=reflect)).to(dtype)
    turned = torch.einsum("ab,ibn->ian", matrix, orbital)
    assert not torch.allclose(turned, orbital, atol=0.1)
    assert_close(density(turned), density(orbital), 5e-6 if dtype == torch.float32 else 1e-12, "density")


def test_gradcheck(double: torch.dtype) -> None:
    density = OrbitalDensity([1, 3], 2, 2)
    orbital = torch.randn(2, 4, 2, requires_grad=True)

    def function(orbital: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(density, {"weight": weight}, (orbital,))

    assert torch.autograd.gradcheck(function, (orbital, density.weight))
    assert torch.autograd.gradgradcheck(function, (orbital, density.weight))


def test_grammar() -> None:
    density = OrbitalDensity([1, 3, 5], 4, 6)
    assert repr(density) == "OrbitalDensity(components=[1, 3, 5], num_radial=4, num_density=6)"
    before = density.weight.clone()
    density.reset_parameters()
    assert not torch.equal(before, density.weight)
    with pytest.raises((RuntimeError, ValueError), match=r"split|do not fit"):
        density(torch.zeros(2, 8, 4))
