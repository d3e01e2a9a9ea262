"""Lattice constant, bulk modulus and elastic constants of a cubic crystal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator
from ase.optimize import BFGS

from experiments.md.fits import birch

STRAIN = 0.005
"""Of the elastic constants, either way."""

STRETCH = 0.03
"""Largest of the lattice constant in the equation of state, either way."""

VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


@dataclass
class EquationOfState:
    """Energies of a cubic crystal at several volumes, and what they say.

    Args:
        lattice: lattice constants in Angstrom, ``[V]``.
        energy: in eV per atom, ``[V]``.
        lattice_constant: of the lowest energy, in Angstrom.
        bulk_modulus: in GPa.
    """

    lattice: np.ndarray
    energy: np.ndarray
    lattice_constant: float
    bulk_modulus: float


def equation_of_state(atoms: Atoms, points: int = 9) -> EquationOfState:
    """Birch and Murnaghan's, of energies about the lattice constant that the crystal has.

    Args:
        atoms: conventional cell of a cubic crystal with its calculator, whose atoms lie on sites of symmetry.
        points: number of volumes.

    Raises:
        ValueError: if the lowest energy is at an end of the range.
    """
    guess = float(atoms.cell.lengths()[0])
    lattice = guess * np.linspace(1 - STRETCH, 1 + STRETCH, points)
    energies, volumes = [], []
    for length in lattice:
        scaled = atoms.copy()
        scaled.calc = atoms.calc
        scaled.set_cell(atoms.cell.array * length / guess, scale_atoms=True)
        energies.append(scaled.get_potential_energy() / len(atoms))
        volumes.append(scaled.get_volume() / len(atoms))
    if np.argmin(energies) in (0, points - 1):
        raise ValueError(f"the energy has no minimum between {lattice[0]:.3f} and {lattice[-1]:.3f} Angstrom")
    volume, modulus = birch(np.array(volumes), np.array(energies))
    there = guess * (volume / (atoms.get_volume() / len(atoms))) ** (1 / 3)
    return EquationOfState(lattice, np.array(energies), there, modulus / units.GPa)


def deformed(atoms: Atoms, component: int, strain: float) -> Atoms:
    """Atoms under a strain of one of Voigt's components; shear is engineering shear, twice the off-diagonal entry."""
    tensor, (i, j) = np.zeros((3, 3)), VOIGT[component]
    tensor[i, j] += strain / 2
    tensor[j, i] += strain / 2
    moved = atoms.copy()
    moved.calc = atoms.calc
    moved.set_cell(atoms.cell.array @ (np.eye(3) + tensor), scale_atoms=True)
    return moved


def elastic_constants(atoms: Atoms, relaxed: bool = True, fmax: float = 1e-4, strain: float = STRAIN) -> np.ndarray:
    """Derivatives of the stress by the strain in GPa, ``[6, 6]``, by central differences.

    Args:
        atoms: crystal without stress, with its calculator.
        relaxed: let the atoms of a strained cell relax.
        fmax: largest force of a relaxed structure in eV/Angstrom.
        strain: either way.

    Raises:
        ValueError: if a structure does not relax.
    """
    rows = []
    for component in range(6):
        stresses = []
        for sign in (1, -1):
            moved = deformed(atoms, component, sign * strain)
            if relaxed:
                relax(moved, fmax)
            stresses.append(moved.get_stress())
        rows.append((stresses[0] - stresses[1]) / (2 * strain))
    return np.array(rows).T / units.GPa


def relax(atoms: Atoms, fmax: float, steps: int = 500) -> Atoms:
    """Move atoms to where no force is larger.

    Raises:
        ValueError: if that takes too many steps.
    """
    optimizer = BFGS(atoms, logfile=None)
    if not optimizer.run(fmax=fmax, steps=steps):
        raise ValueError(
            f"{atoms.symbols}: still a force of {np.linalg.norm(atoms.get_forces(), axis=1).max():.2g} eV/A"
        )
    return atoms


def cubic(constants: np.ndarray) -> tuple[float, float, float]:
    """C11, C12 and C44 of a cubic crystal from the means of what is equal in ``[6, 6]``."""
    normal = constants[:3, :3]
    c11 = float(np.trace(normal)) / 3
    return c11, float(normal.sum() - 3 * c11) / 6, float(np.trace(constants[3:, 3:])) / 3


@dataclass
class Strained:
    """A pair of reference frames with opposite strains of one component.

    Args:
        component: of Voigt's.
        strain: of either frame, ``[2]``; engineering shear.
        frames: with the reference's stress.
    """

    component: int
    strain: tuple[float, float]
    frames: tuple[Atoms, Atoms]

    def slopes(self, calculator: Calculator | None = None) -> np.ndarray:
        """Derivatives of the stress by the strain in GPa, ``[6]``; of the reference without a calculator."""
        stresses = []
        for frame in self.frames:
            atoms = frame.copy()
            atoms.calc = calculator or frame.calc
            stresses.append(atoms.get_stress())
        return (stresses[0] - stresses[1]) / (self.strain[0] - self.strain[1]) / units.GPa


def strains_of(frames: Sequence[Atoms]) -> np.ndarray:
    """Strains of cells of one crystal against the one with the smallest stress, with engineering shear, ``[F, 6]``."""
    cells = np.array([frame.cell.array for frame in frames])
    tensors = np.linalg.solve(unstrained(frames).cell.array, cells) - np.eye(3)
    return np.array([[(t[i, j] + t[j, i]) / (1 + (i == j)) for i, j in VOIGT] for t in tensors])


def unstrained(frames: Sequence[Atoms]) -> Atoms:
    """The frame with the smallest stress."""
    return min(frames, key=lambda frame: np.abs(frame.get_stress()).max())


def alone(strains: np.ndarray, component: int) -> np.ndarray:
    """Numbers of the frames under hardly more than a strain of one component, from the smallest on."""
    own = np.abs(strains[:, component])
    found = np.flatnonzero(np.abs(np.delete(strains, component, axis=1)).max(1) < 0.1 * own)
    return found[np.argsort(strains[found, component])]


def strained_pair(frames: Sequence[Atoms], component: int) -> Strained:
    """The two frames with the smallest strains of a component, one either way; the atoms are not relaxed.

    Raises:
        ValueError: if there is no such pair.
    """
    strains = strains_of(frames)
    order = alone(strains, component)
    own = strains[order, component]
    positive, negative = order[own > 0], order[own < 0]
    if not len(positive) or not len(negative):
        raise ValueError(f"no frames that are strained both ways along component {component}")
    one, other = positive[0], negative[-1]
    return Strained(component, (strains[one, component], strains[other, component]), (frames[one], frames[other]))
