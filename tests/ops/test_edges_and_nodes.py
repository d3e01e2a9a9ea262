"""Functions of single edges and atoms: against plain torch, and their analytic derivatives against differences."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from equireann_pyg.nn import CartesianMoments, OrbitalDensity, PairGaussians, SoftStandardize, SphericalHarmonics
from equireann_pyg.ops import by_reference, density, gaussians, polynomials, soft_standardize
from equireann_pyg.testing import assert_close, randomize
from tests.ops.threads import with_threads

pytestmark = pytest.mark.usefixtures("kernels")
ROW = torch.tensor([2, 0, 1, 1, 0, 2, 2])
SPECIES = torch.tensor([0, 2, 2, 0, 0])


def edges(n: int) -> tuple[Tensor, ...]:
    """Distances, envelope, centres and exponents."""
    return 3 * torch.rand(7), torch.rand(7), 3 * torch.rand(3, n), 0.2 + torch.rand(3, n)


def assert_same_with_derivatives(function: Callable[..., Tensor], inputs: list[Tensor], tolerance: float) -> None:
    """Values, gradients and second derivatives of the kernels are those of the plain path."""

    def everything() -> list[Tensor]:
        leaves = [x.detach().clone().requires_grad_() for x in inputs]
        value = function(*leaves)
        first = torch.autograd.grad(value.sin().sum(), leaves, create_graph=True)
        second = torch.autograd.grad(sum(g.square().sum() for g in first), leaves)
        return [value, *first, *second]

    actual = everything()
    with by_reference():
        expected = everything()
    for k, (mine, theirs) in enumerate(zip(actual, expected, strict=True)):
        assert_close(mine.detach(), theirs.detach(), tolerance, f"tensor {k}", smallest=1e-6)


@pytest.mark.parametrize("n", [1, 3, 4, 8, 16])
def test_gaussians(n: int, dtype: torch.dtype) -> None:
    r, envelope, _, _ = edges(n)
    radial, species = PairGaussians(n, 2, 4.0), torch.tensor([0, 1, 1, 0, 1, 0, 0])
    tables = dict(radial.named_parameters())

    def function(r: Tensor, envelope: Tensor, *values: Tensor) -> Tensor:
        named = dict(zip(tables, values, strict=True))
        return torch.func.functional_call(radial, named, (r, species, species.flip(0), envelope))

    assert_same_with_derivatives(function, [r, envelope, *tables.values()], 2e-5 if dtype == torch.float32 else 1e-11)


def test_gaussians_by_differences(double: torch.dtype) -> None:
    inputs = [x.requires_grad_() for x in edges(3)]
    assert torch.autograd.gradcheck(lambda r, f, s, a: gaussians(r, f, ROW, s, a), inputs)
    assert torch.autograd.gradgradcheck(lambda r, f, s, a: gaussians(r, f, ROW, s, a), inputs)
    frozen = [inputs[0], inputs[1], inputs[2].detach(), inputs[3].detach()]  # as in inference
    assert torch.autograd.gradcheck(lambda r, f: gaussians(r, f, ROW, *frozen[2:]), frozen[:2])
    assert torch.autograd.gradgradcheck(lambda r, f: gaussians(r, f, ROW, *frozen[2:]), frozen[:2])


def test_exponential_in_float32_over_its_whole_range() -> None:
    r = torch.linspace(0, 12, 4001)
    ones, zeros = torch.ones_like(r), torch.zeros(1, 8)
    actual = gaussians(r, ones, torch.zeros(4001, dtype=torch.long), zeros, torch.ones(1, 8))[:, 0].double()
    expected = torch.exp(-r.double().square())
    large = expected > 1e-37
    assert bool((((actual - expected) / expected).abs()[large] < 1e-6 + 1.2e-7 * r.double().square()[large]).all())
    assert float(actual[~large].max()) < 2e-37


@pytest.mark.parametrize("max_degree", [0, 1, 2, 3, 5])
@pytest.mark.parametrize("kind", [SphericalHarmonics, CartesianMoments])
def test_angular(kind: type[SphericalHarmonics], max_degree: int, dtype: torch.dtype) -> None:
    angular, vec = kind(max_degree), torch.randn(11, 3)

    def function(vec: Tensor) -> Tensor:
        return angular(vec, vec.norm(dim=-1))

    if max_degree:
        assert_same_with_derivatives(function, [vec], 1e-4 if dtype == torch.float32 else 1e-11)
    else:
        assert function(vec).flatten().tolist() == pytest.approx([1.0] * 11, rel=1e-6)


def test_polynomials_by_differences(double: torch.dtype) -> None:
    vec, combination = torch.randn(9, 3, requires_grad=True), torch.randn(20, 7)
    assert torch.autograd.gradcheck(lambda vec: polynomials(vec, combination, 3), vec)
    assert torch.autograd.gradgradcheck(lambda vec: polynomials(vec, combination, 3), vec)
    x, y, z = vec.detach().unbind(1)
    monomials = polynomials(vec.detach(), torch.eye(20), 3)
    assert torch.equal(monomials[:, :4], torch.stack([torch.ones(9), x, y, z], dim=1))
    assert_close(monomials[:, 14], x * y * z, 1e-14, "xyz")
    with pytest.raises(ValueError, match="degree of 0 to 8"):
        torch.ops.equireann.polynomials(vec, combination, 9)
    with pytest.raises(ValueError, match="expected a float64 combination"):
        polynomials(vec, combination, 2)


@pytest.mark.parametrize(("n", "k"), [(1, 1), (3, 5), (4, 12), (8, 64), (16, 16)])
def test_density(n: int, k: int, dtype: torch.dtype) -> None:
    layer, orbital = OrbitalDensity([1, 3, 5], n, k), torch.randn(6, 9, n)

    def function(orbital: Tensor, weight: Tensor) -> Tensor:
        return torch.func.functional_call(layer, {"weight": weight}, (orbital,))

    assert_same_with_derivatives(function, [orbital, layer.weight], 2e-4 if dtype == torch.float32 else 1e-11)


def test_density_by_differences(double: torch.dtype) -> None:
    orbital, weight = torch.randn(3, 4, 3, requires_grad=True), torch.randn(2, 3, 4, requires_grad=True)
    assert torch.autograd.gradcheck(lambda orbital, weight: density(orbital, weight, [1, 3]), (orbital, weight))
    assert torch.autograd.gradgradcheck(lambda orbital, weight: density(orbital, weight, [1, 3]), (orbital, weight))
    assert torch.autograd.gradgradcheck(lambda orbital: density(orbital, weight.detach(), [1, 3]), orbital)
    with pytest.raises(ValueError, match="do not fit"):
        density(orbital, weight, [1, 1])


@pytest.mark.parametrize("k", [1, 5, 8, 64])
def test_soft_features(k: int, dtype: torch.dtype) -> None:
    scaling, x = SoftStandardize(3, k), 30 * torch.randn(5, k)
    scaling.fit(torch.randn(90, k), torch.arange(90) % 3)
    assert_same_with_derivatives(lambda x: scaling(x, SPECIES), [x], 1e-4 if dtype == torch.float32 else 1e-11)


def test_soft_features_by_differences(double: torch.dtype) -> None:
    x, mean, scale = (20 * torch.randn(5, 4)).requires_grad_(), torch.randn(3, 4), 0.3 + torch.rand(3, 4)
    assert torch.autograd.gradcheck(lambda x: soft_standardize(x, SPECIES, mean, scale, 10.0), x)
    assert torch.autograd.gradgradcheck(lambda x: soft_standardize(x, SPECIES, mean, scale, 10.0), x)
    with pytest.raises(IndexError, match="species"):
        soft_standardize(x, SPECIES + 1, mean, scale, 10.0)


def test_asinh_in_float32_over_its_whole_range() -> None:
    u = torch.cat([torch.logspace(-6, 6, 4000), -torch.logspace(-6, 6, 4000)]).view(-1, 16)
    zeros, ones = torch.zeros(1, 16), torch.ones(1, 16)
    actual = soft_standardize(u, torch.zeros(len(u), dtype=torch.long), zeros, ones, 1.0).double()
    expected = torch.asinh(u.double())
    assert float(((actual - expected) / expected).abs().max()) < 1e-6


def test_no_edges_and_no_atoms() -> None:
    layer = OrbitalDensity([1, 3], 4, 8)
    assert layer(torch.zeros(0, 4, 4)).shape == (0, 8)
    assert SphericalHarmonics()(torch.zeros(0, 3), torch.zeros(0)).shape == (0, 9)
    empty = torch.zeros(0, dtype=torch.long)
    assert PairGaussians(4, 2, 3.0)(torch.zeros(0), empty, empty).shape == (0, 4)
    assert SoftStandardize(3, 4)(torch.zeros(0, 4), empty).shape == (0, 4)


def test_several_threads_give_the_same_bits() -> None:
    layer, orbital = OrbitalDensity([1, 3, 5], 8, 16), torch.randn(900, 9, 8)
    randomize(layer)

    def slopes() -> tuple[Tensor, ...]:
        leaf = orbital.clone().requires_grad_()
        return torch.autograd.grad(layer(leaf).sin().sum(), (leaf, layer.weight))

    for one, two in zip(*with_threads(slopes), strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("gaussians", (*edges(4)[:2], ROW, *edges(4)[2:])),
        ("polynomials", (torch.ones(5, 3), torch.ones(10, 2, dtype=torch.float64), 2)),
        ("density", (torch.ones(3, 4, 2), torch.ones(2, 2, 8), [1, 3])),
        ("soft_standardize", (torch.ones(5, 4), SPECIES, torch.zeros(3, 4), torch.ones(3, 4), 10.0)),
    ],
)
def test_operators_tell_torch_the_truth(name: str, arguments: tuple[object, ...]) -> None:
    floats = [x.requires_grad_() if isinstance(x, Tensor) and x.is_floating_point() else x for x in arguments]
    constant = {"soft_standardize": (2, 3), "polynomials": (1,)}.get(name, ())
    arguments = tuple(x.detach() if k in constant else x for k, x in enumerate(floats))
    torch.library.opcheck(getattr(torch.ops.equireann, name).default, arguments)
