"""Envelopes: value, smoothness at the cutoff, exactly zero beyond it."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from equireann_pyg.nn import CosineCutoff, DecayingCutoff, Envelope, PolynomialCutoff, cosine_cutoff, polynomial_cutoff
from equireann_pyg.testing import assert_close

ENVELOPES = [(CosineCutoff(), 3), (PolynomialCutoff(), 2), (PolynomialCutoff(3), 2), (DecayingCutoff(), 2)]
CUTOFF = 3.0


def derivatives(envelope: Envelope, r: float, highest: int) -> list[float]:
    """Value and derivatives at ``r`` in units of the cutoff, by repeated differentiation."""
    x = torch.tensor([r * CUTOFF], dtype=torch.float64, requires_grad=True)
    values: list[Tensor] = [envelope(x, CUTOFF)]
    for _ in range(highest):
        values.append(torch.autograd.grad(values[-1].sum(), x, create_graph=True)[0])
    return [float(value.detach()) * CUTOFF**order for order, value in enumerate(values)]


def test_values(dtype: torch.dtype) -> None:
    r = torch.linspace(0.0, 0.999 * CUTOFF, 50)
    x = r / CUTOFF
    assert_close(cosine_cutoff(r, CUTOFF), ((1 + torch.cos(math.pi * x)) / 2) ** 2, 1e-6, "cosine cutoff")
    expected = 1 - 28 * x**6 + 48 * x**7 - 21 * x**8
    assert_close(polynomial_cutoff(r, CUTOFF), expected, 1e-5, "polynomial cutoff")
    assert cosine_cutoff(r, CUTOFF).dtype == dtype


@pytest.mark.parametrize(("envelope", "smooth"), ENVELOPES)
def test_derivatives_at_the_cutoff(envelope: Envelope, smooth: int) -> None:
    just_inside = derivatives(envelope, 1 - 1e-7, smooth + 1)
    assert max(abs(value) for value in just_inside[: smooth + 1]) < 1e-4
    assert abs(just_inside[smooth + 1]) > 1


@pytest.mark.parametrize(("envelope", "smooth"), ENVELOPES)
@pytest.mark.parametrize("r", [1.0, 1.3, 2.0, 3.0, 100.0])
def test_exactly_zero_beyond_the_cutoff(envelope: Envelope, smooth: int, r: float) -> None:
    assert derivatives(envelope, r, smooth) == [0.0] * (smooth + 1)


@pytest.mark.parametrize(("envelope", "_smooth"), ENVELOPES)
def test_falls_from_one_to_zero(envelope: Envelope, _smooth: int) -> None:
    f = envelope(torch.linspace(0, CUTOFF, 200, dtype=torch.float64), CUTOFF)
    assert f[0] == 1.0
    assert f[-1] == 0.0
    assert bool((f.diff() <= 1e-14).all())


@pytest.mark.parametrize(("envelope", "_smooth"), ENVELOPES)
def test_gradcheck(envelope: Envelope, _smooth: int) -> None:
    r = torch.tensor([0.2, 1.1, 2.3, 2.9, 3.4], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: envelope(x, CUTOFF), r)
    assert torch.autograd.gradgradcheck(lambda x: envelope(x, CUTOFF), r)


def test_exponent_must_be_at_least_two() -> None:
    with pytest.raises(ValueError, match=r"p >= 2.*got p=1"):
        PolynomialCutoff(1)


def test_decay_must_be_positive() -> None:
    for arguments in ({"power": 0.0}, {"length": -1.0}):
        with pytest.raises(ValueError, match="expected positive power and length"):
            DecayingCutoff(**arguments)


def test_decay() -> None:
    f = DecayingCutoff(power=3, length=0.5)(torch.tensor([0.5, 1.0], dtype=torch.float64), CUTOFF)
    expected = (
        polynomial_cutoff(torch.tensor([0.5, 1.0], dtype=torch.float64), CUTOFF) * torch.tensor([2.0, 5.0]) ** -1.5
    )
    assert_close(f, expected, 1e-6, "decaying cutoff")


def test_grammar() -> None:
    assert repr(DecayingCutoff(5, 3, 2)) == "DecayingCutoff(p=5, power=3, length=2)"
    assert DecayingCutoff(5, 3, 2).config == {"p": 5, "power": 3.0, "length": 2.0}
    assert repr(PolynomialCutoff(5)) == "PolynomialCutoff(p=5)"
    assert PolynomialCutoff(**PolynomialCutoff(5).config).p == 5
    assert CosineCutoff().config == {}
    with pytest.raises(TypeError, match="Envelope must define forward"):
        Envelope()(torch.ones(2), 3.0)
