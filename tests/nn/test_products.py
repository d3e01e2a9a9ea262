"""Power spectrum and ACE-like products against their formulae."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from torch import Tensor

from equireann_pyg.nn import (
    ACEProducts,
    CartesianMoments,
    Descriptor,
    PowerSpectrum,
    ScaledLinear,
    ScaledSelfCoupling,
    SphericalHarmonics,
    clebsch_gordan,
)
from equireann_pyg.nn.scaling import calibrate, degree_scale
from equireann_pyg.ops import by_reference
from equireann_pyg.testing import assert_close
from tests.nn.test_descriptor import SPECIES, built

HARMONICS = SphericalHarmonics(2)
DEGREE = [0, 1, 1, 1, 2, 2, 2, 2, 2]
PATHS = pytest.mark.parametrize("plain", [False, True], ids=["kernels", "plain"])


def prepared(plan: Descriptor) -> tuple[Descriptor, Tensor, Tensor]:
    """Descriptor with scales unlike one, orbitals, and these scaled and mixed by hand."""
    descriptor, orbital = built(plan, HARMONICS), torch.randn(6, 9, 4)
    for part in descriptor.modules():
        if isinstance(part, ScaledLinear | ScaledSelfCoupling):
            part.scale.uniform_(0.5, 2.0)
    scaled = orbital / descriptor.mix.scale[DEGREE].unsqueeze(1)
    mixed = torch.einsum("imn,mnk->imk", scaled, descriptor.mix.weight[DEGREE]) / 2
    return descriptor, orbital, mixed


def by_degree(orbital: Tensor) -> list[Tensor]:
    return list(orbital.split([1, 3, 5], dim=1))


@PATHS
def test_power_spectrum(plain: bool, double: torch.dtype) -> None:
    descriptor, orbital, mixed = prepared(PowerSpectrum(3))
    expected = [
        (part[..., first] * part[..., second]).sum(1)
        for part in by_degree(mixed)
        for first in range(3)
        for second in range(first, 3)
    ]
    assert descriptor.num_features == 18
    with by_reference() if plain else nullcontext():
        assert_close(descriptor(orbital, SPECIES), torch.stack(expected, dim=1), 1e-12, "power spectrum")


def product_of(descriptor: Descriptor, mixed: Tensor) -> Tensor:
    """Product of the mixed orbital with itself by dense coefficients, before its scale."""
    product, parts = torch.zeros_like(mixed), by_degree(mixed)
    for p, (l1, l2, l3) in enumerate(descriptor.coupling.paths):
        term = torch.einsum("abc,iak,ibk->ick", clebsch_gordan(l1, l2, l3), parts[l1], parts[l2])
        product[:, l3**2 : (l3 + 1) ** 2] += descriptor.coupling.weight[SPECIES, p].unsqueeze(1) * term
    return product


@PATHS
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_products_of_each_order(order: int, plain: bool, double: torch.dtype) -> None:
    descriptor, orbital, mixed = prepared(ACEProducts(3, order))
    expected = [mixed[:, 0]]
    if order > 1:
        expected += [part.square().sum(1) for part in by_degree(mixed)]
    if order > 2:
        product = product_of(descriptor, mixed) / descriptor.coupling.scale[DEGREE].unsqueeze(1)
        expected += [(a * b).sum(1) for a, b in zip(by_degree(mixed), by_degree(product), strict=True)]
    if order > 3:
        expected += [part.square().sum(1) for part in by_degree(product)]
    assert descriptor.num_features == 3 * len(expected)
    with by_reference() if plain else nullcontext():
        features = descriptor(orbital, SPECIES)
    assert_close(features, torch.cat(expected, dim=1), 1e-12, f"products up to order {order}")


@PATHS
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_products_take_their_scales_from_a_training_set(order: int, plain: bool, double: torch.dtype) -> None:
    """Also where a kernel makes all products at once and calls no part."""
    descriptor, _, _ = prepared(ACEProducts(3, order))
    orbital = 5 * torch.randn(6, 9, 4) * torch.tensor([0.5, 1.0, 2.0, 1.5])
    with by_reference() if plain else nullcontext():
        calibrate(descriptor, orbital, SPECIES)
    assert_close(descriptor.mix.scale, degree_scale(orbital, (1, 3, 5)), 1e-13, "scale of the orbital")
    assert hasattr(descriptor, "coupling") == (order > 2)
    if order > 2:
        mixed = descriptor.mix(orbital)
        expected = degree_scale(product_of(descriptor, mixed), (1, 3, 5))
        assert_close(descriptor.coupling.scale, expected, 1e-12, "scale of the product")
        size = descriptor.coupling(mixed, SPECIES).square().mean()
        assert_close(size, torch.tensor(1.0), 1e-12, "mean square of the product")
    stored = {name: value.clone() for name, value in descriptor.state_dict().items()}
    descriptor.fit(orbital, SPECIES)  # by hand, and whatever the scales were
    for name, value in descriptor.state_dict().items():
        assert_close(value, stored[name], 1e-12, name)


def test_transforms_of_torch_func_take_the_reference(double: torch.dtype) -> None:
    descriptor, orbital, _ = prepared(ACEProducts(3))
    along, step = torch.randn(6, 9, 4), 1e-4
    _, slope = torch.func.jvp(lambda x: descriptor(x, SPECIES), (orbital,), (along,))
    difference = descriptor(orbital + step * along, SPECIES) - descriptor(orbital - step * along, SPECIES)
    assert_close(slope, difference / (2 * step), 1e-7, "slope")


@pytest.mark.parametrize("order", [0, 5])
def test_impossible_orders(order: int) -> None:
    with pytest.raises(ValueError, match=f"expected an order from 1 to 4, got {order}"):
        ACEProducts(order=order)


def test_products_need_harmonics() -> None:
    with pytest.raises(ValueError, match="ACEProducts needs spherical harmonics"):
        built(ACEProducts(), CartesianMoments(2))
    assert built(PowerSpectrum(2), CartesianMoments(2)).num_features == 9
