r"""Smooth cutoff envelopes :math:`f(r)`: one at the centre, zero with several derivatives at the cutoff."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from equireann_pyg.nn.plan import Plan


def cosine_cutoff(r: Tensor, cutoff: float) -> Tensor:
    r"""The envelope of EANN and EquiREANN, :math:`f(r) = \cos^4(\pi r / 2 r_c)` for :math:`r < r_c`, else 0.

    Three continuous derivatives at the cutoff. Source: Zhang, Hu, Jiang, J. Phys. Chem. Lett. 2019, 10, 4962.

    Args:
        r: distances in Angstrom, any shape.
        cutoff: :math:`r_c` in Angstrom.

    Returns:
        Envelope, same shape as ``r``.
    """
    f = torch.cos(0.5 * math.pi * r / cutoff).square().square()
    return torch.where(r < cutoff, f, torch.zeros_like(f))


def polynomial_cutoff(r: Tensor, cutoff: float, p: int = 6) -> Tensor:
    r"""Polynomial envelope, flat at the origin, with two continuous derivatives at the cutoff.

    .. math:: f(x) = 1 - \tfrac{(p+1)(p+2)}{2} x^p + p(p+2) x^{p+1} - \tfrac{p(p+1)}{2} x^{p+2}, \quad x = r/r_c.

    Source: Gasteiger, Gross, Guennemann, ICLR 2020 (DimeNet), eq. 8.

    Args:
        r: distances in Angstrom, any shape.
        cutoff: :math:`r_c` in Angstrom.
        p: exponent; larger keeps the envelope near one for longer.

    Returns:
        Envelope, same shape as ``r``.
    """
    x = r / cutoff
    bracket = 0.5 * (p + 1) * (p + 2) - p * (p + 2) * x + 0.5 * p * (p + 1) * x * x
    return torch.where(x < 1, 1 - x.pow(p) * bracket, torch.zeros_like(x))


class Envelope(Plan):
    """Base class of envelopes: ``forward(r [E], cutoff) -> f [E]``; the model owns the cutoff."""

    def forward(self, r: Tensor, cutoff: float) -> Tensor:
        """Evaluate the envelope at distances ``r`` in Angstrom."""
        raise TypeError(f"{type(self).__name__} must define forward(r, cutoff)")


class CosineCutoff(Envelope):
    r"""Module form of :func:`cosine_cutoff` (the paper's envelope)."""

    def forward(self, r: Tensor, cutoff: float) -> Tensor:
        """Fourth power of a quarter wave of the cosine, ``[E]``."""
        return cosine_cutoff(r, cutoff)


class PolynomialCutoff(Envelope):
    """Module form of :func:`polynomial_cutoff`.

    Args:
        p: exponent, at least 2.

    Raises:
        ValueError: if ``p`` is less than 2.
    """

    def __init__(self, p: int = 6) -> None:
        super().__init__()
        if p < 2:
            raise ValueError(f"PolynomialCutoff: expected p >= 2 for smooth forces, got p={p}")
        self.p = p

    def forward(self, r: Tensor, cutoff: float) -> Tensor:
        """One minus the polynomial of the distance, ``[E]``."""
        return polynomial_cutoff(r, cutoff, self.p)


class DecayingCutoff(PolynomialCutoff):
    r"""Polynomial envelope times a decay, :math:`f(r) \to f(r)\, [1 + (r / r_0)^2]^{-m/2}`: near neighbours count most.

    There are more neighbours the farther one looks, and each matters less. Without a decay the many far ones make most of
    an orbital, and a model learns accidents of its training set from them.
    Source of the idea: Willatt, Musil, Ceriotti, Phys. Chem. Chem. Phys. 2018, 20, 29661 (radial scaling).

    Args:
        p: exponent of the polynomial, at least 2.
        power: m, positive; far out the decay is :math:`r^{-m}`.
        length: :math:`r_0` in Angstrom.

    Raises:
        ValueError: if ``p`` is less than 2, or ``power`` or ``length`` is not positive.
    """

    def __init__(self, p: int = 6, power: float = 4.0, length: float = 1.5) -> None:
        super().__init__(p)
        if not (power > 0 and length > 0):
            raise ValueError(f"DecayingCutoff: expected positive power and length, got {power} and {length} Angstrom")
        self.power, self.length = float(power), float(length)

    def forward(self, r: Tensor, cutoff: float) -> Tensor:
        """Polynomial times decay, ``[E]``."""
        return super().forward(r, cutoff) * (1 + (r / self.length).square()).pow(-0.5 * self.power)
