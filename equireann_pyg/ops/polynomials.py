r"""Polynomials of edge vectors: real solid harmonics, Cartesian moments."""

from __future__ import annotations

import torch
from torch import Tensor

from equireann_pyg.ops.differentiable import twice_differentiable

MAX_DEGREE = 8
"""Highest degree that the compiled kernel takes."""


def powers_of(max_degree: int) -> list[tuple[int, int, int]]:
    """Powers (i, j, k) of the monomials :math:`x^i y^j z^k`: degree by degree, within one i falls slowest, then j."""
    return [
        (i, j, degree - i - j)
        for degree in range(max_degree + 1)
        for i in range(degree, -1, -1)
        for j in range(degree - i, -1, -1)
    ]


@twice_differentiable(fields="vec", apart="combination", limit=lambda vec, table, degree: degree <= MAX_DEGREE)
def polynomials(vec: Tensor, combination: Tensor, max_degree: int) -> Tensor:
    """Linear combinations of the monomials :math:`x^i y^j z^k`, i + j + k = 0..L.

    Args:
        vec: ``[E, 3]``.
        combination: weights ``[(L+1)(L+2)(L+3)/6, m]`` of the monomials in the order of :func:`powers_of`, float64, constant.
        max_degree: L, inclusive.

    Returns:
        ``[E, m]``
    """
    powers = [torch.ones_like(vec, dtype=combination.dtype)]
    for _ in range(max_degree):
        powers.append(powers[-1] * vec)
    monomials = [powers[i][..., 0] * powers[j][..., 1] * powers[k][..., 2] for i, j, k in powers_of(max_degree)]
    return (torch.stack(monomials, dim=-1) @ combination).to(vec.dtype)
