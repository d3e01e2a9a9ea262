"""EquiREANN, and REANN and EANN as its special cases."""

from __future__ import annotations

from collections.abc import Sequence

from equireann_pyg.models.earlier import Recipe, present_named
from equireann_pyg.models.network import OrbitalNetwork
from equireann_pyg.nn import (
    Angular,
    CosineCutoff,
    Density,
    Envelope,
    Equivariant,
    Invariant,
    LastReadout,
    Local,
    MessageRule,
    PairRadial,
)


class EquiREANN(OrbitalNetwork):
    r"""Equivariant recursively embedded atom neural network, the paper's model.

    Source: Wu, Xia, Zhang, Jiang, J. Phys. Chem. A 2024, 128, 11061. An :class:`OrbitalNetwork` of
    :class:`~equireann_pyg.nn.Density` and :class:`~equireann_pyg.nn.Equivariant`. Of that class, too, are the variants with one
    contraction for all iterations, or radial functions for the neighbour's element alone::

        OrbitalNetwork(elements, cutoff, Shared(Density(64)), radial=ElementRadial(8))

    Args:
        elements: chemical symbols or atomic numbers the model knows; the command line takes those of the training set.
        cutoff: :math:`r_c` in Angstrom.
        angular: angular part.
        envelope: cutoff envelope of orbitals and messages; default :class:`~equireann_pyg.nn.CosineCutoff`, the paper's.
        num_radial: number of radial channels n.
        num_density: number of contracted densities k.
        num_iterations: number of message-passing iterations T.
        hidden_channels: hidden widths of the coefficient and output networks.
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
    ) -> None:
        parts = Density(num_density), self.rule(hidden_channels), LastReadout(hidden_channels)
        envelope = CosineCutoff() if envelope is None else envelope
        super().__init__(elements, cutoff, *parts, angular, envelope, PairRadial(num_radial), num_iterations)
        self.num_radial, self.num_density, self.hidden_channels = num_radial, num_density, list(hidden_channels)

    @classmethod
    def upgraded(cls, recipe: Recipe) -> Recipe:
        """Recipe in present terms of one that an earlier version has stored for this class."""
        return present_named(recipe, cls.rule, OrbitalNetwork)


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
    ) -> None:
        super().__init__(elements, cutoff, angular, envelope, num_radial, num_density, 0, hidden_channels)
