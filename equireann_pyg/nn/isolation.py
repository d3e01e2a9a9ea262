r"""How isolated an atom is: one without neighbours, smoothly down to zero with them."""

from __future__ import annotations

import torch
from torch import Tensor

from equireann_pyg.ops import edge_order, row_sum

DECAY = 8.0
"""How fast an atom ceases to be isolated: a single neighbour at a third of the cutoff leaves a thousandth."""


def isolation(
    edge_index: Tensor, edge_vec: Tensor, num_nodes: int, cutoff: float, order: Tensor | None = None
) -> Tensor:
    r"""Isolation of each atom, with all derivatives continuous at the cutoff.

    .. math:: a_i = \exp\Bigl(-8 \sum_j \exp\Bigl[-\frac{x_{ij}^2}{1 - x_{ij}^2}\Bigr]\Bigr), \quad x_{ij} = r_{ij} / r_c < 1

    It is one for an atom without neighbours, exactly, and next to zero inside of a molecule or crystal.

    Args:
        edge_index: ``[2, E]``, row 1 the centres i.
        edge_vec: ``[E, 3]`` in Angstrom; longer than the cutoff is allowed.
        num_nodes: number of atoms N.
        cutoff: :math:`r_c` in Angstrom.
        order: :func:`~equireann_pyg.ops.edge_order` of the edges, for callers that know it already.

    Returns:
        ``[N]``, in the type of ``edge_vec``.
    """
    x, y, z = (edge_vec * (1 / cutoff)).unbind(1)
    square = x * x + y * y + z * z  # -> [E]
    near = torch.exp(-square / (1 - square).clamp(min=1e-3))  # e^-1000 is zero: nothing from beyond the cutoff
    order = edge_order(edge_index, num_nodes) if order is None else order
    return torch.exp(-DECAY * row_sum(near, edge_index[1], order[1], num_nodes))
