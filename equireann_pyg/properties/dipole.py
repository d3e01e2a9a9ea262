"""Charges and dipole moments."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus
from torch_geometric.data import Data

from equireann_pyg.graph.known import known
from equireann_pyg.nn.layout import Layout
from equireann_pyg.nn.readout import ScalarReadout, VectorReadout
from equireann_pyg.properties.base import Features, Property, marked

CHARGE = 0.3
"""Unit of the charge networks in e."""


def conserved_charges(raw: Tensor, features: Features) -> Tensor:
    r"""Charges ``[N]`` that sum to the total charge Q of each graph.

    .. math:: q_i = \tilde q_i + \frac{w_i}{\sum_j w_j} \Bigl( Q - \sum_j \tilde q_j \Bigr), \qquad w_i > 0

    Args:
        raw: the two outputs of a network that make :math:`\tilde q` and w, ``[N, 2]``.
        features: of the same atoms.
    """
    charge, weight = CHARGE * raw[:, 0], softplus(raw[:, 1])
    rest = (features.total_charge - features.per_graph(charge)) / features.per_graph(weight)  # -> [G]
    return charge + weight * features.per_atom(rest)


class Charges(Property):
    """Partial charges that sum to the total charge of each graph, see :func:`conserved_charges`.

    Args:
        hidden_channels: hidden widths of the networks.
    """

    names = ("charges",)

    def build(self, layout: Layout, num_features: int) -> None:
        """Make the head."""
        self.charge_head = ScalarReadout(layout, num_features, self.hidden_channels, 2)

    def forward(self, features: Features) -> dict[str, Tensor]:
        """``charges [N]`` in e."""
        return {"charges": conserved_charges(features.read(self.charge_head), features)}


class LocalDipole(Property):
    r"""Dipole moment as a sum of atomic dipoles, :math:`\boldsymbol\mu = \sum_i \boldsymbol\mu_i`, also of crystals.

    Atomic dipoles see differences of positions only, so the moment of a crystal does not depend on the cell that is drawn,
    and is one continuous branch of the many moments that differ by a quantum of polarization.

    Args:
        hidden_channels: hidden widths of the networks.
    """

    names: tuple[str, ...] = ("dipole",)

    def build(self, layout: Layout, num_features: int) -> None:
        """Make the head."""
        self.head = VectorReadout(layout, num_features, self.hidden_channels)

    def atomic(self, features: Features) -> dict[str, Tensor]:
        """Each atom's part of the dipole, ``dipole [N, 3]``."""
        return {"dipole": self.scale[0] * features.read(self.head)}

    def total(self, dipole: Tensor, features: Features) -> Tensor:
        """Dipole of each graph, ``[G, 3]``, from those of its atoms."""
        return features.per_graph(dipole)

    def forward(self, features: Features) -> dict[str, Tensor]:
        """``dipole [G, 3]`` in e Angstrom."""
        atomic = self.atomic(features)
        return {**atomic, "dipole": self.total(atomic["dipole"], features)}


class Dipole(LocalDipole):
    r"""Dipole moment of molecules from charges and atomic dipoles.

    .. math:: \boldsymbol\mu = \sum_i ( q_i \mathbf r_i + \boldsymbol\mu_i )

    The charges sum to the total charge (see :func:`conserved_charges`) and are an output too; labels of charges are used where
    there are any. The moment of an ion is about the origin of the coordinates. NaN for graphs with a periodic direction, where
    positions are not unique: see :class:`LocalDipole`.

    Args:
        hidden_channels: hidden widths of the networks.
    """

    names = ("dipole", "charges")

    def build(self, layout: Layout, num_features: int) -> None:
        """Make the heads."""
        super().build(layout, num_features)
        self.charge_head = ScalarReadout(layout, num_features, self.hidden_channels, 2)

    def atomic(self, features: Features) -> dict[str, Tensor]:
        """Each atom's part of the dipole, ``dipole [N, 3]``, and ``charges [N]``."""
        charges = conserved_charges(features.read(self.charge_head), features)
        local = super().atomic(features)["dipole"]
        return {"dipole": charges.unsqueeze(1) * features.pos + local, "charges": charges}

    def total(self, dipole: Tensor, features: Features) -> Tensor:
        """Dipole of each graph, ``[G, 3]``, NaN where it is periodic."""
        total = super().total(dipole, features)
        return torch.where(features.periodic.unsqueeze(1), torch.full_like(total, torch.nan), total)

    def check(self, data: Data) -> None:
        """Refuse a field on a periodic graph."""
        field = data.get("field")
        if field is None:
            return
        if any(some and periodic for some, periodic in zip(known(marked, field), known(marked, data.pbc), strict=True)):
            raise ValueError("field on a periodic graph: use FieldResponse(dipole=LocalDipole()) for crystals")
