"""Small labelled molecules (effective medium theory, as rough as it is quick) for tests with several elements."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import molecule
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write


def molecules(names: Sequence[str], count: int = 20, seed: int = 0, shift: float = 0.0) -> list[Atoms]:
    """Rattled molecules in turn, with energies that are shifted by ``shift`` eV for each atom."""
    rng = np.random.default_rng(seed)
    frames = []
    for index in range(count):
        atoms = molecule(names[index % len(names)])
        atoms.rattle(0.05, rng=rng)
        atoms.calc = EMT()
        results = {"energy": atoms.get_potential_energy() + shift * len(atoms), "forces": atoms.get_forces()}
        atoms.calc = SinglePointCalculator(atoms, **results)
        frames.append(atoms)
    return frames


def write_molecules(path: Path, names: Sequence[str], count: int = 20, seed: int = 0, shift: float = 0.0) -> str:
    """Extended-XYZ file of :func:`molecules`."""
    write(path, molecules(names, count, seed, shift), format="extxyz")
    return str(path)
