r"""The sum over neighbours, :math:`\psi_i = \sum_j [ c_j R_{ij} \otimes Y_{ij} + f_{ij} M_j ]`.

Both terms share their channels, or the messages stand in channels of their own. The sum is linear in each of its fields c, M,
R, Y, f, so its derivatives are sums of the same kind; the kernels make none of the edge tensors ``[E, lm, n]`` of the
reference.
"""

from __future__ import annotations

import torch
from torch import Tensor

from equireann_pyg.ops.differentiable import kernel_operator, twice_differentiable
from equireann_pyg.ops.operator import tracing

MAX_COMPONENTS = 64
"""Largest number of angular components that the compiled kernels take."""


@kernel_operator(apart="edge_index")
def edge_order(edge_index: Tensor, num_nodes: int) -> Tensor:
    """Edges by the atom they leave (row 0) and by the atom they end in (row 1).

    On a GPU, too, the reference serves: torch's sort and searchsorted, once for each graph.

    Args:
        edge_index: ``[2, E]``, in any order.
        num_nodes: number of atoms N.

    Returns:
        ``[2, N + 1 + E]`` int32: where the edges of each atom start, and their numbers one atom after the other.

    Raises:
        RuntimeError: if an edge names an atom that does not exist (by the kernel; on a GPU once a result is looked at).
    """
    if edge_index.is_cuda and not tracing():  # looking would mean to wait
        known = ((edge_index >= 0) & (edge_index < num_nodes)).all()
        torch._assert_async(known, "edge_index: an edge names an atom that does not exist")
    atoms, order = torch.sort(edge_index, dim=1, stable=True)  # -> [2, E]
    nodes = torch.arange(num_nodes + 1, device=edge_index.device).expand(2, -1).contiguous()
    return torch.cat([torch.searchsorted(atoms, nodes), order], dim=1).int()


def more_atoms(order: Tensor, num_nodes: int, more: int) -> Tensor:
    """The :func:`edge_order` of the same edges among more atoms, which have none.

    Args:
        order: ``[2, N + 1 + E]``.
        num_nodes: number of atoms N.
        more: how many others come behind these.
    """
    ends = order[:, num_nodes : num_nodes + 1].expand(2, more)
    return torch.cat([order[:, :num_nodes], ends, order[:, num_nodes:]], dim=1)


@twice_differentiable(
    fields="coefficient orbital radial angular envelope",
    apart="edge_index order",
    limit=lambda c, M, edge_index, order, R, Y, f, concat=False: Y.size(1) <= MAX_COMPONENTS,
)
def orbital_sum(
    coefficient: Tensor,
    orbital: Tensor | None,
    edge_index: Tensor,
    order: Tensor,
    radial: Tensor,
    angular: Tensor,
    envelope: Tensor,
    concat: bool = False,
) -> Tensor:
    """Sum over neighbours; shapes as in :class:`~equireann_pyg.nn.OrbitalConv`.

    Args:
        coefficient: c ``[N, n]``.
        orbital: M ``[N, lm, n]``, or ``[N, lm, m]`` in channels of its own, or None.
        edge_index: ``[2, E]``.
        order: :func:`edge_order` of these edges; only kernels read it.
        radial: R ``[E, n]``.
        angular: Y ``[E, lm]``.
        envelope: f ``[E]`` or one for each channel of M, ``[E, n]`` or ``[E, m]``.
        concat: whether the messages f M stand in m channels of their own, behind those of c R (x) Y.

    Returns:
        ``[N, lm, n]``, or ``[N, lm, n + m]`` with messages in channels of their own.
    """
    j, i = edge_index
    messages = angular.unsqueeze(-1) * (coefficient.index_select(0, j) * radial).unsqueeze(-2)  # -> [E, lm, n]
    if orbital is not None:
        f = envelope if envelope.dim() == 2 else envelope.unsqueeze(-1)
        passed = f.unsqueeze(-2) * orbital.index_select(0, j)
        messages = torch.cat([messages, passed], dim=-1) if concat else messages + passed
    return messages.new_zeros(coefficient.size(0), *messages.shape[1:]).index_add(0, i, messages)
