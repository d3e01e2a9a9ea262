"""The shape of an orbital."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Layout:
    r"""What the last two dimensions of an orbital :math:`\psi` ``[N, lm, n + m]`` mean.

    Args:
        components: number of angular components of each degree l = 0..L.
        num_radial: number of radial channels n, which come first: orbitals with coefficients.
        num_species: number of chemical elements that the network knows.
        cartesian: whether the components are Cartesian moments rather than spherical harmonics.
        num_messages: number of channels m that messages have for themselves; zero where they are added to the others.
    """

    components: tuple[int, ...]
    num_radial: int
    num_species: int
    cartesian: bool = False
    num_messages: int = 0

    @property
    def num_channels(self) -> int:
        """All channels n + m, what a descriptor sees."""
        return self.num_radial + self.num_messages

    @property
    def max_degree(self) -> int:
        """L, inclusive."""
        return len(self.components) - 1

    def require_harmonics(self, name: str) -> None:
        """Refuse Cartesian moments.

        Raises:
            ValueError: with ``name``, the class that asks.
        """
        if self.cartesian:
            raise ValueError(
                f"{name} needs spherical harmonics, got Cartesian moments: use angular=SphericalHarmonics()"
            )


def degree_of(components: tuple[int, ...]) -> Tensor:
    """Degree l of every component, ``[lm]`` int64."""
    return torch.repeat_interleave(torch.arange(len(components)), torch.tensor(components))
