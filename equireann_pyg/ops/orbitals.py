r"""The sum over neighbours, :math:`\psi_i = \sum_j [ c_j R_{ij} \otimes Y_{ij} + f_{ij} M_j ]`, without edge tensors.

The sum is linear in each of its fields c, M, R, Y, f. So its first two derivatives are sums of the same kind, and each has
a kernel of its own. Third derivatives need the plain path of :class:`~equireann_pyg.nn.OrbitalConv`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from equireann_pyg.ops.library import fake, ops, refuse_transforms, register_twice

MAX_COMPONENTS = 64
"""Largest number of angular components that the kernels take."""

Five = tuple[Tensor, Tensor | None, Tensor, Tensor, Tensor | None]


def edge_order(edge_index: Tensor, num_nodes: int) -> Tensor:
    """Edges by the atom they leave (row 0) and by the atom they end in (row 1).

    Args:
        edge_index: ``[2, E]``, in any order.
        num_nodes: number of atoms N.

    Returns:
        ``[2, N + 1 + E]`` int32: where the edges of each atom start, and their numbers one atom after the other.

    Raises:
        RuntimeError: if an edge names an atom that does not exist.
    """
    return ops.edge_order(edge_index, num_nodes)


def orbital_sum(
    coefficient: Tensor,
    orbital: Tensor | None,
    edge_index: Tensor,
    order: Tensor,
    radial: Tensor,
    angular: Tensor,
    envelope: Tensor,
) -> Tensor:
    """Sum over neighbours by the compiled kernels; shapes as in :class:`~equireann_pyg.nn.OrbitalConv`.

    Args:
        coefficient: c ``[N, n]``.
        orbital: M ``[N, lm, n]`` or None.
        edge_index: ``[2, E]``.
        order: :func:`edge_order` of these edges.
        radial: R ``[E, n]``.
        angular: Y ``[E, lm]``.
        envelope: f ``[E]`` or ``[E, n]``.
    """
    refuse_transforms()
    return ops.orbital_sum(coefficient, orbital, edge_index, order, radial, angular, envelope)


@fake("edge_order")
def _(edge_index: Tensor, num_nodes: int) -> Tensor:
    return edge_index.new_empty(2, num_nodes + 1 + edge_index.size(1), dtype=torch.int32)


@fake("orbital_sum")
def _(c: Tensor, M: Tensor | None, edge_index: Tensor, order: Tensor, R: Tensor, Y: Tensor, f: Tensor) -> Tensor:
    return c.new_empty(c.size(0), Y.size(1), c.size(1))


@fake("orbital_sum_backward")
def _like_fields(
    grad: Tensor, c: Tensor, M: Tensor | None, edge_index: Tensor, order: Tensor, R: Tensor, Y: Tensor, f: Tensor
) -> tuple[Tensor, ...]:
    dM, df = (c.new_empty(0), c.new_empty(0)) if M is None else (M.new_empty(M.shape), f.new_empty(f.shape))
    return c.new_empty(c.shape), dM, R.new_empty(R.shape), Y.new_empty(Y.shape), df


@fake("orbital_sum_double_backward")
def _(hc: Any, hM: Any, hR: Any, hY: Any, hf: Any, grad: Tensor, *fields: Any) -> tuple[Tensor, ...]:
    return grad.new_empty(grad.shape), *_like_fields(grad, *fields)


def _without_orbital(gradients: tuple[Tensor, ...], orbital: Tensor | None) -> Five:
    c, M, R, Y, f = gradients
    return (c, None, R, Y, None) if orbital is None else (c, M, R, Y, f)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    _, orbital, *_ = ctx.saved_tensors
    c, M, R, Y, f = _without_orbital(ops.orbital_sum_backward(grad, *ctx.saved_tensors), orbital)
    return c, M, None, None, R, Y, f


def _double_backward(ctx: Any, *tangents: Tensor) -> tuple[Tensor | None, ...]:
    grad, *fields = ctx.saved_tensors
    hc, hM, hR, hY, hf = _without_orbital(tangents, fields[1])
    hf = torch.zeros_like(fields[-1]) if hf is None else hf
    d_grad, *gradients = ops.orbital_sum_double_backward(hc, hM, hR, hY, hf, grad, *fields)
    c, M, R, Y, f = _without_orbital(tuple(gradients), fields[1])
    return d_grad, c, M, None, None, R, Y, f


register_twice("orbital_sum", _backward, _double_backward)
