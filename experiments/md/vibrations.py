"""Phonons of a crystal by phonopy, and vibrations of a molecule by ASE."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.vibrations import Vibrations

from equireann_pyg.engines.needed import needed

DISPLACEMENT = 0.01
"""In Angstrom."""

PATH = {"Γ": (0.0, 0.0, 0.0), "X": (0.5, 0.5, 0.0), "X'": (0.5, 0.5, 1.0), "L": (0.5, 0.5, 0.5)}
"""Points of a face-centred cubic crystal in reciprocal lattice vectors of the primitive cell; X' is X of the next zone."""

LEGS = (("Γ", "X"), ("X'", "Γ"), ("Γ", "L"))
"""Straight parts of the path; from X' to Γ it goes by K."""


@dataclass
class Bands:
    """Frequencies along the path.

    Args:
        x: length of the path in 2 pi / Angstrom, ``[Q]``.
        frequency: in THz, negative where imaginary, ``[Q, branches]``.
        points: name and place of the ends of the legs.
    """

    x: np.ndarray
    frequency: np.ndarray
    points: list[tuple[str, float]]


class Phonons:
    """Force constants of a face-centred cubic crystal from displaced atoms.

    Args:
        atoms: conventional cell, whose atoms feel no force, with its calculator.
        repeats: conventional cells along each edge of the supercell; even, so that X belongs to it.

    Raises:
        ImportError: if phonopy is not installed.
    """

    def __init__(self, atoms: Atoms, repeats: int = 2) -> None:
        phonopy = needed("phonopy", "phonons")
        structures = needed("phonopy.structure.atoms", "phonons")
        cell = structures.PhonopyAtoms(list(atoms.symbols), cell=atoms.cell.array, positions=atoms.positions)
        centred = [[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]
        self.phonopy: Any = phonopy.Phonopy(cell, np.eye(3, dtype=int) * repeats, primitive_matrix=centred)
        self.phonopy.generate_displacements(distance=DISPLACEMENT)
        forces = []
        for moved in self.phonopy.supercells_with_displacements:
            structure = Atoms(moved.symbols, moved.positions, cell=moved.cell, pbc=True)
            structure.calc = atoms.calc
            forces.append(structure.get_forces())
        self.phonopy.forces = np.array(forces)
        self.phonopy.produce_force_constants(show_drift=False)
        self.phonopy.symmetrize_force_constants(show_drift=False)

    def frequencies(self, points: Sequence[Sequence[float]]) -> np.ndarray:
        """In THz, ``[Q, branches]``, negative where imaginary; points in reciprocal vectors of the primitive cell."""
        self.phonopy.run_qpoints(points)
        found: np.ndarray = self.phonopy.qpoints.frequencies
        return found

    def bands(self, points: int = 41) -> Bands:
        """Along Γ-X, X'-Γ and Γ-L, so many points each."""
        reciprocal = np.linalg.inv(self.phonopy.primitive.cell).T  # vectors in rows
        x, q, ends, start = [], [], [], 0.0
        for first, last in LEGS:
            here, there = np.array(PATH[first]), np.array(PATH[last])
            share = np.linspace(0, 1, points)[:, None]
            length = float(np.linalg.norm((there - here) @ reciprocal))
            ends += [(first, start), (last, start + length)]
            x.append(start + length * share[:, 0])
            q.append(here + share * (there - here))
            start += length
        return Bands(np.concatenate(x), self.frequencies(np.concatenate(q)), ends)

    def shear_velocity(self, part: float = 0.02) -> float:
        """Of transverse waves along a cubic axis in km/s: the slope of the lowest branch near Γ."""
        q = part * np.array(PATH["X"])
        length = float(np.linalg.norm(q @ np.linalg.inv(self.phonopy.primitive.cell).T))
        return 0.1 * float(self.frequencies([q])[0, 0]) / length  # of THz Angstrom


def velocity(modulus: float, atoms: Atoms) -> float:
    """Speed in km/s of waves under a modulus in GPa."""
    density = atoms.get_masses().sum() / units.kg / (atoms.get_volume() * 1e-30)
    return 1e-3 * float(np.sqrt(1e9 * modulus / density))


def wavenumbers(atoms: Atoms) -> np.ndarray:
    """Vibrations of a relaxed molecule in 1/cm, ``[3 N]`` from below, negative where imaginary; by central differences."""
    with tempfile.TemporaryDirectory() as name:
        vibrations = Vibrations(atoms, name=str(Path(name) / "vibrations"), delta=DISPLACEMENT)
        vibrations.run()
        found = vibrations.get_frequencies()
    return np.sort(np.where(found.imag != 0, -np.abs(found.imag), found.real))
