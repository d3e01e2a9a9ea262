r"""The one heavy operation: sum atomic orbitals, and the neighbours' own orbitals, over the neighbours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch_geometric.nn import MessagePassing
from torch_geometric.typing import OptTensor
from torch_geometric.utils import is_sparse, to_edge_index

from equireann_pyg.ops import edge_order, orbital_sum

STEPS = ("propagate", "message", "aggregate", "message_and_aggregate")
"""Steps of a PyG layer that can be watched by hooks."""


def of_all(rows: Tensor) -> Tensor:
    """Rows of all nodes."""
    return rows


class Edges(NamedTuple):
    """What is known of every edge, the same for all iterations."""

    edge_index: Tensor
    """Neighbours and centres, ``[2, E]``."""

    order: Tensor
    """Their :func:`~equireann_pyg.ops.edge_order`."""

    radial: Tensor
    """Radial functions R under their envelope, ``[E, n]``."""

    angular: Tensor
    """Angular part Y, ``[E, lm]``."""

    envelope: Tensor
    """Envelope of the messages, ``[E]``."""

    radial_envelope: Tensor
    """That of the radial functions, ``[E]``."""

    centres: Callable[[Tensor], Tensor] = of_all
    """From rows of all nodes ``[N, ...]`` those of the C nodes whose sums are wanted, ``[C, ...]``: edges end in no others."""


class OrbitalConv(MessagePassing):
    r"""Orbital-coefficient and equivariant-orbital message of EquiREANN.

    .. math::
        \psi_i = \sum_{j \in N(i)} \bigl[ c_j\, R(r_{ij}) \otimes Y(\mathbf r_{ij}) + f(r_{ij})\, M_j \bigr]

    The first term is the linear combination of atomic orbitals centred on the neighbours, the second passes on
    the orbital :math:`M_j` that the neighbour has gathered itself. Every term keeps the rank l of Y and of M, so
    :math:`\psi_i` rotates as they do. Without ``orbital`` the layer is the invariant message of REANN. The layer
    has no parameters: coefficients and messages come from the caller.

    With ``concat`` the messages are not added to the atomic orbitals, but stand behind them in m channels of their own,

    .. math::
        \psi_i = \sum_j c_j\, R(r_{ij}) \otimes Y(\mathbf r_{ij}) \ \oplus\ \sum_j f(r_{ij})\, M_j

    so that what is near is not drowned by what has travelled.

    Source: Wu, Xia, Zhang, Jiang, J. Phys. Chem. A 2024, 128, 11061, in node-factored form: the neighbour's
    orbitals enter as a node tensor, no edge tensor is kept between iterations.

    The sum is one operator (:func:`~equireann_pyg.ops.orbital_sum`), on the CPU a compiled kernel which makes no tensor of
    messages; set ``fuse = False``, as for any PyG layer, for the route through :meth:`message`. That route also serves where
    messages are watched (explanations, hooks) and for other aggregations.

    Args:
        concat: whether messages have channels of their own.
        **kwargs: passed to :class:`torch_geometric.nn.MessagePassing` (``aggr`` is ``"sum"`` unless given).

    Shapes:
        - coefficient :math:`c`: ``[N, n]``, invariant
        - orbital :math:`M`: ``[N, lm, n]``, with ``concat`` ``[N, lm, m]``, equivariant, or None
        - edge_index: ``[2, E]``, row 0 the neighbours j, row 1 the centres i
        - radial :math:`R`: ``[E, n]``, with its envelope
        - angular :math:`Y`: ``[E, lm]``
        - envelope :math:`f`: ``[E]``, or one filter per channel of M, ``[E, n]`` or ``[E, m]``
        - output :math:`\psi`: ``[N, lm, n]``, with ``concat`` and an orbital ``[N, lm, n + m]``

    The N nodes are neighbours and centres at once: bipartite graphs are refused.

    Raises:
        ValueError: for a pair ``(source, target)`` in place of a tensor, or an adjacency matrix that is not square.
    """

    def __init__(self, concat: bool = False, **kwargs: Any) -> None:
        kwargs.setdefault("aggr", "sum")
        super().__init__(node_dim=0, **kwargs)
        self.concat = concat

    def forward(
        self,
        coefficient: Tensor,
        orbital: OptTensor,
        edge_index: Tensor,
        radial: Tensor,
        angular: Tensor,
        envelope: Tensor,
        order: OptTensor = None,
    ) -> Tensor:
        """Sum over the neighbours; shapes are those of the class.

        ``order`` is the :func:`~equireann_pyg.ops.edge_order` of the edges, for callers that know it already.
        """
        _require_one_set(coefficient, orbital, edge_index)
        if is_sparse(edge_index):  # the transposed adjacency matrix, as everywhere in PyG
            edge_index = to_edge_index(edge_index)[0].flip(0)
        if self._fusible():
            return self.message_and_aggregate(edge_index, coefficient, orbital, radial, angular, envelope, order)
        num_nodes = coefficient.size(0)
        envelope = envelope if envelope.dim() == 2 else envelope.unsqueeze(-1)  # apart: PyG parses the call below
        return self.propagate(
            edge_index,
            coefficient=coefficient,
            orbital=orbital,
            radial=radial,
            angular=angular,
            envelope=envelope,
            size=(num_nodes, num_nodes),
        )  # -> [N, lm, n] or [N, lm, n + m]

    def over(self, edges: Edges, coefficient: Tensor, orbital: OptTensor, envelope: Tensor) -> Tensor:
        """The same, with all that is known of the edges in one; of the centres alone, ``[C, lm, n]`` or ``[C, lm, n + m]``."""
        of_nodes = self(coefficient, orbital, edges.edge_index, edges.radial, edges.angular, envelope, edges.order)
        return edges.centres(of_nodes)

    def _fusible(self) -> bool:
        """Whether one operator may stand in for ``propagate``: a plain sum of our messages that nobody watches."""
        ours = all(
            getattr(type(self), step) is getattr(OrbitalConv, step) for step in ("message", "aggregate", "update")
        )
        hooks = (getattr(self, f"_{step}_forward{pre}_hooks") for step in STEPS for pre in ("_pre", ""))
        plain_sum = self.aggr in ("sum", "add") and self.flow == "source_to_target"
        watched = self.explain or any(hooks)
        return bool(self.fuse and plain_sum and ours and not watched)

    def message_and_aggregate(
        self,
        edge_index: Tensor,
        coefficient: Tensor,
        orbital: OptTensor,
        radial: Tensor,
        angular: Tensor,
        envelope: Tensor,
        order: OptTensor = None,
    ) -> Tensor:
        """All messages and their sum at once, without a tensor of messages ``[E, lm, n]``."""
        order = edge_order(edge_index, coefficient.size(0)) if order is None else order
        return orbital_sum(coefficient, orbital, edge_index, order, radial, angular, envelope, self.concat)

    def message(
        self, coefficient_j: Tensor, orbital_j: OptTensor, radial: Tensor, angular: Tensor, envelope: Tensor
    ) -> Tensor:
        """One edge: ``c_j R (x) Y`` and ``f M_j``, added or side by side, ``[E, lm, n]`` or ``[E, lm, n + m]``."""
        atomic = angular.unsqueeze(-1) * (coefficient_j * radial).unsqueeze(-2)  # -> [E, lm, n]
        if orbital_j is None:
            return atomic
        passed = envelope.unsqueeze(-2) * orbital_j  # -> [E, lm, n] or [E, lm, m]
        return torch.cat([atomic, passed], dim=-1) if self.concat else atomic + passed

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({'concat=True' if self.concat else ''})"


def _require_one_set(coefficient: object, orbital: object, edge_index: Tensor) -> None:
    for name, field in (("coefficient", coefficient), ("orbital", orbital)):
        if isinstance(field, (tuple, list)):  # no union: the compiler of torch 2.7 does not know it
            raise ValueError(
                f"OrbitalConv: expected one tensor as {name}, got a {type(field).__name__} of {len(field)}: the layer needs "
                "one set of nodes, so put both sets of a bipartite graph into one tensor and number the edges accordingly"
            )
    if is_sparse(edge_index) and edge_index.size(0) != edge_index.size(1):
        raise ValueError(
            f"OrbitalConv: expected a square adjacency matrix, got {edge_index.size(0)} x {edge_index.size(1)}: the layer "
            "needs one set of nodes"
        )
