"""Structures to be simulated: read, and looked at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.constraints import FixCom

from equireann_pyg.data.reading import read_frames
from equireann_pyg.elements import SYMBOLS

FARTHEST = 1.0
"""Angstrom that an atom may move in a step: ten times the way of a hydrogen atom at 3000 K in 1 fs."""

POTENTIALS = {".ckpt", ".pt", ".pt2"}
"""Endings of files of potentials."""


def one_structure(file: str | Path) -> Atoms:
    """The structure of a file, ``name@0`` where there are several.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it cannot be read, is a potential, or has several frames.
    """
    if Path(file).suffix in POTENTIALS and Path(file).is_file():
        raise ValueError(
            f"{file}: a potential where the structure is expected: name potentials first, the structure last"
        )
    frames = read_frames(file)
    if len(frames) > 1:
        raise ValueError(
            f"{file}: {len(frames)} frames, expected one: name it, {file}@0 say, or {file}@-1 for the last"
        )
    return frames[0]


def has_momenta(atoms: Atoms) -> bool:
    """Whether atoms move."""
    return bool(atoms.has("momenta") and atoms.get_momenta().any())


def held(atoms: Atoms) -> list[Any]:
    """Constraints of a structure, without that of the centre of mass, which an ensemble sets itself."""
    return [constraint for constraint in atoms.constraints if not isinstance(constraint, FixCom)]


def gaps(atoms: Atoms) -> np.ndarray:
    """Widest layer without atoms along the three directions of a periodic cell.

    Returns:
        Angstrom, perpendicular to the other two cell vectors, ``[3]``.
    """
    heights = 1 / np.linalg.norm(atoms.cell.reciprocal().array, axis=1)  # -> [3]
    scaled = np.sort(atoms.get_scaled_positions(wrap=True), axis=0)  # -> [N, 3]
    steps = np.diff(np.concatenate([scaled, scaled[:1] + 1]), axis=0)  # -> [N, 3]
    return np.asarray(heights * steps.max(axis=0))


def check_barostat(atoms: Atoms, reach: float) -> None:
    """Refuse a structure whose volume has no pressure: without a period, or with a vacuum between its images.

    Args:
        atoms: structure.
        reach: distance in Angstrom beyond which nothing interacts.

    Raises:
        ValueError: naming the direction.
    """
    if not atoms.pbc.all() or atoms.cell.rank < 3:
        raise ValueError(
            f"npt: expected a cell with a period in all three directions, got pbc {atoms.pbc.tolist()} and a cell of rank "
            f"{atoms.cell.rank}: set both in the structure, or use --ensemble nvt"
        )
    widths = gaps(atoms)
    widest = int(widths.argmax())
    if widths[widest] > reach:
        raise ValueError(
            f"npt: a vacuum of {widths[widest]:.1f} Angstrom along {'abc'[widest]}, across which nothing interacts (cutoff "
            f"{reach:g}): its volume has no pressure; use --ensemble nvt, or a structure that fills the cell"
        )


def check_speed(atoms: Atoms, timestep: float) -> None:
    """Refuse atoms that move farther in a step than any bond vibrates: nothing that follows would mean anything.

    Args:
        atoms: structure with momenta.
        timestep: in fs.

    Raises:
        ValueError: naming the fastest atom.
    """
    way = timestep * units.fs * np.linalg.norm(atoms.get_velocities(), axis=1)  # -> [N]
    fastest = int(way.argmax()) if len(way) else 0
    if len(way) and not way[fastest] <= FARTHEST:
        raise ValueError(
            f"atom {fastest} ({SYMBOLS[atoms.numbers[fastest]]}) moves {way[fastest]:.3g} Angstrom in a step of {timestep:g} fs"
        )


def check_forces(atoms: Atoms) -> None:
    """Refuse forces that are not finite, of calculators that do not do so themselves.

    Args:
        atoms: structure with a calculator that has computed it.

    Raises:
        ValueError: naming the atoms.
    """
    bad = np.flatnonzero(~np.isfinite(atoms.calc.results["forces"]).all(axis=1))
    if len(bad):
        listed = ", ".join(f"{atom} ({SYMBOLS[atoms.numbers[atom]]})" for atom in bad[:6])
        raise ValueError(f"forces not finite at atoms {listed}{f' and {len(bad) - 6} more' if len(bad) > 6 else ''}")
