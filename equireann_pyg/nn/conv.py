r"""The one heavy operation: sum atomic orbitals, and the neighbours' own orbitals, over the neighbours."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch_geometric.nn import MessagePassing
from torch_geometric.typing import OptTensor


class OrbitalConv(MessagePassing):
    r"""Orbital-coefficient and equivariant-orbital message of EquiREANN.

    .. math::
        \psi_i = \sum_{j \in N(i)} \bigl[ c_j\, R(r_{ij}) \otimes Y(\mathbf r_{ij}) + f(r_{ij})\, M_j \bigr]

    The first term is the linear combination of atomic orbitals centred on the neighbours, the second passes on
    the orbital :math:`M_j` that the neighbour has gathered itself. Every term keeps the rank l of Y and of M, so
    :math:`\psi_i` rotates as they do. Without ``orbital`` the layer is the invariant message of REANN. The layer
    has no parameters: coefficients and messages come from the caller.

    Source: Wu, Xia, Zhang, Jiang, J. Phys. Chem. A 2024, 128, 11061, in node-factored form: the neighbour's
    orbitals enter as a node tensor, no edge tensor is kept between iterations.

    Args:
        **kwargs: passed to :class:`torch_geometric.nn.MessagePassing` (``aggr`` is ``"sum"`` unless given).

    Shapes:
        - coefficient :math:`c`: ``[N, n]``, invariant
        - orbital :math:`M`: ``[N, lm, n]``, equivariant, or None
        - edge_index: ``[2, E]``, row 0 the neighbours j, row 1 the centres i
        - radial :math:`R`: ``[E, n]``, with its envelope
        - angular :math:`Y`: ``[E, lm]``
        - envelope :math:`f`: ``[E]``, or ``[E, n]`` for one filter per channel
        - output :math:`\psi`: ``[N, lm, n]``
    """

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("aggr", "sum")
        super().__init__(node_dim=0, **kwargs)

    def reset_parameters(self) -> None:
        """Nothing to reset; present because PyG containers call it."""
        super().reset_parameters()

    def forward(
        self,
        coefficient: Tensor,
        orbital: OptTensor,
        edge_index: Tensor,
        radial: Tensor,
        angular: Tensor,
        envelope: Tensor,
    ) -> Tensor:
        """Sum over the neighbours; shapes are those of the class."""
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
        )  # -> [N, lm, n]

    def message(
        self, coefficient_j: Tensor, orbital_j: OptTensor, radial: Tensor, angular: Tensor, envelope: Tensor
    ) -> Tensor:
        """One edge: ``c_j R (x) Y + f M_j -> [E, lm, n]``."""
        atomic = angular.unsqueeze(-1) * (coefficient_j * radial).unsqueeze(-2)  # -> [E, lm, n]
        if orbital_j is None:
            return atomic
        return atomic + envelope.unsqueeze(-2) * orbital_j

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}()"
