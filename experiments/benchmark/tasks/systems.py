"""Systems that are timed: molecules, crystals, water."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from ase import Atoms
from ase.build import molecule
from torch_geometric.data import Data

from equireann_pyg import from_ase
from experiments.speed.cases import copper, molecules

ELEMENTS = ("H", "C", "N", "O", "Cu")
WATERS, SIDE = 4, 12.42
"""Molecules along an edge of the box, and its length in Angstrom: the density of the liquid."""


def water_box() -> Atoms:
    """64 molecules on a grid, turned at random, at the density of the liquid."""
    rng = np.random.default_rng(0)
    box = Atoms(cell=[SIDE] * 3, pbc=True)
    for place in np.ndindex(WATERS, WATERS, WATERS):
        one = molecule("H2O")
        one.rotate(360 * rng.random(), rng.normal(size=3), center="COM")
        one.positions += (np.array(place) + 0.5) * SIDE / WATERS - one.get_center_of_mass()
        box += one
    return box


def water(cutoff: float) -> Data:
    """The box as a graph."""
    return from_ase(water_box(), cutoff)


SYSTEMS: dict[str, Callable[[float], Data]] = {
    "molecule": partial(molecules, 1),
    "8 molecules": partial(molecules, 8),
    "64 molecules": partial(molecules, 64),
    "copper 108": partial(copper, (3, 3, 3)),
    "copper 1008": partial(copper, (6, 6, 7)),
    "copper 10192": partial(copper, (13, 14, 14)),
    "water 192": water,
}
"""Aspirin, 21 atoms; rattled crystals; a box of water: graphs for a cutoff in Angstrom."""
