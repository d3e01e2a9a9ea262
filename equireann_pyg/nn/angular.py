r"""Angular parts :math:`Y(\mathbf r)` of the atomic orbitals: real spherical harmonics or Cartesian moments.

Components are grouped by degree, l = 0..L, and within one degree ordered as follows.

===  ========================================  ===========================================================
 l   :class:`SphericalHarmonics`               :class:`CartesianMoments`
===  ========================================  ===========================================================
 0   1                                         1
 1   y, z, x  (m = -1, 0, 1)                   x, y, z
 2   xy, yz, 3z²-r², xz, x²-y²  (m = -2..2)    xx, √2 xy, √2 xz, yy, √2 yz, zz
 l   m = -l..l: sin-like for m < 0,            powers of x descending, then of y; times the root of the
     cos-like for m > 0                        number of orders of the factors
===  ========================================  ===========================================================

Harmonics are real, about the axis z, without Condon-Shortley phase: near the axis +z those of m >= 0 are positive at azimuth 0,
and those of m < 0 at small positive azimuths. Harmonics of e3nn are the same functions about the axis y, :math:`Y_l(z, x, y)`,
so that its l = 1 is (x, y, z); signs and norms agree. In e3nn the components come behind the channels, here before them.
:func:`~equireann_pyg.nn.to_e3nn` and :func:`~equireann_pyg.nn.from_e3nn` convert orbitals.
"""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor

from equireann_pyg.nn.exact import ExactBuffers
from equireann_pyg.nn.plan import Plan
from equireann_pyg.ops import polynomials
from equireann_pyg.ops.polynomials import powers_of


def solid_harmonics(vec: Tensor, max_degree: int) -> Tensor:
    r"""Real solid harmonics :math:`r^l Y_{lm}(\hat r)` for l = 0..L, orthonormal on the unit sphere.

    Polynomials in x, y, z, so smooth everywhere. Order within each l: m = -l..l, without Condon-Shortley phase:
    l = 1 is (y, z, x). :math:`\sum_m Y_{lm}^2 = (2l+1)/4\pi` on unit vectors. Recursion: Helgaker, Jorgensen,
    Olsen, Molecular Electronic-Structure Theory, section 6.4.

    Args:
        vec: vectors ``[E, 3]``.
        max_degree: L, inclusive.

    Returns:
        ``[E, (L+1)^2]``
    """
    x, y, z = vec.unbind(-1)
    r2 = vec.square().sum(-1)
    cosine, sine = [torch.ones_like(x)], [torch.zeros_like(x)]  # Re, Im of (x + iy)^m
    for _ in range(max_degree):
        next_cosine = x * cosine[-1] - y * sine[-1]
        sine.append(x * sine[-1] + y * cosine[-1])
        cosine.append(next_cosine)
    columns: dict[tuple[int, int], Tensor] = {}
    for m in range(max_degree + 1):
        legendre = _associated_legendre(m, max_degree, z, r2)
        for degree, value in zip(range(m, max_degree + 1), legendre, strict=True):
            norm = _normalisation(degree, m)
            columns[degree, m] = norm * value * cosine[m]
            if m:
                columns[degree, -m] = norm * value * sine[m]
    order = [(degree, m) for degree in range(max_degree + 1) for m in range(-degree, degree + 1)]
    return torch.stack([columns[key] for key in order], dim=-1)  # -> [E, (L+1)^2]


def _associated_legendre(m: int, max_degree: int, z: Tensor, r2: Tensor) -> list[Tensor]:
    """Legendre functions without their (x^2 + y^2)^(m/2), made homogeneous, for l = m..max_degree."""
    values = [torch.full_like(z, float(math.prod(range(1, 2 * m, 2))))]
    if max_degree > m:
        values.append((2 * m + 1) * z * values[0])
    for degree in range(m + 2, max_degree + 1):
        step = (2 * degree - 1) * z * values[-1] - (degree + m - 1) * r2 * values[-2]
        values.append(step / (degree - m))
    return values


def _normalisation(degree: int, m: int) -> float:
    ratio = math.factorial(degree - m) / math.factorial(degree + m)
    return math.sqrt((2 if m else 1) * (2 * degree + 1) / (4 * math.pi) * ratio)


def cartesian_moments(vec: Tensor, max_degree: int) -> Tensor:
    r"""Monomials :math:`\sqrt{l!/(l_x! l_y! l_z!)}\, x^{l_x} y^{l_y} z^{l_z}` for l = 0..L.

    The root of the multinomial weight makes the plain sum of squares over one l equal to the sum over all
    :math:`3^l` components of the outer power of ``vec``, with (L+1)(L+2)(L+3)/6 components instead.

    Args:
        vec: vectors ``[E, 3]``.
        max_degree: L, inclusive.

    Returns:
        ``[E, (L+1)(L+2)(L+3)/6]``
    """
    return polynomials(vec, _multinomial_weights(max_degree).diag().to(vec.device), max_degree)


def _multinomial_weights(max_degree: int) -> Tensor:
    factorial = math.factorial
    squares = [factorial(sum(p)) / math.prod(map(factorial, p)) for p in powers_of(max_degree)]
    return torch.tensor(squares, dtype=torch.float64).sqrt()


@cache
def _harmonics_of_monomials(max_degree: int) -> Tensor:
    r"""Coefficients of :math:`\sqrt{4\pi}\, r^l Y_{lm}` in the unweighted monomials, ``[(L+1)(L+2)(L+3)/6, (L+1)^2]``."""
    points = torch.randn(
        4 * len(powers_of(max_degree)), 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    monomials = polynomials(points, torch.eye(len(powers_of(max_degree)), dtype=torch.float64), max_degree)
    values = math.sqrt(4 * math.pi) * solid_harmonics(points, max_degree)
    matrix = torch.linalg.lstsq(monomials, values).solution
    return torch.where(matrix.abs() > 1e-9, matrix, torch.zeros_like(matrix))


class Angular(Plan, ExactBuffers):
    """Base class of angular parts: ``forward(vec [E, 3], r [E]) -> [E, lm]``, components grouped by l.

    Args:
        max_degree: L, inclusive.
        unit: use the unit vector (default) or the raw vector in Angstrom, as REANN does.

    Raises:
        ValueError: if ``max_degree`` is negative.
    """

    _combination: Tensor
    """Angular part in terms of monomials, float64."""

    def __init__(self, max_degree: int = 2, unit: bool = True) -> None:
        super().__init__()
        if max_degree < 0:
            raise ValueError(f"{type(self).__name__}: expected max_degree >= 0, got {max_degree}")
        self.max_degree = max_degree
        self.unit = unit

    @property
    def components(self) -> list[int]:
        """Number of components of each l = 0..L."""
        raise TypeError(f"{type(self).__name__} must define components")

    def polynomials(self, vec: Tensor) -> Tensor:
        """Homogeneous polynomials of ``vec [E, 3]`` -> ``[E, lm]``, from their coefficients in the monomials."""
        if not hasattr(self, "_combination"):
            raise TypeError(f"{type(self).__name__} must define polynomials(vec)")
        return polynomials(vec, self._combination, self.max_degree)

    def forward(self, vec: Tensor, r: Tensor) -> Tensor:
        """Evaluate on edge vectors ``vec`` of length ``r``."""
        return self.polynomials(vec / r.unsqueeze(-1) if self.unit else vec)


class SphericalHarmonics(Angular):
    r"""Module form of :func:`solid_harmonics`, rescaled so that :math:`\sum_m Y_{lm}^2 = 2l + 1` on unit vectors.

    The factor :math:`\sqrt{4\pi}` gives every component unit variance over the sphere.
    """

    exact = ("_combination",)
    _combination: Tensor  # of the monomials

    @property
    def components(self) -> list[int]:
        """2l + 1 for each l."""
        return [2 * degree + 1 for degree in range(self.max_degree + 1)]

    def __init__(self, max_degree: int = 2, unit: bool = True) -> None:
        super().__init__(max_degree, unit)
        self.register_buffer("_combination", _harmonics_of_monomials(max_degree), persistent=False)


class CartesianMoments(Angular):
    """Module form of :func:`cartesian_moments` (EANN, REANN and the original EquiREANN code)."""

    exact = ("_combination",)
    _combination: Tensor  # of the monomials

    @property
    def components(self) -> list[int]:
        """(l+1)(l+2)/2 for each l."""
        return [(degree + 1) * (degree + 2) // 2 for degree in range(self.max_degree + 1)]

    def __init__(self, max_degree: int = 2, unit: bool = True) -> None:
        super().__init__(max_degree, unit)
        self.register_buffer("_combination", _multinomial_weights(max_degree).diag(), persistent=False)
