"""Long runs in LAMMPS: constant energy, and constant pressure."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from ase import Atoms, units

from experiments.md import tables
from experiments.md.in_lammps import InLammps
from experiments.md.suite import System
from experiments.md.tables import Found, Number

SAMPLES = 200
"""Of a trajectory."""

SHARE = 0.4
"""Of the length at constant energy: that at constant pressure."""

BLOCKS = 5
"""Whose means give the uncertainty of a mean."""


def energy(checkpoint: Path, system: System, snapshot: Atoms, ps: float) -> Found:
    """Total energy of so many ps at constant energy."""
    every = max(1, round(1e3 * ps / system.timestep / SAMPLES))
    moved = InLammps(checkpoint, system.timestep).move(snapshot, SAMPLES * every, every)
    return Found(tables.moved(moved).numbers, [("total energy, long", moved.ps, moved.energy)])


def pressure(checkpoint: Path, system: System, snapshot: Atoms, ps: float) -> Found:
    """Volume, pressure and temperature at 1 bar and the temperature of the system, means of the second half."""
    every = max(1, round(1e3 * SHARE * ps / system.timestep / SAMPLES))
    held = InLammps(checkpoint, system.timestep).held(snapshot, SAMPLES * every, every, system.kelvin)
    half = len(held.ps) // 2
    grams = snapshot.get_masses().sum() / units.mol * 1e24  # times A^3/cm^3
    numbers = [
        *_with_error("pressure", held.pressure[half:], "GPa", 1e-4, "barostat"),
        *_with_error("temperature", held.kelvin[half:], "K", system.kelvin, "thermostat"),
        *_with_error("density", grams / held.volume[half:], "g/cm3", grams / snapshot.get_volume(), "of the start"),
        Number("length at constant pressure", float(held.ps[-1]), "ps"),
    ]
    return Found(numbers, [("volume", held.ps, held.volume / held.volume[0])])


def _with_error(quantity: str, values: np.ndarray, unit: str, reference: float, of: str) -> list[Number]:
    """A mean, and its standard error by means of blocks."""
    blocks = np.array([block.mean() for block in np.array_split(values, BLOCKS)])
    error = float(blocks.std(ddof=1) / np.sqrt(BLOCKS))
    return [
        Number(quantity, float(values.mean()), unit, reference, of),
        Number(f"{quantity}, standard error", error, unit),
    ]


Part = Callable[[Path, System, Atoms, float], Found]
"""Of a checkpoint, the system, a thermal structure and a length in ps."""


def parts_of(snapshot: Atoms) -> dict[str, Part]:
    """What is measured, by its name; no pressure without a box."""
    return {"LAMMPS, long": energy} | ({"constant pressure": pressure} if snapshot.cell.rank == 3 else {})
