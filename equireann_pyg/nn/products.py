r"""Descriptors made of products of orbitals: the power spectrum, and symmetrised products up to four orbitals."""

from __future__ import annotations

import torch
from torch import Tensor

from equireann_pyg.nn.coupling import ScaledSelfCoupling
from equireann_pyg.nn.descriptor import Descriptor
from equireann_pyg.nn.layout import Layout
from equireann_pyg.nn.linear import DegreeDot
from equireann_pyg.nn.scaling import HalfStandardize, ScaledLinear
from equireann_pyg.ops import product_invariants

MAX_ORDER = 4


class PowerSpectrum(Descriptor):
    r"""Power spectrum of the orbitals, the invariants of SOAP.

    .. math:: B_{l k k'} = \sum_m \phi_{lm,k}\, \phi_{lm,k'}, \quad k \le k', \qquad \phi_{lm,k} = \sum_n W_{l,nk} \psi_{lm,n}

    Source: Bartok, Kondor, Csanyi, Phys. Rev. B 2013, 87, 184115, with a learned, contracted radial basis.

    Args:
        num_channels: number of contracted channels k; there are (L + 1) k (k + 1) / 2 features.
    """

    def __init__(self, num_channels: int = 8) -> None:
        super().__init__()
        self.num_channels = num_channels

    def build(self, layout: Layout) -> None:
        """Make the contraction of the channels."""
        self.mix = ScaledLinear(layout.components, layout.num_channels, self.num_channels)
        self.dot = DegreeDot(layout.components)
        self.register_buffer("_pairs", torch.triu_indices(self.num_channels, self.num_channels), persistent=False)
        self.num_features = (layout.max_degree + 1) * self.num_channels * (self.num_channels + 1) // 2

    def forward(self, orbital: Tensor, species: Tensor) -> Tensor:
        """All pairs of channels of every degree."""
        mixed = self.mix(orbital)  # -> [N, lm, k]
        first, second = self._pairs  # type: ignore[misc]
        return self.dot(mixed.index_select(2, first), mixed.index_select(2, second))


class ACEProducts(Descriptor):
    r"""Symmetrised products of one to four orbitals, one set for every degree.

    .. math::
        \phi_{lm,k} &= \sum_n W_{l,nk} \psi_{lm,n} \qquad
        \Pi_{lm,k} = \sum_{l_1 l_2} w_{l_1 l_2 l,k} \sum_{m_1 m_2} C^{lm}_{l_1 m_1 l_2 m_2} \phi_{l_1 m_1,k} \phi_{l_2 m_2,k} \\
        B &= \phi_{00,k}, \quad \sum_m \phi_{lm,k}^2, \quad \sum_m \phi_{lm,k} \Pi_{lm,k}, \quad \sum_m \Pi_{lm,k}^2

    One coupling for each atom serves the third and the fourth order. Sources: Drautz, Phys. Rev. B 2019, 99, 014104 (ACE);
    products channel by channel after a mixing: Batatia et al., NeurIPS 2022 (MACE).

    Args:
        num_channels: number of contracted channels k.
        order: highest number of orbitals in a product, 1 to 4 (body order minus one).

    Raises:
        ValueError: if ``order`` is out of range; when built on Cartesian moments.
    """

    scaling = HalfStandardize

    def __init__(self, num_channels: int = 32, order: int = 4) -> None:
        super().__init__()
        if not 1 <= order <= MAX_ORDER:
            raise ValueError(f"ACEProducts: expected an order from 1 to {MAX_ORDER}, got {order}")
        self.num_channels = num_channels
        self.order = order

    def build(self, layout: Layout) -> None:
        """Make the contraction of the channels and, for orders above two, the coupling."""
        layout.require_harmonics("ACEProducts")
        self.mix = ScaledLinear(layout.components, layout.num_channels, self.num_channels)
        self.dot = DegreeDot(layout.components)
        if self.order > 2:
            self.coupling = ScaledSelfCoupling(layout.max_degree, self.num_channels, layout.num_species)
        self.num_features = self.num_channels * (1 + (layout.max_degree + 1) * (self.order - 1))

    def fit(self, orbital: Tensor, species: Tensor) -> None:
        """Take the scales of orbitals and products from a training set; the fused kernel never calls the parts."""
        self.mix.fit(orbital)
        if self.order > 2:
            self.coupling.fit(self.mix(orbital), species)

    def forward(self, orbital: Tensor, species: Tensor) -> Tensor:
        """Products of every order."""
        mixed = self.mix(orbital)  # -> [N, lm, k]
        if self.order > 2:
            table = self.coupling.table(species)
            return product_invariants(mixed, *table, self.dot.components, self.order > 3).flatten(1)
        return torch.cat([mixed[:, 0], *([self.dot(mixed, mixed)] if self.order == 2 else [])], dim=1)
