"""What moves atoms by a potential: one interface for ASE, torch-sim and OpenMM, in double precision and on one thread."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms, units
from ase.md.verlet import VelocityVerlet

from equireann_pyg import EquiREANNCalculator
from equireann_pyg.engines import TorchSimModel, openmm_force
from equireann_pyg.engines.needed import needed
from equireann_pyg.engines.openmm import ENERGY

DTYPE = torch.float64
PICOSECOND = 1000 * units.fs


@dataclass
class Values:
    """What an engine computes of a structure.

    Args:
        energy: in eV.
        forces: in eV/Angstrom, ``[N, 3]``.
        stress: in eV/Angstrom^3, positive under tension, ``[3, 3]``; None where the engine has none.
    """

    energy: float
    forces: np.ndarray
    stress: np.ndarray | None = None


@dataclass
class Moved:
    """A trajectory at constant energy.

    Args:
        ps: time of the samples in ps, ``[S]``.
        total: total energy in eV, ``[S]``.
        pressure: in GPa, with the motion of the atoms, ``[S]``; None where the engine has none.
        seconds: processor time of the steps.
        steps: number of steps.
        atoms: number of atoms.
    """

    ps: np.ndarray
    total: np.ndarray
    pressure: np.ndarray | None
    seconds: float
    steps: int
    atoms: int

    @property
    def energy(self) -> np.ndarray:
        """Total energy since the first sample in meV per atom, ``[S]``."""
        return 1e3 * (self.total - self.total[0]) / self.atoms

    def drift(self) -> float:
        """Slope of the total energy in meV per atom and ps."""
        return float(np.polyfit(self.ps, self.energy, 1)[0])

    def spread(self) -> float:
        """Standard deviation of the total energy about that line in meV per atom."""
        return float(np.std(self.energy - np.polyval(np.polyfit(self.ps, self.energy, 1), self.ps)))

    def speed(self) -> float:
        """Processor time of an atom and step in microseconds."""
        return 1e6 * self.seconds / self.steps / self.atoms


class Engine(ABC):
    """A program with a potential.

    Args:
        checkpoint: file of the potential.
        timestep: of the dynamics in fs.

    Raises:
        ImportError: if the program is not installed.
    """

    name: str

    def __init__(self, checkpoint: Path, timestep: float) -> None:
        self.checkpoint, self.timestep = checkpoint, timestep

    @abstractmethod
    def values(self, atoms: Atoms) -> Values:
        """Energy, forces and stress of a structure."""

    @abstractmethod
    def move(self, atoms: Atoms, steps: int, every: int) -> Moved:
        """Velocity Verlet from positions and momenta, sampled every so many steps; the atoms are left as they are."""

    def _sampled(self, rows: list[tuple[float, float]], every: int, seconds: float, atoms: Atoms) -> Moved:
        """A trajectory of samples: total energy in eV and pressure in GPa, NaN where there is none."""
        total, pressure = np.array(rows).T
        ps = 1e-3 * self.timestep * every * np.arange(len(rows))
        kept = pressure if np.isfinite(pressure).all() else None
        return Moved(ps, total, kept, seconds, every * (len(rows) - 1), len(atoms))


class InASE(Engine):
    """The calculator, which the others are compared with."""

    name = "ASE"

    def __init__(self, checkpoint: Path, timestep: float, calculator: EquiREANNCalculator | None = None) -> None:
        super().__init__(checkpoint, timestep)
        self.calculator = calculator or EquiREANNCalculator(checkpoint, dtype=DTYPE)

    def values(self, atoms: Atoms) -> Values:
        """Energy, forces and stress of a structure."""
        atoms = atoms.copy()
        atoms.calc = self.calculator
        stress = atoms.get_stress(voigt=False) if atoms.cell.rank == 3 else None
        return Values(atoms.get_potential_energy(), atoms.get_forces(), stress)

    def move(self, atoms: Atoms, steps: int, every: int) -> Moved:
        """Velocity Verlet of ASE."""
        atoms = atoms.copy()
        atoms.calc = self.calculator
        dynamics, rows, seconds = VelocityVerlet(atoms, self.timestep * units.fs), [_sample(atoms)], 0.0
        for _ in range(steps // every):
            start = time.process_time()
            dynamics.run(every)
            seconds += time.process_time() - start
            rows.append(_sample(atoms))
        return self._sampled(rows, every, seconds, atoms)


def _sample(atoms: Atoms) -> tuple[float, float]:
    if atoms.cell.rank < 3:
        return atoms.get_total_energy(), np.nan
    return atoms.get_total_energy(), -np.trace(atoms.get_stress(voigt=False, include_ideal_gas=True)) / 3 / units.GPa


def kinetic_pressure(atoms: Atoms, kinetic: float) -> float:
    """Share of the motion of the atoms in the pressure in eV/Angstrom^3."""
    return 2 * kinetic / 3 / atoms.get_volume()


class InTorchSim(Engine):
    """torch-sim, with one structure at a time."""

    name = "torch-sim"

    def __init__(self, checkpoint: Path, timestep: float) -> None:
        super().__init__(checkpoint, timestep)
        self.sim = needed("torch_sim")
        self.model = TorchSimModel(checkpoint, dtype=DTYPE)

    def values(self, atoms: Atoms) -> Values:
        """Energy, forces and stress of a structure."""
        found = {name: value.numpy() for name, value in self.model(self._state(atoms)).items()}
        return Values(float(found["energy"][0]), found["forces"], found["stress"][0] if atoms.cell.rank == 3 else None)

    def move(self, atoms: Atoms, steps: int, every: int) -> Moved:
        """Its ``nve``."""
        step, kelvin = (torch.tensor(value, dtype=DTYPE) for value in (self.timestep * units.fs, units.kB))
        begin, advance = self.sim.nve(model=self.model, dt=step, kT=300 * kelvin, seed=0)
        self.model.compute_stress = False
        state = begin(self._state(atoms))
        state.momenta = torch.tensor(atoms.get_momenta(), dtype=DTYPE)
        rows, seconds = [self._look(state, atoms)], 0.0
        for _ in range(steps // every):
            start = time.process_time()
            for _ in range(every):
                state = advance(state)
            seconds += time.process_time() - start
            rows.append(self._look(state, atoms))
        return self._sampled(rows, every, seconds, atoms)

    def _state(self, atoms: Atoms) -> Any:
        return self.sim.io.atoms_to_state([atoms], self.model.device, DTYPE)

    def _look(self, state: Any, atoms: Atoms) -> tuple[float, float]:
        kinetic = float((state.momenta.square().sum(1) / state.masses).sum() / 2)
        total = float(state.energy[0]) + kinetic
        if atoms.cell.rank < 3:
            return total, np.nan
        self.model.compute_stress = True
        virial = float(self.model(state)["stress"][0].trace()) / 3
        self.model.compute_stress = False
        return total, (kinetic_pressure(atoms, kinetic) - virial) / units.GPa


class InOpenMM(Engine):
    """OpenMM's reference platform, which has no pressure of a force in Python."""

    name = "OpenMM"

    def __init__(self, checkpoint: Path, timestep: float) -> None:
        super().__init__(checkpoint, timestep)
        self.openmm = needed("openmm")

    def values(self, atoms: Atoms) -> Values:
        """Energy and forces of a structure."""
        state = self._context(atoms).getState(energy=True, forces=True)
        forces = np.asarray(state.getForces(asNumpy=True)._value) / (10 * ENERGY)
        return Values(state.getPotentialEnergy()._value / ENERGY, forces)

    def move(self, atoms: Atoms, steps: int, every: int) -> Moved:
        """Its ``VerletIntegrator``: leapfrog, with the kinetic energy at full steps."""
        context = self._context(atoms)
        half = 0.5 * self.timestep * units.fs  # leapfrog wants velocities half a step earlier
        back = atoms.get_velocities() - half * self.values(atoms).forces / atoms.get_masses()[:, None]
        context.setVelocities(0.1 * PICOSECOND * back)
        rows, seconds = [self._look(context)], 0.0
        for _ in range(steps // every):
            start = time.process_time()
            context.getIntegrator().step(every)
            seconds += time.process_time() - start
            rows.append(self._look(context))
        return self._sampled(rows, every, seconds, atoms)

    def _context(self, atoms: Atoms) -> Any:
        system = self.openmm.System()
        for mass in atoms.get_masses():
            system.addParticle(mass)
        if atoms.pbc.all():
            system.setDefaultPeriodicBoxVectors(*(0.1 * atoms.cell.array))
        system.addForce(openmm_force(self.checkpoint, atoms.numbers, bool(atoms.pbc.all()), dtype=DTYPE))
        integrator = self.openmm.VerletIntegrator(1e-3 * self.timestep)
        context = self.openmm.Context(system, integrator, self.openmm.Platform.getPlatform("Reference"))
        context.setPositions(0.1 * atoms.positions)
        return context

    def _look(self, context: Any) -> tuple[float, float]:
        state = context.getState(energy=True)
        return (state.getPotentialEnergy()._value + state.getKineticEnergy()._value) / ENERGY, np.nan
