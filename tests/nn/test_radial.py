"""Radial functions: formula, which elements they depend on, parameters."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import softplus

from equireann_pyg.nn import ElementGaussians, GaussianRadial, PairGaussians
from equireann_pyg.testing import assert_close, randomize

KINDS = [ElementGaussians, PairGaussians]
R = [0.4, 1.0, 1.7, 2.6]
SPECIES_J, SPECIES_I = torch.tensor([0, 1, 1, 2]), torch.tensor([2, 0, 1, 1])


@pytest.mark.parametrize("kind", KINDS)
def test_gaussians(kind: type[GaussianRadial], dtype: torch.dtype) -> None:
    radial = kind(4, 3, 3.0)
    randomize(radial)
    actual = radial(torch.tensor(R), SPECIES_J, SPECIES_I)
    assert actual.dtype == dtype
    for edge, (r, j, i) in enumerate(zip(R, SPECIES_J.tolist(), SPECIES_I.tolist(), strict=True)):
        row = j if kind is ElementGaussians else 3 * i + j
        expected = torch.exp(-softplus(radial.raw_exponent[row]) * (r - radial.centre[row]) ** 2)
        assert_close(actual[edge], expected, 1e-6 if dtype == torch.float32 else 1e-14, f"edge {edge}")


def test_which_elements_matter() -> None:
    r, other = torch.tensor(R), (SPECIES_I + 1) % 3
    for kind in KINDS:
        radial = kind(4, 3, 3.0)
        randomize(radial)
        change = (radial(r, SPECIES_J, SPECIES_I) - radial(r, SPECIES_J, other)).abs().amax(1)
        assert bool((change == 0).all()) == (kind is ElementGaussians)
        swapped = (radial(r, SPECIES_J, SPECIES_I) - radial(r, SPECIES_I, SPECIES_J)).abs().amax(1)
        assert bool((swapped[[0, 1, 3]] > 1e-3).all())


@pytest.mark.parametrize("kind", KINDS)
def test_start(kind: type[GaussianRadial]) -> None:
    radial = kind(6, 2, 5.0)
    assert bool(((radial.centre > 0) & (radial.centre < 5.0)).all())
    assert bool((radial.centre.diff(dim=1) > 0).all())
    first = radial.centre.clone()
    radial.reset_parameters()
    assert not torch.equal(first, radial.centre)


@pytest.mark.parametrize("kind", KINDS)
def test_exponents_are_set_exactly_and_stay_positive(kind: type[GaussianRadial], dtype: torch.dtype) -> None:
    radial = kind(3, 2, 5.0)
    exponents = torch.tensor([0.01, 0.7, 30.0])
    radial.set_exponents(exponents)
    assert_close(softplus(radial.raw_exponent[0]), exponents, 1e-5 if dtype == torch.float32 else 1e-12, "exponents")
    torch.nn.init.constant_(radial.raw_exponent, -50.0)
    assert bool((radial(torch.tensor([100.0]), SPECIES_J[:1], SPECIES_J[:1]) <= 1).all())


@pytest.mark.parametrize("kind", KINDS)
def test_gradcheck(kind: type[GaussianRadial], double: torch.dtype) -> None:
    radial = kind(2, 3, 3.0)
    inputs = (torch.tensor(R, requires_grad=True), radial.centre, radial.raw_exponent)

    def function(r: torch.Tensor, centre: torch.Tensor, raw_exponent: torch.Tensor) -> torch.Tensor:
        parameters = {"centre": centre, "raw_exponent": raw_exponent}
        return torch.func.functional_call(radial, parameters, (r, SPECIES_J, SPECIES_I))

    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs)


def test_grammar() -> None:
    assert repr(PairGaussians(8, 2, 5.0)) == "PairGaussians(8, num_species=2, cutoff=5.0)"
    assert PairGaussians(8, 3, 5.0).centre.shape == (9, 8)
    with pytest.raises(TypeError, match="GaussianRadial must define row"):
        GaussianRadial(2, 1, 3.0, 1)(torch.ones(1), SPECIES_J[:1], SPECIES_J[:1])
