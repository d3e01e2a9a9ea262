"""Bonds of a molecule: which there are, when they are broken, and what moves when one is stretched."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.data import covalent_radii

BONDED, BROKEN, SHORTEST = 1.25, 1.7, 0.5
"""Atoms are bonded within 1.25 sums of covalent radii, a bond is broken beyond 1.7; no two atoms come closer than 0.5 sums."""


@dataclass(frozen=True)
class Bonds:
    """Bonds of a molecule.

    Args:
        pairs: ``[B, 2]`` atoms of each bond, the heavier ones; a proton may change its partner.
        hydrogens: ``[H]`` atoms that need some heavy atom near them.
    """

    pairs: np.ndarray
    hydrogens: np.ndarray

    @classmethod
    def of(cls, atoms: Atoms) -> Bonds:
        """Bonds of a structure."""
        near = reduced_distances(atoms) < BONDED
        heavy = atoms.numbers > 1
        return cls(np.argwhere(np.triu(near & heavy & heavy[:, None])), np.flatnonzero(~heavy))

    def broken(self, atoms: Atoms) -> str:
        """What has come apart, or too close; empty if nothing has."""
        distances = reduced_distances(atoms)
        for i, j in self.pairs:
            if distances[i, j] > BROKEN:
                return f"{_name(atoms, i, j)} broken"
        heavy = atoms.numbers > 1
        for hydrogen in self.hydrogens:
            if heavy.any() and distances[hydrogen][heavy].min() > BROKEN:
                return f"{_name(atoms, hydrogen)} lost"
        i, j = np.unravel_index(distances.argmin(), distances.shape)
        return f"{_name(atoms, i, j)} too close" if distances[i, j] < SHORTEST else ""


def reduced_distances(atoms: Atoms) -> np.ndarray:
    """Distances in sums of covalent radii, ``[N, N]``; infinite on the diagonal."""
    radii = covalent_radii[atoms.numbers]
    distances = np.linalg.norm(atoms.positions[:, None] - atoms.positions, axis=-1) / (radii[:, None] + radii)
    np.fill_diagonal(distances, np.inf)
    return distances


def _name(atoms: Atoms, *indices: int) -> str:
    return "-".join(f"{atoms.symbols[int(index)]}{int(index)}" for index in indices)


def all_bonds(atoms: Atoms) -> Iterator[tuple[int, int]]:
    """Bonds of a structure, hydrogen included, the atom with more protons first."""
    for i, j in np.argwhere(np.triu(reduced_distances(atoms) < BONDED)):
        yield (int(i), int(j)) if atoms.numbers[i] >= atoms.numbers[j] else (int(j), int(i))


def stretched(atoms: Atoms, bond: tuple[int, int], length: float) -> Atoms:
    """The structure with one bond of another length: all that hangs on its second atom moves along.

    Args:
        atoms: structure, left as it is.
        bond: its two atoms; the bond is in no ring.
        length: in Angstrom.
    """
    first, second = bond
    moved, todo = {second}, [second]
    near = reduced_distances(atoms) < BONDED
    while todo:
        atom = todo.pop()
        found = {int(other) for other in np.flatnonzero(near[atom])} - moved
        if atom == second:
            found.discard(first)
        moved |= found
        todo += found
    if first in moved:
        raise ValueError(f"bond {_name(atoms, *bond)} is in a ring and cannot be stretched alone: choose another")
    atoms = atoms.copy()
    axis = atoms.positions[second] - atoms.positions[first]
    shift = axis * (length / np.linalg.norm(axis) - 1.0)
    atoms.positions[sorted(moved)] += shift
    return atoms


def extrema(energy: np.ndarray, tolerance: float) -> tuple[int, int]:
    """Number of local minima and maxima inside a curve, of those that stand out by more than ``tolerance``.

    Args:
        energy: ``[P]`` values along the curve.
        tolerance: ups and downs that do not count, in the same unit.
    """
    minima = maxima = direction = 0
    low = high = energy[0]
    for value in energy[1:]:
        low, high = min(low, value), max(high, value)
        if value - low > tolerance and direction <= 0:  # rises from a minimum, or from the start
            minima += direction < 0
            direction, high = 1, value
        elif high - value > tolerance and direction >= 0:
            maxima += direction > 0
            direction, low = -1, value
    return minima, maxima
