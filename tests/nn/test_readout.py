from __future__ import annotations

import pytest
import torch

from equireann_pyg.nn import CartesianMoments, SphericalHarmonics
from equireann_pyg.nn.layout import Layout
from equireann_pyg.nn.readout import ScalarReadout, TensorReadout, VectorReadout, first_moment, second_moment
from equireann_pyg.testing import random_orthogonal, randomize, representation

ATOMS, RADIAL, DENSITY = 7, 4, 6
ANGULAR = [SphericalHarmonics, CartesianMoments]


def layout_of(angular):
    return Layout(tuple(angular.components), RADIAL, 2, isinstance(angular, CartesianMoments))


def inputs(angular):
    return torch.rand(ATOMS, DENSITY), torch.randn(ATOMS, sum(angular.components), RADIAL), torch.arange(ATOMS) % 2


@pytest.mark.parametrize("kind", ANGULAR)
def test_moments_of_one_vector(kind, double):
    angular, vec = kind(3, unit=False), torch.randn(5, 3)
    orbital = angular(vec, vec.norm(dim=1)).unsqueeze(-1)  # -> [5, lm, 1]
    torch.testing.assert_close(first_moment(orbital, layout_of(angular)).squeeze(-1), vec)
    outer = vec.unsqueeze(1) * vec.unsqueeze(2) - vec.square().sum(1).view(-1, 1, 1) * torch.eye(3) / 3
    rows, columns = [0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]
    torch.testing.assert_close(second_moment(orbital, layout_of(angular)).squeeze(-1), outer[:, rows, columns])


@pytest.mark.parametrize("reflect", [False, True])
@pytest.mark.parametrize("angular", [SphericalHarmonics(2), SphericalHarmonics(3), CartesianMoments(2)], ids=repr)
def test_readouts_turn_with_the_orbitals(angular, reflect, double):
    q = random_orthogonal(seed=5, reflect=reflect)
    density, orbital, species = inputs(angular)
    turned = representation(angular, q) @ orbital
    layout = layout_of(angular)
    for readout in (ScalarReadout(layout, DENSITY), VectorReadout(layout, DENSITY), TensorReadout(layout, DENSITY)):
        randomize(readout)
        readout.fit(density, orbital, species)
        before, after = readout(density, orbital, species), readout(density, turned, species)
        expected = before @ q.T if before.size(-1) == 3 else before
        if before.dim() == 3:
            expected = q @ expected
            assert torch.equal(before, before.mT)
            assert float((before - torch.diag_embed(before.diagonal(dim1=1, dim2=2))).detach().abs().max()) > 1e-2
        torch.testing.assert_close(after, expected, rtol=1e-10, atol=1e-10 * float(before.detach().abs().max()))
        assert float(before.detach().abs().max()) > 1e-2


def test_readouts_are_zero_at_the_start_and_learn(dtype):
    angular = SphericalHarmonics()
    layout, (density, orbital, species) = layout_of(angular), inputs(angular)
    for readout in (ScalarReadout(layout, DENSITY), VectorReadout(layout, DENSITY), TensorReadout(layout, DENSITY)):
        value = readout(density, orbital, species)
        assert value.dtype == dtype
        assert not bool(value.any())
        (value * torch.randn_like(value)).sum().backward()
        assert any(p.grad is not None and bool(p.grad.any()) for p in readout.parameters())


def test_size_of_the_orbitals_does_not_matter(double):
    angular = SphericalHarmonics()
    density, orbital, species = inputs(angular)
    readout = VectorReadout(layout_of(angular), DENSITY)
    randomize(readout)
    values = []
    for factor in (1.0, 250.0):
        readout.fit(density, factor * orbital, species)
        values.append(readout(density, factor * orbital, species))
    torch.testing.assert_close(values[0], values[1], rtol=1e-10, atol=0)
    readout.reset_parameters()
    assert bool((readout.size == 1).all())
    readout.fit(density, torch.zeros_like(orbital), species)  # nothing to read: isolated atoms
    assert bool(torch.isfinite(readout(density, torch.zeros_like(orbital), species)).all())


@pytest.mark.parametrize(("kind", "degree"), [(VectorReadout, 0), (TensorReadout, 1)])
def test_orbitals_of_too_low_a_degree(kind, degree):
    with pytest.raises(ValueError, match=f"{kind.__name__} reads degree {degree + 1} of the orbitals, which end at"):
        kind(layout_of(SphericalHarmonics(degree)), DENSITY)
