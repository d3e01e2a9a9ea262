r"""The message rule of EquiREANN-plus whose messages know from where they come."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from equireann_pyg.nn.conv import Edges, OrbitalConv
from equireann_pyg.nn.coupling import OuterCoupling
from equireann_pyg.nn.layout import Layout
from equireann_pyg.nn.separate import Separate


class Directed(Separate):
    r"""Messages as coefficients of the orbitals that they travel along, in channels of their own.

    .. math::
        A_{i,lm,l'm',k} &= \sum_j f_k(r_{ij})\, Y_{lm}(\mathbf r_{ij})\, M_{j,l'm',k} \\
        \psi_i^{t+1} &= N \Bigl[ {\textstyle\sum_j} c_j^{t+1} R(r_{ij}) \otimes Y(\mathbf r_{ij}) \ \oplus\
            w\, [A_i]_{lm} \Bigr], \qquad [A]_{l_3 m_3, k} = {\textstyle\sum_{l l'}} w_{l l' l_3, k}
            {\textstyle\sum_{m m'}} C^{l_3 m_3}_{lm, l'm'} A_{lm, l'm', k}

    A sum of messages alone, :class:`Separate`, forgets which neighbour has sent what: how an orbital of a neighbour lies to
    the bond that it has come along is lost. Here the coefficient of an atomic orbital becomes equivariant itself: the sum over
    neighbours is the one of the local orbitals, with the components of M in the place of c, and the product with the direction
    of the bond is coupled once for each atom, not for each edge. Coefficients, messages M and filters f are those of
    :class:`Separate`. Products of the same kind, coupled on every edge: Batzner et al., Nat. Commun. 2022, 13, 2453 (NequIP).

    Args:
        hidden_channels: hidden widths of the coefficient network.
        num_messages: number of channels m of the messages.
        num_flat: how many of them travel under the envelope as well.
        max_degree: largest degree l' of a message, at most that of the orbitals.

    Shapes:
        - input: as for :class:`Separate`
        - output: coefficient ``[N, n]`` and message ``[N, (l' + 1)^2, m]``

    Raises:
        ValueError: as :class:`Separate`; for a negative ``max_degree``, or when built on orbitals of lower degree.
    """

    def __init__(
        self, hidden_channels: Sequence[int] = (64, 64), num_messages: int = 32, num_flat: int = 2, max_degree: int = 1
    ) -> None:
        super().__init__(hidden_channels, num_messages, num_flat)
        if max_degree < 0:
            raise ValueError(f"Directed: expected max_degree of 0 or more, got {max_degree}")
        self.max_degree = max_degree

    def build(self, layout: Layout, num_features: int) -> None:
        """Make the parts of :class:`Separate`, and the coupling with the direction of the bond."""
        if self.max_degree > layout.max_degree:
            raise ValueError(
                f"Directed: expected max_degree of at most that of the orbitals, {layout.max_degree}, got {self.max_degree}"
            )
        super().build(layout, num_features)
        self.coupling_along = OuterCoupling(layout.max_degree, self.max_degree, self.num_messages)
        self.reset_parameters()

    def passed(self, components: tuple[int, ...]) -> tuple[int, ...]:
        """Number of components of each degree of a message."""
        return components[: self.max_degree + 1]

    def gather(self, conv: OrbitalConv, coefficient: Tensor, message: Tensor | None, edges: Edges) -> Tensor:
        """Local orbitals, and beside them what has travelled along the bonds."""
        assert message is not None
        local = conv.over(edges, coefficient, None, edges.envelope)
        (weight,) = self.edge_filter(edges.radial, edges.envelope, edges.radial_envelope)  # -> [E, m]
        along = edges._replace(radial=weight.repeat(1, message.size(1)))  # f for each component, [E, l'm' m]
        outer = conv.over(along, message.flatten(1), None, edges.envelope)  # -> [N, lm, l'm' m]
        return torch.cat([local, self.coupling_along(outer.unflatten(2, message.shape[1:]))], dim=2)
