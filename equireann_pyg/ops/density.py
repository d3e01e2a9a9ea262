r"""Densities of contracted orbitals of atoms."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from equireann_pyg.ops.differentiable import twice_differentiable

MAX_RADIAL = 128
"""Largest number of radial channels that the compiled kernel takes."""


@twice_differentiable(
    fields="orbital", weights="weight", limit=lambda orbital, weight, components: weight.size(1) <= MAX_RADIAL
)
def density(orbital: Tensor, weight: Tensor, components: Sequence[int]) -> Tensor:
    r""":math:`\rho_k = \sum_l \sum_m (\sum_n \psi_{lm,n} W_{lnk})^2`.

    Args:
        orbital: ``[N, lm, n]``.
        weight: ``[L + 1, n, k]``.
        components: number of components of each l.

    Returns:
        ``[N, k]``
    """
    per_degree = orbital.split(list(components), dim=1)
    squares = [(psi @ W).square().sum(dim=1) for psi, W in zip(per_degree, weight, strict=True)]  # -> (L + 1) x [N, k]
    return torch.stack(squares).sum(dim=0)
