r"""Standardised features of atoms that grow only logarithmically far outside of their usual range."""

from __future__ import annotations

import torch
from torch import Tensor

from equireann_pyg.ops.differentiable import twice_differentiable


@twice_differentiable(fields="x", apart="species")
def soft_standardize(x: Tensor, species: Tensor, mean: Tensor, scale: Tensor, limit: float) -> Tensor:
    r""":math:`a \operatorname{asinh}(u / a)` of standardised features :math:`u = (x - \mu_s) / \sigma_s`.

    Args:
        x: ``[N, k]``.
        species: element index ``[N]``.
        mean: ``[S, k]``, a constant.
        scale: ``[S, k]``, a constant.
        limit: a, in standard deviations.

    Returns:
        ``[N, k]``
    """
    u = (x - mean.index_select(0, species)) / scale.index_select(0, species)
    return limit * torch.asinh(u / limit)
