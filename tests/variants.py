"""Networks with the arguments of EquiREANN that are no EquiREANN."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from equireann_pyg import OrbitalNetwork
from equireann_pyg.nn import Density, ElementRadial, Equivariant, LastReadout, MessageRule, PairRadial, Shared


def shared(
    elements: Sequence[str | int],
    cutoff: float,
    num_radial: int = 8,
    num_density: int = 64,
    hidden_channels: Sequence[int] = (64, 64),
    rule: type[MessageRule] = Equivariant,
    **kwargs: Any,
) -> OrbitalNetwork:
    """One contraction for all iterations."""
    parts = Shared(Density(num_density)), rule(hidden_channels), LastReadout(hidden_channels)
    return OrbitalNetwork(elements, cutoff, *parts, **{"radial": PairRadial(num_radial)} | kwargs)


def shared_by_element(
    elements: Sequence[str | int], cutoff: float, num_radial: int = 8, **kwargs: Any
) -> OrbitalNetwork:
    """One contraction for all iterations, and radial functions of the neighbour's element."""
    return shared(elements, cutoff, radial=ElementRadial(num_radial), **kwargs)
