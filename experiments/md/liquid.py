"""Radial distribution functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.neighborlist import neighbor_list

WIDTH = 0.1
"""Of the bins in Angstrom."""


@dataclass
class Distribution:
    """Pairs at a distance in units of those without any order.

    Args:
        r: middle of the bins in Angstrom, ``[B]``.
        g: ``[B]``.
    """

    r: np.ndarray
    g: np.ndarray

    def peak(self) -> tuple[float, float]:
        """Place and height of the highest bin, by a parabola through it and its neighbours.

        Raises:
            ValueError: if the highest bin is the first or last one.
        """
        highest = int(np.argmax(self.g))
        if highest in (0, len(self.g) - 1):
            raise ValueError(f"no peak of the distribution below {self.r[-1]:.2f} Angstrom")
        before, there, after = self.g[highest - 1 : highest + 2]
        moved = (before - after) / (2 * (before - 2 * there + after))
        height = there - (before - after) * moved / 4
        return float(self.r[highest] + moved * (self.r[1] - self.r[0])), float(height)


def distribution(frames: Sequence[Atoms], symbol: str, cutoff: float, width: float = WIDTH) -> Distribution:
    """Mean over frames, each in units of its own density.

    Args:
        frames: periodic structures.
        symbol: element, whose atoms make the pairs.
        cutoff: largest distance in Angstrom.
        width: of the bins, about.
    """
    bins = np.linspace(0, cutoff, max(3, round(cutoff / width)) + 1)
    shells, total = 4 / 3 * np.pi * np.diff(bins**3), np.zeros(len(bins) - 1)
    for frame in frames:
        chosen = frame[[atom.symbol == symbol for atom in frame]]
        distances = neighbor_list("d", chosen, cutoff)
        ideal = len(chosen) * (len(chosen) - 1) / chosen.get_volume() * shells
        total += np.histogram(distances, bins)[0] / ideal
    return Distribution((bins[1:] + bins[:-1]) / 2, total / len(frames))
