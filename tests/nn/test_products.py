"""Power spectrum and ACE-like products against their formulae."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from equireann_pyg.nn import (
    ACEProducts,
    CartesianMoments,
    Descriptor,
    PowerSpectrum,
    SphericalHarmonics,
    clebsch_gordan,
)
from equireann_pyg.nn.linear import OrbitalScale
from equireann_pyg.testing import assert_close
from tests.nn.test_descriptor import SPECIES, built

HARMONICS = SphericalHarmonics(2)


def prepared(plan: Descriptor) -> tuple[Descriptor, Tensor, Tensor]:
    """Descriptor with scales unlike one, orbitals, and these scaled and mixed by hand."""
    descriptor, orbital = built(plan, HARMONICS), torch.randn(6, 9, 4)
    for part in descriptor.modules():
        if isinstance(part, OrbitalScale):
            part.scale.uniform_(0.5, 2.0)
    degree = torch.tensor([0, 1, 1, 1, 2, 2, 2, 2, 2])
    mixed = torch.einsum("imn,mnk->imk", orbital / descriptor.scale.scale[degree], descriptor.mix.weight[degree]) / 2
    return descriptor, orbital, mixed


def by_degree(orbital: Tensor) -> list[Tensor]:
    return list(orbital.split([1, 3, 5], dim=1))


def test_power_spectrum(double: torch.dtype) -> None:
    descriptor, orbital, mixed = prepared(PowerSpectrum(3))
    expected = [
        (part[..., first] * part[..., second]).sum(1)
        for part in by_degree(mixed)
        for first in range(3)
        for second in range(first, 3)
    ]
    assert descriptor.num_features == 18
    assert_close(descriptor(orbital, SPECIES), torch.stack(expected, dim=1), 1e-12, "power spectrum")


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_products_of_each_order(order: int, double: torch.dtype) -> None:
    descriptor, orbital, mixed = prepared(ACEProducts(3, order))
    expected = [mixed[:, 0]]
    if order > 1:
        expected += [part.square().sum(1) for part in by_degree(mixed)]
    if order > 2:
        product = torch.zeros_like(mixed)
        for p, (l1, l2, l3) in enumerate(descriptor.coupling.paths):
            parts = by_degree(mixed)
            term = torch.einsum("abc,iak,ibk->ick", clebsch_gordan(l1, l2, l3), parts[l1], parts[l2])
            product[:, l3**2 : (l3 + 1) ** 2] += descriptor.coupling.weight[SPECIES, p].unsqueeze(1) * term
        product = torch.cat(
            [part / scale for part, scale in zip(by_degree(product), descriptor.product_scale.scale, strict=True)],
            dim=1,
        )
        expected += [(a * b).sum(1) for a, b in zip(by_degree(mixed), by_degree(product), strict=True)]
    if order > 3:
        expected += [part.square().sum(1) for part in by_degree(product)]
    assert descriptor.num_features == 3 * len(expected)
    assert_close(descriptor(orbital, SPECIES), torch.cat(expected, dim=1), 1e-12, f"products up to order {order}")


@pytest.mark.parametrize("order", [0, 5])
def test_impossible_orders(order: int) -> None:
    with pytest.raises(ValueError, match=f"expected an order from 1 to 4, got {order}"):
        ACEProducts(order=order)


def test_products_need_harmonics() -> None:
    with pytest.raises(ValueError, match="ACEProducts needs spherical harmonics"):
        built(ACEProducts(), CartesianMoments(2))
    assert built(PowerSpectrum(2), CartesianMoments(2)).num_features == 9
