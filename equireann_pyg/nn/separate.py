r"""The message rule of EquiREANN-plus: what is local and what has travelled stay apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from equireann_pyg.nn.coupling import ScaledSelfCoupling
from equireann_pyg.nn.layout import Layout
from equireann_pyg.nn.linear import DegreeLinear
from equireann_pyg.nn.message import MessageRule, bounded, learned
from equireann_pyg.nn.scaling import OrbitalNorm, ScaledLinear


class Separate(MessageRule):
    r"""Messages in channels of their own, beside the local orbitals and not on top of them.

    .. math::
        c_j^{t+1} &= c_j^t\, \bigl[ 1 + s(\mathrm{Net}_{z_j}(B_j^t)) \bigr], \qquad s(u) = u / \sqrt{1 + u^2} \\
        M_j^{t+1} &= U \psi_j^t + V\, w\, [W \psi_j^t \times W \psi_j^t] \\
        f_k(r) &= n^{-1/2} {\textstyle\sum_n} R_n(r)\, F_{nk} + q_k f(r) \\
        \psi_i^{t+1} &= N \Bigl[ {\textstyle\sum_j} c_j^{t+1} R(r_{ij}) \otimes Y(\mathbf r_{ij}) \ \oplus\
            {\textstyle\sum_j} f(r_{ij})\, M_j^{t+1} \Bigr]

    U, V, W are linear maps of the channels of each degree, of orbitals scaled to unit variance. A sum of both terms would have
    a fixed mixture, in which what is near, and energies mostly depend on, is drowned by what has travelled. Apart, and each
    brought to unit size by N (:class:`~equireann_pyg.nn.OrbitalNorm`), the descriptor weighs them. The filters F start at
    random, so that every channel asks for other distances; the last channels have :math:`q_k = 1` besides and travel under the
    envelope f of the network, which may reach farther than that of the radial functions, the others :math:`q_k = 0`. A
    coefficient at most doubles in an iteration, so that none runs away. The coupling at the atom is that of
    :class:`~equireann_pyg.nn.Coupled`.

    Args:
        hidden_channels: hidden widths of the coefficient network.
        num_messages: number of channels m of the messages.
        num_flat: how many of them travel under the envelope as well.

    Shapes:
        - input: as for :class:`~equireann_pyg.nn.MessageRule`; of the orbitals the last one only, ``[N, lm, n]``, from t = 1 on
          ``[N, lm, n + m]``
        - output: coefficient ``[N, n]`` and message ``[N, lm, m]``

    Raises:
        ValueError: for no messages, or more flat ones than there are; when built on Cartesian moments.
    """

    def __init__(self, hidden_channels: Sequence[int] = (64, 64), num_messages: int = 32, num_flat: int = 2) -> None:
        super().__init__(hidden_channels)
        if num_messages < 1:
            raise ValueError(
                f"{type(self).__name__}: expected num_messages of 1 or more, got {num_messages}: Invariant passes on none"
            )
        self.num_messages, self.num_flat = num_messages, num_flat
        if not 0 <= num_flat <= self.num_sent:
            raise ValueError(
                f"{type(self).__name__}: expected num_flat from 0 to the {self.num_sent} messages that are sent, got {num_flat}"
            )

    @property
    def num_sent(self) -> int:
        """Number of channels of the messages as they are sent."""
        return self.num_messages

    def build(self, layout: Layout, num_features: int) -> None:
        """Make the coefficient network, maps of the channels, product, filters and norm."""
        layout.require_harmonics(type(self).__name__)
        super().build(layout, num_features)
        components, n, m = layout.components, layout.num_channels, self.num_sent
        self.mix = ScaledLinear(components, n, m)  # U
        self.narrow = ScaledLinear(components, n, m)  # W
        self.coupling = ScaledSelfCoupling(layout.max_degree, m, layout.num_species)
        self.of_product = DegreeLinear(components, m, m)  # V
        self.radial_filter = torch.nn.Parameter(torch.empty(layout.num_radial, m))  # F
        flat = torch.cat([torch.zeros(m - self.num_flat), torch.ones(self.num_flat)])  # q
        self.register_buffer("_flat", flat, persistent=False)
        self.norm = OrbitalNorm(replace(layout, num_messages=self.num_messages))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new parameters, filters among them; no scales."""
        super().reset_parameters()
        torch.nn.init.normal_(self.radial_filter)

    def gathered(self, before: Tensor, orbital: Tensor) -> Tensor:
        """The last orbital: it holds what has travelled already."""
        return orbital

    def forward(
        self, features: Tensor, coefficient: Tensor, orbital: Tensor, orbital_sum: Tensor, species: Tensor
    ) -> tuple[Tensor, ...]:
        """New coefficients, and what is made of the last orbital."""
        coefficient = coefficient * (1 + bounded(self.update(features, species)))
        product = self.coupling(self.narrow(orbital), species)  # -> [N, lm, m]
        return coefficient, self.mix(orbital) + self.of_product(product)

    def edge_filter(self, radial: Tensor, envelope: Tensor, radial_envelope: Tensor) -> tuple[Tensor]:
        """Learned filter of every channel, and the envelope on the last ones, ``[E, m]``."""
        return (self.filtered(radial, envelope, self.radial_filter),)

    def filtered(self, radial: Tensor, envelope: Tensor, weight: Tensor) -> Tensor:
        """A learned filter of every channel that is sent, and the envelope on the last ones, ``[E, m]``."""
        return learned(radial, weight) + envelope.unsqueeze(-1) * self._flat  # type: ignore[operator]

    def normalized(self, orbital: Tensor) -> Tensor:
        """Every degree of the local orbitals, and every degree and channel of the messages, of unit size."""
        return self.norm(orbital)
