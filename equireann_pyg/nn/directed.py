r"""The message rule of EquiREANN-plus: messages that know from where they come."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from equireann_pyg.nn.conv import Edges, OrbitalConv
from equireann_pyg.nn.coupling import OuterCoupling
from equireann_pyg.nn.layout import Layout
from equireann_pyg.nn.separate import Separate


class Directed(Separate):
    r"""Messages that arrive twice: as they are, and coupled with the direction from which they come.

    .. math::
        A_{i,lm,l'm',k} &= \sum_j g_k(r_{ij})\, Y_{lm}(\mathbf r_{ij})\, M_{j,l'm',k} \\
        [A_i]_{l_3 m_3, k} &= {\textstyle\sum_{l l'}} w_{l l' l_3, k}
            {\textstyle\sum_{m m'}} C^{l_3 m_3}_{lm, l'm'} A_{i, lm, l'm', k} \\
        \psi_i^{t+1} &= N \Bigl[ {\textstyle\sum_j} c_j^{t+1} R(r_{ij}) \otimes Y(\mathbf r_{ij}) \ \oplus\
            {\textstyle\sum_j} f(r_{ij})\, M_j^{t+1} \ \oplus\ [A_i] \Bigr]

    A sum of messages alone, :class:`Separate`, forgets which neighbour has sent what: how an orbital of a neighbour lies to
    the bond that it has come along is lost. Here the message is also taken for the coefficient of an atomic orbital, which so
    becomes equivariant itself: the sum over neighbours is that of the local orbitals, with the components of M in the place of
    c, and the product is coupled once for each atom, not for each edge. The lowest degrees of a message, scalars and vectors,
    are enough for it; the higher ones, without which no twist travels along a chain, arrive as they are. Coefficients, messages
    M and filters f are those of :class:`Separate`, and the filters g likewise. Products of the same kind, coupled on every
    edge: Batzner et al., Nat. Commun. 2022, 13, 2453 (NequIP).

    Args:
        hidden_channels: hidden widths of the coefficient network.
        num_messages: number of channels 2 m, of which m arrive as they are and m directed: an even number.
        num_flat: how many of each m travel under the envelope as well.
        max_degree: largest degree l' that is directed, at most that of the orbitals.

    Shapes:
        - input: as for :class:`Separate`, with 2 m channels of messages
        - output: coefficient ``[N, n]`` and message ``[N, lm, m]``

    Raises:
        ValueError: as :class:`Separate`; for an odd ``num_messages``, a negative ``max_degree``, or when built on orbitals of
            lower degree.
    """

    def __init__(
        self, hidden_channels: Sequence[int] = (64, 64), num_messages: int = 32, num_flat: int = 2, max_degree: int = 1
    ) -> None:
        super().__init__(hidden_channels, num_messages, num_flat)
        if num_messages % 2:
            raise ValueError(f"Directed: expected an even num_messages, of which half are directed, got {num_messages}")
        if max_degree < 0:
            raise ValueError(f"Directed: expected max_degree of 0 or more, got {max_degree}")
        self.max_degree = max_degree

    @property
    def num_sent(self) -> int:
        """Number of channels m of the messages as they are sent."""
        return self.num_messages // 2

    def build(self, layout: Layout, num_features: int) -> None:
        """Make the parts of :class:`Separate`, filters g, and the coupling with the direction."""
        if self.max_degree > layout.max_degree:
            raise ValueError(
                f"Directed: expected max_degree of at most that of the orbitals, {layout.max_degree}, got {self.max_degree}"
            )
        super().build(layout, num_features)
        self.directed_filter = torch.nn.Parameter(torch.empty_like(self.radial_filter))
        self.coupling_along = OuterCoupling(layout.max_degree, self.max_degree, self.num_sent)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new parameters, filters among them; no scales."""
        super().reset_parameters()
        if hasattr(self, "directed_filter"):
            torch.nn.init.normal_(self.directed_filter)
            self.coupling_along.reset_parameters()

    def neighbour_sum(self, conv: OrbitalConv, coefficient: Tensor, message: Tensor | None, edges: Edges) -> Tensor:
        """Local orbitals, messages as they are, and messages along their bonds, ``[C, lm, n + 2 m]`` of the centres."""
        assert message is not None
        orbital = super().neighbour_sum(conv, coefficient, message, edges)  # -> [C, lm, n + m]
        low = message[:, : (self.max_degree + 1) ** 2]  # -> [N, l'm', m]
        weight = self.filtered(edges.radial, edges.envelope, self.directed_filter)  # -> [E, m]
        along = edges._replace(radial=weight.repeat(1, low.size(1)))  # g for each component, [E, l'm' m]
        outer = conv.over(along, low.flatten(1), None, edges.envelope)  # -> [C, lm, l'm' m]
        return torch.cat([orbital, self.coupling_along(outer.unflatten(2, low.shape[1:]))], dim=2)
