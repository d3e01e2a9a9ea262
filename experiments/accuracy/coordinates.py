"""Abscissas of scans whose files do not name them."""

from __future__ import annotations

import numpy as np
from ase import Atoms


def proton(atoms: Atoms) -> float:
    """Where the proton between two oxygen atoms is: its distance from the first minus that from the second, in Angstrom."""
    symbols = np.array(atoms.get_chemical_symbols())
    oxygens, hydrogens = np.flatnonzero(symbols == "O"), np.flatnonzero(symbols == "H")
    distances = atoms.get_all_distances()[np.ix_(oxygens[:2], hydrogens)]  # -> [2, H]
    first, second = distances[:, distances.max(axis=0).argmin()]
    return float(first - second)


def volume(atoms: Atoms) -> float:
    """Volume per atom in cubic Angstrom."""
    return float(atoms.get_volume() / len(atoms))
