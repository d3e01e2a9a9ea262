"""Mixing, scales, limits and scalar products of orbitals, degree by degree."""

from __future__ import annotations

import copy
from contextlib import nullcontext

import pytest
import torch

from equireann_pyg.nn import DegreeDot, DegreeLinear, ScaledLinear, SoftLimit, SphericalHarmonics
from equireann_pyg.nn.scaling import ORBITAL_LIMIT
from equireann_pyg.ops import by_reference
from equireann_pyg.testing import assert_close, random_orthogonal, representation

COMPONENTS = (1, 3, 5)
DEGREE = [0, 1, 1, 1, 2, 2, 2, 2, 2]
TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-12}
PATHS = pytest.mark.parametrize("plain", [False, True], ids=["kernels", "plain"])


def layers() -> list[torch.nn.Module]:
    scaled = ScaledLinear(COMPONENTS, 4, 6)
    scaled.fit(torch.randn(50, 9, 4) * torch.tensor([0.5, 1.0, 2.0, 0.8]))
    return [DegreeLinear(COMPONENTS, 4, 6), scaled, SoftLimit(COMPONENTS)]


def identity() -> ScaledLinear:
    """A layer that scales only: the root of the width is apart."""
    layer = ScaledLinear(COMPONENTS, 4, 4)
    with torch.no_grad():
        layer.weight.copy_(2 * torch.eye(4))
    return layer


@PATHS
def test_linear_against_a_loop(plain: bool, dtype: torch.dtype) -> None:
    layer, orbital = DegreeLinear(COMPONENTS, 4, 6), torch.randn(7, 9, 4)
    expected = torch.stack([orbital[:, m] @ layer.weight[degree] / 2 for m, degree in enumerate(DEGREE)], dim=1)
    with by_reference() if plain else nullcontext():
        assert_close(layer(orbital), expected, TOLERANCE[dtype], "mixed channels")


def test_linear_keeps_the_variance_with_unit_weights() -> None:
    layer = DegreeLinear(COMPONENTS, 32, 400)
    assert float(layer.weight.detach().var()) == pytest.approx(1.0, rel=0.05)
    mixed = layer(torch.randn(20, 9, 32)).detach()
    assert [float(part.var()) for part in mixed.split(COMPONENTS, dim=1)] == pytest.approx([1.0] * 3, rel=0.1)


@PATHS
def test_scaled_linear_against_a_loop(plain: bool, dtype: torch.dtype) -> None:
    layer, orbital = ScaledLinear(COMPONENTS, 4, 6), torch.randn(7, 9, 4)
    layer.scale.uniform_(0.5, 2.0)
    scaled = torch.stack([orbital[:, m] / layer.scale[degree] for m, degree in enumerate(DEGREE)], dim=1)
    expected = torch.stack([scaled[:, m] @ layer.weight[degree] / 2 for m, degree in enumerate(DEGREE)], dim=1)
    with by_reference() if plain else nullcontext():
        assert_close(layer(orbital), expected, TOLERANCE[dtype], "scaled and mixed channels")


def test_scaled_linear_without_scale_is_linear() -> None:
    torch.manual_seed(1)
    layer = DegreeLinear(COMPONENTS, 4, 6)
    torch.manual_seed(1)
    scaled, orbital = ScaledLinear(COMPONENTS, 4, 6), torch.randn(7, 9, 4)
    assert torch.equal(scaled.weight, layer.weight)
    assert torch.equal(scaled(orbital), layer(orbital))


@PATHS
def test_fitted_orbitals_are_mixed_to_unit_variance(plain: bool) -> None:
    """Whatever the size of the degrees and channels."""
    layer = ScaledLinear(COMPONENTS, 32, 400)
    size = torch.tensor([3.0, 0.1, 20.0])[DEGREE].unsqueeze(1) * torch.linspace(0.5, 2.0, 32)
    orbital = size * torch.randn(200, 9, 32)
    with by_reference() if plain else nullcontext():
        layer.fit(orbital)
        assert float(layer(orbital).detach().square().mean()) == pytest.approx(1.0, rel=0.1)


@PATHS
def test_dot_against_a_loop(plain: bool, dtype: torch.dtype) -> None:
    a, b = torch.randn(7, 9, 4), torch.randn(7, 9, 4)
    expected = torch.zeros(7, 3, 4)
    for m, degree in enumerate(DEGREE):
        expected[:, degree] += a[:, m] * b[:, m]
    with by_reference() if plain else nullcontext():
        assert_close(DegreeDot(COMPONENTS)(a, b), expected.flatten(1), TOLERANCE[dtype], "scalar products")


def test_scale_of_every_degree(dtype: torch.dtype) -> None:
    layer, tolerance = identity(), TOLERANCE[dtype]
    orbital = 3 * torch.randn(50, 9, 4) * torch.tensor([0.5, 1.0, 2.0, 0.0])
    assert_close(layer(orbital), orbital, tolerance, "orbital before the fit")
    layer.fit(orbital.requires_grad_())
    scaled = layer(orbital).detach()
    assert_close(layer.scale / layer.scale[0], torch.tensor([1.0, 2.0, 3.0]), tolerance, "growth with the degree")
    assert_close(scaled.square().mean(), torch.tensor(1.0), tolerance, "mean square")
    assert_close(scaled * layer.scale[DEGREE].unsqueeze(1), orbital, tolerance, "orbital")  # one scale for all channels
    layer.fit(orbital)
    assert torch.equal(layer(orbital), scaled)  # what the scale was does not matter
    layer.reset_parameters()
    assert torch.equal(layer.scale, torch.ones(3))


def test_nothing_to_scale() -> None:
    layer, orbital = ScaledLinear(COMPONENTS, 4, 6), torch.randn(50, 9, 4)
    layer.fit(orbital)
    assert not torch.equal(layer.scale, torch.ones(3))
    layer.fit(0 * orbital)
    assert torch.equal(layer.scale, torch.ones(3))
    orbital[:, :4] = 0  # a degree that vanishes is scaled as its size were that of the others
    layer.fit(orbital)
    size = float((orbital[:, 4:] / 3).square().sum() / orbital.numel()) ** 0.5
    assert_close(layer.scale, size * torch.tensor([1.0, 2.0, 3.0]), 1e-6, "scale")


def test_the_scale_is_stored_and_not_trained(dtype: torch.dtype) -> None:
    layer, twin, orbital = ScaledLinear(COMPONENTS, 4, 6), ScaledLinear(COMPONENTS, 4, 6), 3 * torch.randn(50, 9, 4)
    layer.fit(orbital)
    assert set(layer.state_dict()) == {"weight", "scale"}
    assert [name for name, _ in layer.named_parameters()] == ["weight"]
    assert layer.scale.dtype == dtype
    assert not layer.scale.requires_grad
    twin.load_state_dict(layer.state_dict())
    assert torch.equal(twin(orbital), layer(orbital))


@PATHS
def test_limit_bends_the_size_only(plain: bool, dtype: torch.dtype) -> None:
    limit, orbital = SoftLimit(COMPONENTS), torch.randn(7, 9, 4)
    with by_reference() if plain else nullcontext():
        assert_close(limit(1e-3 * orbital), 1e-3 * orbital, 1e-5, "small orbitals", smallest=1e-5)
        far = limit(1e6 * orbital)
        for part, given in zip(far.split(COMPONENTS, dim=1), orbital.split(COMPONENTS, dim=1), strict=True):
            size = part.square().mean(1).sqrt()  # -> [N, n]
            assert_close(size, torch.full_like(size, ORBITAL_LIMIT), 1e-4, "size far out")
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

    with by_reference() if plain else nullcontext():
        assert torch.autograd.gradcheck(function, (orbital, *layer.parameters()))
        assert torch.autograd.gradgradcheck(function, (orbital, *layer.parameters()))


def test_grammar() -> None:
    linear, scaled, _ = layers()
    assert repr(linear) == "DegreeLinear([1, 3, 5], 4, 6)"
    assert repr(scaled) == "ScaledLinear([1, 3, 5], 4, 6)"
    assert repr(DegreeDot(COMPONENTS)) == "DegreeDot([1, 3, 5])"
    assert list(linear.state_dict()) == ["weight"]
    for layer in (linear, scaled):
        before = copy.deepcopy(layer.weight)
        layer.reset_parameters()
        assert not torch.equal(before, layer.weight)
    for layer in layers():
        assert layer(torch.zeros(0, 9, 4)).shape[:2] == (0, 9)
