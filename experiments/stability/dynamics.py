"""One trajectory at constant energy, which can be interrupted and goes on where it was."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import ase.units
import numpy as np
from ase import Atoms
from ase.md.velocitydistribution import Stationary, ZeroRotation
from ase.md.verlet import VelocityVerlet

from equireann_pyg.files import replacing
from experiments.stability.molecule import Bonds

TIMESTEP = 0.5
"""In femtoseconds."""

EVERY, SAVED = 100, 4000
"""Steps from one sample to the next, and from one saved state to the next."""

HOT = 2.5
"""A molecule has left when its temperature is so many times the wanted one: it has fallen into a hole of the potential."""


@dataclass
class Trace:
    """What was seen of a trajectory.

    Args:
        samples: ``[S, 3]`` step, total energy in eV, temperature in K.
        left: why the molecule is no more; empty if it is.
        atoms: number of atoms.
        busy: processor time in seconds.
    """

    samples: np.ndarray
    left: str
    atoms: int
    busy: float

    @property
    def ps(self) -> np.ndarray:
        """Time of each sample in ps, ``[S]``."""
        return 1e-3 * TIMESTEP * self.samples[:, 0]

    @property
    def energy(self) -> np.ndarray:
        """Total energy since the start in meV per atom, ``[S]``."""
        return 1e3 * (self.samples[:, 1] - self.samples[0, 1]) / self.atoms

    def drift(self) -> float:
        """Slope of the total energy in meV per atom and ps, of what was sampled before the molecule left."""
        count = len(self.samples) - bool(self.left)
        return float(np.polyfit(self.ps[:count], self.energy[:count], 1)[0]) if count > 1 else float("nan")

    def spread(self) -> float:
        """Standard deviation of the total energy about that line in meV per atom."""
        count = len(self.samples) - bool(self.left)
        if count < 3:
            return float("nan")
        x, y = self.ps[:count], self.energy[:count]
        return float(np.std(y - np.polyval(np.polyfit(x, y, 1), x)))


def thermalised(atoms: Atoms, temperature: float, sampled_at: float, seed: int) -> Atoms:
    """Velocities such that the mean temperature becomes the wanted one.

    Kinetic and potential energy share what there is: a frame that was sampled at another temperature gets velocities of twice
    the wanted temperature less its own. There is neither translation nor rotation.

    Args:
        atoms: frame, left as it is.
        temperature: wanted, in K.
        sampled_at: temperature of the frame in K.
        seed: of the velocities.
    """
    atoms = Atoms(atoms.numbers, atoms.positions)
    rng = np.random.default_rng(seed)
    atoms.set_momenta(rng.normal(size=(len(atoms), 3)) * np.sqrt(atoms.get_masses())[:, None])
    Stationary(atoms)
    ZeroRotation(atoms)
    atoms.set_momenta(atoms.get_momenta() * np.sqrt((2 * temperature - sampled_at) / atoms.get_temperature()))
    return atoms


def propagate(atoms: Atoms, temperature: float, steps: int, bonds: Bonds, file: Path) -> Trace:
    """Velocity Verlet for so many steps, or until the molecule has left.

    Args:
        atoms: with velocities and a calculator; moved in place.
        temperature: wanted, in K.
        steps: number of steps, a multiple of ``EVERY``.
        bonds: of the molecule.
        file: keeps positions, momenta and samples on the way, and at the end.
    """
    samples, left, busy = _resume(atoms, file)
    dynamics, began = VelocityVerlet(atoms, timestep=TIMESTEP * ase.units.fs), time.process_time()
    try:
        if not samples:
            samples.append(_sample(atoms, 0))
        while not left and samples[-1][0] < steps:
            dynamics.run(EVERY)
            samples.append(_sample(atoms, int(samples[-1][0]) + EVERY))
            left = bonds.broken(atoms) or _hot(samples[-1][2], temperature)
            if samples[-1][0] % SAVED == 0:
                _save(file, atoms, samples, left, busy + time.process_time() - began)
    except ValueError as error:  # the calculator refuses numbers that are not finite, and atoms that coincide
        left = str(error)
        samples.append([samples[-1][0] + EVERY if samples else 0, np.nan, np.nan])
    busy += time.process_time() - began
    _save(file, atoms, samples, left, busy)
    return Trace(np.array(samples, dtype=float), left, len(atoms), busy)


def _sample(atoms: Atoms, step: int) -> list[float]:
    return [step, atoms.get_total_energy(), atoms.get_temperature()]


def _hot(now: float, wanted: float) -> str:
    return "" if now < HOT * wanted else f"temperature {now:.0f} K"


def _save(file: Path, atoms: Atoms, samples: list[list[float]], left: str, busy: float) -> None:
    with replacing(file, ".npz") as partial:
        np.savez(partial, positions=atoms.positions, momenta=atoms.get_momenta(), samples=samples, left=left, busy=busy)


def _resume(atoms: Atoms, file: Path) -> tuple[list[list[float]], str, float]:
    """Samples so far and their processor time, with the atoms where they were; none if there is no file."""
    if not file.is_file():
        return [], "", 0.0
    with np.load(file) as stored:
        atoms.positions = stored["positions"]
        atoms.set_momenta(stored["momenta"])
        return stored["samples"].tolist(), str(stored["left"]), float(stored["busy"])
