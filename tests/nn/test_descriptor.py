"""Descriptors in general; densities: closed form of one neighbour, loops, invariance."""

from __future__ import annotations

import copy
from contextlib import nullcontext

import pytest
import torch
from torch import Tensor

from equireann_pyg.nn import (
    ACEProducts,
    Angular,
    CartesianMoments,
    Density,
    Descriptor,
    Layout,
    MomentContractions,
    OrbitalConv,
    OrbitalDensity,
    PowerSpectrum,
    Shared,
    SphericalHarmonics,
)
from equireann_pyg.nn.scaling import calibrate
from equireann_pyg.ops import by_reference
from equireann_pyg.testing import assert_close, random_orthogonal, randomize, representation

ANGULAR = [SphericalHarmonics(3), CartesianMoments(2, unit=False)]
DESCRIPTORS: dict[str, tuple[Descriptor, Angular]] = {
    "density": (Density(6), SphericalHarmonics(2)),
    "density of moments": (Density(6), CartesianMoments(2)),
    "power spectrum": (PowerSpectrum(3), SphericalHarmonics(2)),
    "products": (ACEProducts(3), SphericalHarmonics(2)),
    "contractions": (MomentContractions(2), CartesianMoments(2)),
}
MORE = DESCRIPTORS | {
    "power spectrum of moments": (PowerSpectrum(3), CartesianMoments(3, unit=False)),
    "products of three": (ACEProducts(3, order=3), SphericalHarmonics(3)),
    "contractions of third degree": (MomentContractions(2), CartesianMoments(3, unit=False)),
}
SPECIES = torch.tensor([0, 1, 1, 0, 1, 0])


def layout_of(angular: Angular) -> Layout:
    """Orbitals of four radial channels and two elements."""
    return Layout(tuple(angular.components), 4, 2, isinstance(angular, CartesianMoments))


def built(plan: Descriptor, angular: Angular) -> Descriptor:
    """A built copy."""
    return plan.copies(layout_of(angular), 1)[0]


@pytest.fixture(params=MORE)
def case(request: pytest.FixtureRequest) -> tuple[Descriptor, Angular]:
    """Every descriptor, with an angular part."""
    return MORE[request.param]


@pytest.mark.parametrize("reflect", [False, True])
def test_every_descriptor_is_invariant(case: tuple[Descriptor, Angular], reflect: bool, dtype: torch.dtype) -> None:
    plan, angular = case
    descriptor, orbital = built(plan, angular), torch.randn(6, sum(angular.components), 4)
    matrix = representation(angular, random_orthogonal(reflect=reflect)).to(dtype)
    turned = matrix @ orbital
    assert not torch.allclose(turned, orbital, atol=0.1)
    expected = descriptor(orbital, SPECIES)
    assert expected.shape == (6, descriptor.num_features)
    for column, value in zip(descriptor(turned, SPECIES).T, expected.T, strict=True):
        assert_close(column, value, 2e-4 if dtype == torch.float32 else 1e-11, "feature", smallest=1e-3)


def test_every_descriptor_is_exact_after_a_change_of_type(case: tuple[Descriptor, Angular]) -> None:
    plan, angular = case
    descriptor, orbital = built(plan, angular).double(), torch.randn(6, sum(angular.components), 4).double()
    turned = representation(angular, random_orthogonal()) @ orbital
    assert_close(descriptor(turned, SPECIES), descriptor(orbital, SPECIES), 1e-11, "features")


def test_gradients_of_every_descriptor_on_both_paths(case: tuple[Descriptor, Angular], double: torch.dtype) -> None:
    plan, angular = case
    descriptor, orbital = built(plan, angular), torch.randn(2, sum(angular.components), 4, requires_grad=True)
    names = [name for name, _ in descriptor.named_parameters()]

    def function(orbital: Tensor, *values: Tensor) -> Tensor:
        parameters = dict(zip(names, values, strict=True))
        return torch.func.functional_call(descriptor, parameters, (orbital, SPECIES[:2]))

    arguments, expected = (orbital, *descriptor.parameters()), descriptor(orbital, SPECIES[:2])
    for plain in (False, True):
        with by_reference() if plain else nullcontext():
            assert_close(function(*arguments), expected, 1e-12, "features")
            assert torch.autograd.gradcheck(function, arguments, fast_mode=True)
            assert torch.autograd.gradgradcheck(function, arguments, fast_mode=True)


def test_every_parameter_of_every_descriptor_counts(case: tuple[Descriptor, Angular]) -> None:
    plan, angular = case
    assert not list(plan.parameters())
    descriptor = built(plan, angular)
    randomize(descriptor)
    descriptor(torch.randn(6, sum(angular.components), 4), SPECIES).square().sum().backward()
    for name, parameter in descriptor.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.flatten(1).any(1).all()), name


def test_every_descriptor_is_reset_and_rebuilt(case: tuple[Descriptor, Angular]) -> None:
    plan, angular = case
    descriptor, twin = built(plan, angular), built(type(plan)(**plan.config), angular)
    before = copy.deepcopy(descriptor.state_dict())
    descriptor.reset_parameters()
    assert {key: value.shape for key, value in twin.state_dict().items()} == {k: v.shape for k, v in before.items()}
    for name, parameter in descriptor.named_parameters():
        assert not torch.equal(parameter, before[name]), name
    assert descriptor(torch.zeros(0, sum(angular.components), 4), SPECIES[:0]).shape == (0, descriptor.num_features)


def test_statistics_of_every_descriptor(case: tuple[Descriptor, Angular], double: torch.dtype) -> None:
    """The same on both paths, the size of the orbitals taken off, part of a checkpoint, and gone after a reset."""
    plan, angular = case
    descriptor, orbital = built(plan, angular), torch.randn(6, sum(angular.components), 4)
    twin = copy.deepcopy(descriptor)
    calibrate(descriptor, 7 * orbital, SPECIES)
    with by_reference():
        calibrate(twin, 7 * orbital, SPECIES)
    scales = [name for name in descriptor.state_dict() if name.endswith("scale")]
    assert bool(scales) == (not isinstance(plan, Density))
    for name in scales:
        assert_close(descriptor.state_dict()[name], twin.state_dict()[name], 1e-12, name)
    features = descriptor(7 * orbital, SPECIES)
    calibrate(twin, orbital, SPECIES)
    if scales:
        assert_close(twin(orbital, SPECIES), features, 1e-11, "features of smaller orbitals")
    twin.load_state_dict(descriptor.state_dict())
    assert torch.equal(twin(7 * orbital, SPECIES), features)
    twin.reset_parameters()
    for name in scales:
        assert torch.equal(twin.state_dict()[name], torch.ones_like(twin.state_dict()[name])), name


def test_copies_are_apart_unless_shared() -> None:
    layout = layout_of(SphericalHarmonics(2))
    first, second = PowerSpectrum(3).copies(layout, 2)
    assert not torch.equal(first.mix.weight, second.mix.weight)
    shared = Shared(PowerSpectrum(3)).copies(layout, 3)
    assert len(shared) == 3
    assert shared[0] is shared[1] is shared[2]


def test_a_descriptor_must_say_what_it_does() -> None:
    with pytest.raises(TypeError, match=r"Descriptor must define build\(layout\)"):
        built(Descriptor(), SphericalHarmonics(2))
    with pytest.raises(TypeError, match=r"Descriptor must define forward\(orbital, species\)"):
        Descriptor()(torch.zeros(1, 9, 4), SPECIES[:1])


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
