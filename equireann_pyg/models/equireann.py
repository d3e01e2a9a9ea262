"""EquiREANN, and REANN and EANN as its special cases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from equireann_pyg.models.network import OrbitalNetwork
from equireann_pyg.nn import Angular, Density, Envelope, Equivariant, Invariant, LastReadout, Local, MessageRule, Shared


class EquiREANN(OrbitalNetwork):
    r"""Equivariant recursively embedded atom neural network, the paper's model.

    Source: Wu, Xia, Zhang, Jiang, J. Phys. Chem. A 2024, 128, 11061. An :class:`OrbitalNetwork` of
    :class:`~equireann_pyg.nn.Density` and :class:`~equireann_pyg.nn.Equivariant`.

    Args:
        elements: chemical symbols or atomic numbers the model knows; the command line takes those of the training set.
        cutoff: :math:`r_c` in Angstrom.
        angular: angular part.
        envelope: cutoff envelope.
        num_radial: number of radial channels n.
        num_density: number of contracted densities k.
        num_iterations: number of message-passing iterations T.
        hidden_channels: hidden widths of the coefficient and output networks.
        pair_radial: radial functions for each pair of elements (default) or for the neighbour's element.
        share_contraction: one contraction for all iterations instead of one for each.
    """

    rule: type[MessageRule] = Equivariant

    def __init__(
        self,
        elements: Sequence[str | int] = (),
        cutoff: float = 5.0,
        angular: Angular | None = None,
        envelope: Envelope | None = None,
        num_radial: int = 8,
        num_density: int = 64,
        num_iterations: int = 3,
        hidden_channels: Sequence[int] = (64, 64),
        pair_radial: bool = True,
        share_contraction: bool = False,
    ) -> None:
        density = Density(num_density)
        super().__init__(
            elements,
            cutoff,
            Shared(density) if share_contraction else density,
            self.rule(hidden_channels),
            LastReadout(hidden_channels),
            angular,
            envelope,
            num_radial,
            num_iterations,
            pair_radial,
        )
        self.share_contraction = share_contraction

    @property
    def config(self) -> dict[str, Any]:
        """Constructor arguments that rebuild this model."""
        config = super().config
        readout = config.pop("readout")
        for fixed in ("descriptor", "rule", "radial_envelope", "radial_width"):
            del config[fixed]
        return config | {
            "num_density": self.num_features,
            "hidden_channels": readout.hidden_channels,
            "share_contraction": self.share_contraction,
        }


class REANN(EquiREANN):
    """Invariant message passing: atoms tell their neighbours coefficients, but no orbitals.

    Source: Zhang, Xia, Jiang, Phys. Rev. Lett. 2021, 127, 156002. Arguments as for :class:`EquiREANN`.
    """

    rule = Invariant


class EANN(EquiREANN):
    """Strictly local embedded atom neural network: no iterations.

    Source: Zhang, Hu, Jiang, J. Phys. Chem. Lett. 2019, 10, 4962. Arguments as for :class:`EquiREANN`, without
    ``num_iterations``.
    """

    rule = Local

    def __init__(
        self,
        elements: Sequence[str | int] = (),
        cutoff: float = 5.0,
        angular: Angular | None = None,
        envelope: Envelope | None = None,
        num_radial: int = 8,
        num_density: int = 64,
        hidden_channels: Sequence[int] = (64, 64),
        pair_radial: bool = True,
    ) -> None:
        super().__init__(elements, cutoff, angular, envelope, num_radial, num_density, 0, hidden_channels, pair_radial)

    @property
    def config(self) -> dict[str, Any]:
        """Constructor arguments that rebuild this model."""
        config = super().config
        del config["num_iterations"], config["share_contraction"]
        return config
