r"""Local many-body descriptors: invariants of the orbitals of one atom. They know nothing of messages.

A new descriptor is one class: :meth:`Descriptor.build` makes its parameters for the orbitals it will be given, ``forward``
turns these into invariants. :class:`~equireann_pyg.models.OrbitalNetwork` makes a message-passing model of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from equireann_pyg.nn.layout import Layout
from equireann_pyg.nn.plan import Plan
from equireann_pyg.nn.scaling import ElementStandardize, SoftStandardize
from equireann_pyg.ops import density


class Descriptor(Plan):
    r"""Base class of descriptors, :math:`B_i = D(\psi_i; z_i)`, invariant under rotation and reflection of :math:`\psi_i`.

    What a user makes is a plan that holds settings only; a network copies it for each iteration and builds the copies.
    Statistics of a training set belong in parts with a method ``fit``, such as :class:`~equireann_pyg.nn.ScaledLinear`.

    Shapes:
        - input: orbital ``[N, lm, n]`` with all channels of the layout, species ``[N]`` element index
        - output: features ``[N, k]``
    """

    num_features: int
    """Number of features k; known once built."""

    scaling: ClassVar[type[ElementStandardize]] = SoftStandardize
    """How a network brings the features to size."""

    def build(self, layout: Layout) -> None:
        """Make the parameters for orbitals of this layout, of ``num_channels`` channels, and set ``num_features``.

        Raises:
            ValueError: if the descriptor cannot work on such orbitals.
        """
        raise TypeError(f"{type(self).__name__} must define build(layout)")

    def forward(self, orbital: Tensor, species: Tensor) -> Tensor:
        """Invariants of the orbitals."""
        raise TypeError(f"{type(self).__name__} must define forward(orbital, species)")


class Shared(Descriptor):
    """One set of parameters for all iterations.

    Args:
        descriptor: plan of the descriptor to share.
    """

    def __init__(self, descriptor: Descriptor) -> None:
        super().__init__()
        self.descriptor = descriptor

    def copies(self, *arguments: Any) -> list[Any]:
        """The same built descriptor, several times."""
        *shape, count = arguments
        return self.descriptor.copies(*shape, 1) * count


class Density(Descriptor):
    """The paper's descriptor: embedded densities of contracted orbitals, see :class:`OrbitalDensity`.

    Args:
        num_density: number of densities k.
    """

    def __init__(self, num_density: int = 64) -> None:
        super().__init__()
        self.num_density = self.num_features = num_density

    def build(self, layout: Layout) -> None:
        """Make the contractions."""
        self.density = OrbitalDensity(layout.components, layout.num_channels, self.num_density)

    def forward(self, orbital: Tensor, species: Tensor) -> Tensor:
        """Squared contractions of the orbitals, summed over all degrees, ``[N, k]``."""
        return self.density(orbital)


class OrbitalDensity(torch.nn.Module):
    r"""Embedded electron density of contracted orbitals.

    .. math:: \rho_{ik} = \sum_{l} \sum_{m} \Bigl( \sum_n \psi_{i,lm,n} W_{lnk} \Bigr)^2

    Each density k has its own contraction for every l. Source: Zhang, Xia, Jiang, Phys. Rev. Lett. 2021, 127,
    156002 (REANN), eq. 3; the root of the multinomial weight is in the angular part.

    Args:
        components: number of angular components of each l = 0..L.
        num_radial: number of radial channels n.
        num_density: number of densities k.

    Shapes:
        - input: orbital ``[N, lm, n]``
        - output: density ``[N, k]``
    """

    def __init__(self, components: Sequence[int], num_radial: int, num_density: int) -> None:
        super().__init__()
        self.components = list(components)
        self.weight = torch.nn.Parameter(torch.empty(len(self.components), num_radial, num_density))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Normal weights that keep the variance of the orbitals."""
        torch.nn.init.normal_(self.weight, std=self.weight.size(1) ** -0.5)

    def forward(self, orbital: Tensor) -> Tensor:
        """Contract and square."""
        return density(orbital, self.weight, self.components)

    def extra_repr(self) -> str:
        _, num_radial, num_density = self.weight.shape
        return f"components={self.components}, num_radial={num_radial}, num_density={num_density}"
