"""Angular parts against scipy, explicit outer powers and group theory."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from equireann_pyg.nn import Angular, CartesianMoments, SphericalHarmonics, cartesian_moments, solid_harmonics
from equireann_pyg.testing import assert_close, random_orthogonal, representation

ANGULAR = [
    SphericalHarmonics(3),
    SphericalHarmonics(2, unit=False),
    CartesianMoments(3),
    CartesianMoments(2, unit=False),
]


def vectors(num: int = 20, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(num, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)


def test_harmonics_against_scipy(dtype: torch.dtype) -> None:
    special = pytest.importorskip("scipy.special")
    vec, max_degree = vectors(), 6
    x, y, z = vec.numpy().T
    r = np.sqrt(x**2 + y**2 + z**2)
    polar, azimuth = np.arccos(z / r), np.arctan2(y, x)
    columns = []
    for degree in range(max_degree + 1):
        for m in range(-degree, degree + 1):
            complex_harmonic = (-1) ** m * special.sph_harm_y(degree, abs(m), polar, azimuth)
            part = complex_harmonic.real if m >= 0 else complex_harmonic.imag
            columns.append(r**degree * part * (math.sqrt(2) if m else 1))
    expected = torch.from_numpy(np.stack(columns, axis=1))
    actual = solid_harmonics(vec.to(dtype), max_degree)
    assert actual.dtype == dtype
    for degree in range(max_degree + 1):
        block = slice(degree**2, (degree + 1) ** 2)
        assert_close(
            actual[:, block].double(), expected[:, block], 5e-6 if dtype == torch.float32 else 1e-12, f"degree {degree}"
        )


def test_harmonics_are_orthonormal() -> None:
    max_degree = 5
    nodes, weights = np.polynomial.legendre.leggauss(max_degree + 1)
    azimuth = 2 * math.pi * np.arange(2 * max_degree + 2) / (2 * max_degree + 2)
    rho = np.sqrt(1 - nodes**2)
    grid = np.stack(
        [np.outer(rho, np.cos(azimuth)), np.outer(rho, np.sin(azimuth)), np.outer(nodes, np.ones_like(azimuth))],
        axis=-1,
    )
    weight = torch.from_numpy(np.outer(weights, np.full_like(azimuth, 2 * math.pi / len(azimuth))).ravel())
    y = solid_harmonics(torch.from_numpy(grid.reshape(-1, 3)), max_degree)
    assert_close(y.T @ (weight.unsqueeze(1) * y), torch.eye(y.size(1), dtype=y.dtype), 1e-13, "overlap of harmonics")


def test_harmonics_sum_rule() -> None:
    vec = vectors()
    angular = SphericalHarmonics(6)
    y = angular(vec, vec.norm(dim=-1))
    for degree, block in enumerate(y.split(angular.components, dim=1)):
        assert_close(block.square().sum(1), torch.full((20,), 2.0 * degree + 1, dtype=y.dtype), 1e-13, "sum rule")


def test_first_degree_is_y_z_x() -> None:
    vec = vectors()
    expected = math.sqrt(3 / (4 * math.pi)) * vec[:, [1, 2, 0]]
    assert_close(solid_harmonics(vec, 1)[:, 1:], expected, 1e-14, "l = 1")


def test_cartesian_moments_are_outer_powers() -> None:
    u, v = vectors().split(10)
    power_u = power_v = torch.ones(10, 1, dtype=u.dtype)
    angular = CartesianMoments(4, unit=False)
    blocks = zip(*(angular.polynomials(w).split(angular.components, dim=1) for w in (u, v)), strict=True)
    for degree, (block_u, block_v) in enumerate(blocks):
        assert power_u.size(1) == 3**degree
        products = (power_u * power_v).sum(1), (block_u * block_v).sum(1), (u * v).sum(1) ** degree
        assert_close(products[1], products[0], 1e-12, f"products of outer powers, degree {degree}")
        assert_close(products[1], products[2], 1e-12, f"powers of the scalar product, degree {degree}")
        power_u = (power_u.unsqueeze(2) * u.unsqueeze(1)).flatten(1)
        power_v = (power_v.unsqueeze(2) * v.unsqueeze(1)).flatten(1)


def test_cartesian_order_and_weight() -> None:
    vec = vectors()
    x, y, z = vec.unbind(1)
    root = math.sqrt(2)
    expected = torch.stack([x * x, root * x * y, root * x * z, y * y, root * y * z, z * z], dim=1)
    assert_close(cartesian_moments(vec, 2)[:, 4:], expected, 1e-14, "l = 2")


@pytest.mark.parametrize("reflect", [False, True])
@pytest.mark.parametrize("angular", ANGULAR, ids=repr)
def test_equivariance(angular: Angular, reflect: bool, dtype: torch.dtype) -> None:
    q = random_orthogonal(seed=2, reflect=reflect)
    matrix = representation(angular, q)
    assert_close(matrix @ matrix.T, torch.eye(matrix.size(0), dtype=matrix.dtype), 1e-10, "orthogonality of D")
    vec = vectors(8)
    turned = (vec @ q.T).to(dtype)
    vec = vec.to(dtype)
    expected = angular(vec, vec.norm(dim=-1)) @ matrix.T.to(dtype)
    tolerance = 5e-6 if dtype == torch.float32 else 1e-12
    assert_close(angular(turned, turned.norm(dim=-1)), expected, tolerance, "harmonics of turned vectors")


@pytest.mark.parametrize("reflect", [False, True])
def test_representation_of_vectors_is_the_rotation(reflect: bool) -> None:
    q = random_orthogonal(seed=2, reflect=reflect)
    order = [1, 2, 0]
    matrix = representation(SphericalHarmonics(1), q)[1:, 1:]
    assert_close(matrix, q[order][:, order], 1e-12, "D of l = 1")
    assert_close(representation(CartesianMoments(1), q)[1:, 1:], q, 1e-12, "D of l = 1, Cartesian")


@pytest.mark.parametrize("angular", ANGULAR, ids=repr)
def test_gradcheck(angular: Angular) -> None:
    vec = vectors(3).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: angular(v, v.norm(dim=-1)), vec)
    assert torch.autograd.gradgradcheck(lambda v: angular(v, v.norm(dim=-1)), vec)


def test_solid_harmonics_are_smooth_at_the_origin() -> None:
    vec = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    y = solid_harmonics(vec, 3)
    (gradient,) = torch.autograd.grad(y[:, 1:4].sum(), vec)
    assert_close(gradient, torch.full_like(gradient, math.sqrt(3 / (4 * math.pi))), 1e-14, "gradient at the origin")


def test_grammar() -> None:
    assert repr(SphericalHarmonics(3)) == "SphericalHarmonics(max_degree=3, unit=True)"
    for angular in ANGULAR:
        assert repr(type(angular)(**angular.config)) == repr(angular)
        assert sum(angular.components) == angular.polynomials(vectors()).size(1)
    with pytest.raises(ValueError, match="max_degree >= 0, got -1"):
        SphericalHarmonics(-1)
    with pytest.raises(TypeError, match="Angular must define components"):
        _ = Angular().components
    with pytest.raises(TypeError, match="Angular must define polynomials"):
        Angular()(vectors(), torch.ones(20))
