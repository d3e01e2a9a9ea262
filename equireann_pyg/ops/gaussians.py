r"""Gaussian radial orbitals :math:`f e^{-a (r-s)^2}` of edges."""

from __future__ import annotations

import torch
from torch import Tensor

from equireann_pyg.ops.differentiable import twice_differentiable


@twice_differentiable(fields="r envelope", weights="centre exponent", apart="row")
def gaussians(r: Tensor, envelope: Tensor, row: Tensor, centre: Tensor, exponent: Tensor) -> Tensor:
    r"""Radial orbitals :math:`f\,e^{-a_n (r - s_n)^2}`.

    Args:
        r: ``[E]`` in Angstrom.
        envelope: f ``[E]``.
        row: row of the tables for each edge ``[E]``.
        centre: s ``[rows, n]`` in Angstrom.
        exponent: a ``[rows, n]`` in 1/Angstrom^2, not negative.

    Returns:
        ``[E, n]``
    """
    distance = r.unsqueeze(-1) - centre.index_select(0, row)  # -> [E, n]
    return envelope.unsqueeze(-1) * torch.exp(-exponent.index_select(0, row) * distance.square())
