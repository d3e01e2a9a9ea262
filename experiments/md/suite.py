"""A solid, a liquid and a molecule, the potentials that are trained for them, and thermal structures to start from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.io import read, write
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import Stationary, ZeroRotation

from equireann_pyg import EquiREANNCalculator
from equireann_pyg.data import read_frames
from equireann_pyg.files import replacing
from experiments.accuracy.cases import CASES
from experiments.runs.job import Job
from experiments.runs.models import models
from experiments.runs.results import locked
from experiments.runs.run import Suite, run_job

FOLDER = Path(__file__).parent
MODEL = "EquiREANN-plus-s"
QUICK_MINUTES, MINUTES = 1.0, 6.0
"""Minutes of one core that a potential is trained."""


@dataclass(frozen=True)
class System:
    """What is simulated, and how long.

    Args:
        name: of the case of the accuracy experiment that it is trained as.
        title: for tables.
        timestep: in fs.
        kelvin: temperature of the dynamics.
        steps: of the dynamics at constant energy.
        quick_steps: likewise, of a quick run.
        long_ps: in ps, of the long runs in LAMMPS.
        chosen: what is smallest for the reference frame that trajectories start from.
    """

    name: str
    title: str
    timestep: float
    kelvin: float
    steps: int
    quick_steps: int
    long_ps: float
    chosen: Callable[[Atoms], float]


def density(atoms: Atoms) -> float:
    """In g/cm^3."""
    return float(atoms.get_masses().sum() / units.mol / (atoms.get_volume() * 1e-24))


def _crystal(atoms: Atoms) -> float:
    """Energy per atom of a frame of molecular dynamics, which is lowest in the crystal at the lowest temperature."""
    energy = atoms.get_potential_energy() / len(atoms)
    return energy if str(atoms.info.get("group")).startswith("AIMD") else energy + 1e3


SYSTEMS = {
    "solid": System("mlearn-Si", "Si, 64 atoms", 1.0, 300.0, 2000, 200, 50.0, _crystal),
    "liquid": System(
        "water", "water, 64 molecules", 0.5, 300.0, 2000, 100, 5.0, lambda atoms: abs(density(atoms) - 1.0)
    ),
    "molecule": System("rmd17-ethanol", "ethanol", 0.5, 300.0, 20000, 1000, 50.0, Atoms.get_potential_energy),
}


def suite(out: Path) -> Suite:
    """The trainings, whose errors go to ``results/errors.csv``."""
    cases = {system.name: CASES[system.name] for system in SYSTEMS.values()}
    return Suite(out, cases, {MODEL: models()[MODEL]}, name="results/errors")


def trained(system: System, minutes: float, fast: bool, data: Path, out: Path, say: Callable[[str], None]) -> Path:
    """Checkpoint of a potential that is trained for so many minutes of one core; goes on where it was.

    Args:
        system: what it is for.
        minutes: budget of the steps.
        fast: the errors go to the table of quick runs.
        data: folder of the data sets.
        out: folder of the experiment.
        say: takes what there is to say.

    Raises:
        FileNotFoundError: if frames are neither there nor can be fetched, or another process trains.
        ValueError: if the training diverges.
    """
    own = suite(out)
    case = replace(own.cases[system.name], minutes=minutes, longer={}, epochs=None)
    sets = case.load(data)
    job = Job(case, MODEL, own.models[MODEL], 0)
    run_job(own, job, sets, fast, say)
    path = out / "work" / f"{case.name}-{MODEL}-seed0-{job.mark(sets, job.model())}" / "best.ckpt"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file: wait until the other process has trained it")
    return path


def reference_frames(system: System, data: Path) -> list[Atoms]:
    """Frames of training and test with their reference results, each file as a whole."""
    case = CASES[system.name]
    files = dict.fromkeys(part.load(data, 2.0).file.split("@")[0] for part in (case.train, case.tests["test"]))
    return [frame for file in files for frame in read_frames(file)]


def draw(atoms: Atoms, kelvin: float, rng: np.random.Generator) -> None:
    """Momenta of a temperature."""
    widths = np.sqrt(units.kB * kelvin * atoms.get_masses())
    atoms.set_momenta(widths[:, None] * rng.normal(size=(len(atoms), 3)))


def langevin(atoms: Atoms, system: System, seed: int) -> Langevin:
    """Langevin dynamics of atoms that get velocities of the temperature, the same for the same seed."""
    rng = np.random.default_rng(seed)
    draw(atoms, system.kelvin, rng)
    step, friction = system.timestep * units.fs, 0.02 / units.fs
    return Langevin(atoms, step, temperature_K=system.kelvin, friction=friction, fixcm=False, rng=rng)


def thermal(system: System, calculator: EquiREANNCalculator, frames: list[Atoms], steps: int, path: Path) -> Atoms:
    """A reference frame after so many steps at its temperature, with momenta; kept in a file.

    Args:
        system: what it is.
        calculator: potential.
        frames: reference frames.
        steps: of Langevin dynamics.
        path: file, ``*.extxyz``.
    """
    with locked(path):
        if not path.is_file():
            start = min(frames, key=system.chosen)
            atoms = Atoms(start.numbers, start.positions, cell=start.cell, pbc=start.pbc, calculator=calculator)
            langevin(atoms, system, seed=0).run(steps)
            Stationary(atoms)
            if not atoms.pbc.any():
                ZeroRotation(atoms)
            with replacing(path, ".extxyz") as partial:
                write(partial, atoms, format="extxyz", write_results=False)
        found: Atoms = read(path)  # type: ignore[assignment]
        return found
