"""Small labelled structures of copper (effective medium theory) for the tests of training and use."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write


def frames(count: int = 24, seed: int = 0) -> list[Atoms]:
    """Rattled periodic cells (with stress) and clusters in turn."""
    rng = np.random.default_rng(seed)
    result = []
    for index in range(count):
        if index % 2:
            atoms = bulk("Cu", cubic=True)
            atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.03 * rng.normal(size=(3, 3))), scale_atoms=True)
        else:
            atoms = Atoms("Cu5", 1.6 * np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1.2]]))
        atoms.rattle(0.08, rng=rng)
        atoms.calc = EMT()
        results = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()}
        if atoms.pbc.all():
            results["stress"] = atoms.get_stress()
        atoms.calc = SinglePointCalculator(atoms, **results)
        atoms.info["config_type"] = "bulk" if atoms.pbc.all() else "cluster"
        result.append(atoms)
    return result


def write_frames(path: Path, count: int = 24, seed: int = 0) -> Path:
    """Extended-XYZ file of :func:`frames`."""
    write(path, frames(count, seed), format="extxyz")
    return path
