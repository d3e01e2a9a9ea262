"""Mixing, scales, limits and scalar products of orbitals, degree by degree."""

from __future__ import annotations

import copy
from contextlib import nullcontext

import pytest
import torch

from equireann_pyg.nn import DegreeDot, DegreeLinear, OrbitalScale, SoftLimit, SphericalHarmonics
from equireann_pyg.nn.linear import LIMIT
from equireann_pyg.ops import plain_path
from equireann_pyg.testing import assert_close, random_orthogonal, representation

COMPONENTS = (1, 3, 5)
DEGREE = [0, 1, 1, 1, 2, 2, 2, 2, 2]
TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-12}
PATHS = pytest.mark.parametrize("plain", [False, True], ids=["kernels", "plain"])


def layers() -> list[torch.nn.Module]:
    scale = OrbitalScale(COMPONENTS, 4)
    scale.fit(torch.randn(50, 9, 4))
    return [DegreeLinear(COMPONENTS, 4, 6), scale, SoftLimit(COMPONENTS)]


@PATHS
def test_linear_against_a_loop(plain: bool, dtype: torch.dtype) -> None:
    layer, orbital = DegreeLinear(COMPONENTS, 4, 6), torch.randn(7, 9, 4)
    expected = torch.stack([orbital[:, m] @ layer.weight[degree] / 2 for m, degree in enumerate(DEGREE)], dim=1)
    with plain_path() if plain else nullcontext():
        assert_close(layer(orbital), expected, TOLERANCE[dtype], "mixed channels")


def test_linear_keeps_the_variance_with_unit_weights() -> None:
    layer = DegreeLinear(COMPONENTS, 32, 400)
    assert float(layer.weight.detach().var()) == pytest.approx(1.0, rel=0.05)
    mixed = layer(torch.randn(20, 9, 32)).detach()
    assert [float(part.var()) for part in mixed.split(COMPONENTS, dim=1)] == pytest.approx([1.0] * 3, rel=0.1)


@PATHS
def test_dot_against_a_loop(plain: bool, dtype: torch.dtype) -> None:
    a, b = torch.randn(7, 9, 4), torch.randn(7, 9, 4)
    expected = torch.zeros(7, 3, 4)
    for m, degree in enumerate(DEGREE):
        expected[:, degree] += a[:, m] * b[:, m]
    with plain_path() if plain else nullcontext():
        assert_close(DegreeDot(COMPONENTS)(a, b), expected.flatten(1), TOLERANCE[dtype], "scalar products")


def test_scale_of_every_degree_and_channel(dtype: torch.dtype) -> None:
    scale = OrbitalScale(COMPONENTS, 4)
    orbital = torch.randn(50, 9, 4) * torch.tensor([0.5, 1.0, 2.0, 0.0])
    assert torch.equal(scale(orbital), orbital)
    scale.fit(orbital)
    for part in scale(orbital).split(COMPONENTS, dim=1):
        assert_close(part.square().mean((0, 1))[:3], torch.ones(3), 1e-5, "variance")
        assert not bool(part[..., 3].any())  # nothing to scale
    assert set(scale.state_dict()) == {"scale"}
    assert not list(scale.parameters())
    scale.reset_parameters()
    assert torch.equal(scale(orbital), orbital)
    scale.fit(0 * orbital)
    assert torch.equal(scale(orbital), orbital)


def test_small_channels_are_scaled_as_a_tenth_of_their_degree(double: torch.dtype) -> None:
    """A channel out of reach so far must not explode when its radial function moves."""
    scale, orbital = OrbitalScale(COMPONENTS, 4), torch.randn(50, 9, 4)
    orbital[..., 1] *= 1e-3
    orbital[..., 2] = 0
    scale.fit(orbital)
    for row, part in zip(scale.scale, orbital.split(COMPONENTS, dim=1), strict=True):
        size = part.square().mean((0, 1)).sqrt()
        assert_close(row[[0, 3]], size[[0, 3]], 1e-12, "scale of large channels")
        assert_close(row[1:3], 0.1 * size.square().mean().sqrt().expand(2), 1e-12, "scale of small channels")


@PATHS
def test_limit_bends_the_size_only(plain: bool, dtype: torch.dtype) -> None:
    limit, orbital = SoftLimit(COMPONENTS), torch.randn(7, 9, 4)
    with plain_path() if plain else nullcontext():
        assert_close(limit(1e-3 * orbital), 1e-3 * orbital, 1e-5, "small orbitals", smallest=1e-5)
        far = limit(1e6 * orbital)
        for part, given in zip(far.split(COMPONENTS, dim=1), orbital.split(COMPONENTS, dim=1), strict=True):
            size = part.square().mean(1).sqrt()  # -> [N, n]
            assert_close(size, torch.full_like(size, LIMIT), 1e-4, "size far out")
            direction = given / given.norm(dim=1, keepdim=True)
            assert_close(part / part.norm(dim=1, keepdim=True), direction, TOLERANCE[dtype], "direction")
        zero = torch.zeros(2, 9, 4, requires_grad=True)
        (gradient,) = torch.autograd.grad(limit(zero).sum(), zero)
        assert torch.equal(gradient, torch.ones_like(zero))


@pytest.mark.parametrize("reflect", [False, True])
@pytest.mark.parametrize("index", range(3))
def test_equivariance(index: int, reflect: bool, dtype: torch.dtype) -> None:
    layer, orbital = layers()[index], 4 * torch.randn(7, 9, 4)
    matrix = representation(SphericalHarmonics(2), random_orthogonal(reflect=reflect)).to(dtype)
    expected = matrix @ layer(orbital)
    assert not torch.allclose(expected, layer(orbital), atol=0.1)
    assert_close(layer(matrix @ orbital), expected, TOLERANCE[dtype], repr(layer))


@PATHS
@pytest.mark.parametrize("index", range(3))
def test_gradgradcheck(index: int, plain: bool, double: torch.dtype) -> None:
    layer, orbital = layers()[index], (3 * torch.randn(2, 9, 4)).requires_grad_()
    names = [name for name, _ in layer.named_parameters()]

    def function(orbital: torch.Tensor, *values: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (orbital,))

    with plain_path() if plain else nullcontext():
        assert torch.autograd.gradcheck(function, (orbital, *layer.parameters()))
        assert torch.autograd.gradgradcheck(function, (orbital, *layer.parameters()))


def test_grammar() -> None:
    linear, scale, _ = layers()
    assert repr(linear) == "DegreeLinear([1, 3, 5], 4, 6)"
    assert repr(scale) == "OrbitalScale([1, 3, 5], 4)"
    assert repr(DegreeDot(COMPONENTS)) == "DegreeDot([1, 3, 5])"
    assert list(linear.state_dict()) == ["weight"]
    before = copy.deepcopy(linear.weight)
    linear.reset_parameters()
    assert not torch.equal(before, linear.weight)
    for layer in layers():
        assert layer(torch.zeros(0, 9, 4)).shape[:2] == (0, 9)
