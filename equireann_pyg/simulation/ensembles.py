"""Ensembles: which of ASE's integrators, with which variables of its own besides positions and momenta."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.constraints import FixCom
from ase.md.bussi import Bussi
from ase.md.langevin import Langevin
from ase.md.langevinbaoab import LangevinBAOAB
from ase.md.md import MolecularDynamics
from ase.md.verlet import VelocityVerlet

from equireann_pyg.simulation.structures import check_barostat

Variables = dict[str, np.ndarray]
"""What an integrator remembers from step to step."""


@dataclass(frozen=True)
class Ensemble(ABC):
    """What is kept constant.

    Args:
        timestep: in fs.
    """

    timestep: float

    def __post_init__(self) -> None:
        """Refuse quantities that are not positive.

        Raises:
            ValueError: naming the option.
        """
        for name, value in asdict(self).items():
            if name != "pressure" and not 0 < value < float("inf"):
                raise ValueError(f"--{name}: expected more than 0, got {value:g}")

    @property
    def name(self) -> str:
        """Of the class."""
        return type(self).__name__

    def settings(self) -> dict[str, Any]:
        """Name and arguments, as plain values."""
        return {"ensemble": self.name, **asdict(self)}

    def prepare(self, atoms: Atoms, reach: float) -> None:
        """Make a structure ready: where nothing is held, its centre of mass is.

        Args:
            atoms: structure with a calculator.
            reach: distance in Angstrom beyond which nothing interacts.

        Raises:
            ValueError: if the structure cannot be simulated so.
        """
        if len(atoms) > 1 and not atoms.constraints:
            atoms.set_constraint(FixCom())

    @abstractmethod
    def dynamics(self, atoms: Atoms, rng: np.random.Generator) -> MolecularDynamics:
        """ASE's integrator."""

    def variables(self, dynamics: MolecularDynamics) -> Variables:
        """What the integrator remembers; by default nothing."""
        return {}

    def restore(self, dynamics: MolecularDynamics, variables: Mapping[str, np.ndarray]) -> None:
        """Give the integrator back what :meth:`variables` returned."""
        return None


@dataclass(frozen=True)
class NVE(Ensemble):
    """Constant energy, by velocity Verlet."""

    def dynamics(self, atoms: Atoms, rng: np.random.Generator) -> MolecularDynamics:
        """ASE's ``VelocityVerlet``."""
        return VelocityVerlet(atoms, self.timestep * units.fs)


@dataclass(frozen=True)
class Thermostat(Ensemble):
    """Constant temperature.

    Args:
        timestep: in fs.
        temperature: in K.
        thermostat_time: in fs, in which the temperature comes to its mean.
    """

    temperature: float
    thermostat_time: float


class LangevinNVT(Thermostat):
    """Friction and random forces at every atom: for whatever structure, small ones too; motion is damped."""

    def dynamics(self, atoms: Atoms, rng: np.random.Generator) -> MolecularDynamics:
        """ASE's ``Langevin``, by Vanden-Eijnden and Ciccotti."""
        friction = 1 / (self.thermostat_time * units.fs)
        return Langevin(
            atoms, self.timestep * units.fs, temperature_K=self.temperature, friction=friction, fixcm=False, rng=rng
        )


class BussiNVT(Thermostat):
    """All velocities scaled by one random number (Bussi, Donadio, Parrinello): motion, diffusion say, is hardly disturbed."""

    def dynamics(self, atoms: Atoms, rng: np.random.Generator) -> MolecularDynamics:
        """ASE's ``Bussi``."""
        return Bussi(
            atoms,
            self.timestep * units.fs,
            temperature_K=self.temperature,
            taut=self.thermostat_time * units.fs,
            rng=rng,
        )

    def variables(self, dynamics: Any) -> Variables:
        """Energy that came from the thermostat, in eV."""
        return {"transferred_energy": np.array(dynamics.transferred_energy)}

    def restore(self, dynamics: Any, variables: Mapping[str, np.ndarray]) -> None:
        """That energy."""
        dynamics.transferred_energy = float(variables["transferred_energy"])


@dataclass(frozen=True)
class LangevinNPT(Thermostat):
    """Constant pressure and temperature; the cell keeps its shape.

    Langevin dynamics of atoms and volume (Quigley and Probert, J. Chem. Phys. 2004, 120, 11432), and not ASE's integrators by
    Martyna, Tobias and Klein, which heat 3 N degrees of freedom where a conserved momentum leaves 3 N - 3.

    Args:
        timestep: in fs.
        temperature: in K.
        thermostat_time: in fs, in which the temperature comes to its mean.
        pressure: in GPa.
        barostat_time: in fs, for the volume.
    """

    pressure: float
    barostat_time: float

    def prepare(self, atoms: Atoms, reach: float) -> None:
        """See :meth:`Ensemble.prepare`; the centre of mass is not held, as its momentum is a degree of freedom here.

        Raises:
            ValueError: for atoms that are held, a structure that does not fill a cell, and a calculator without stress.
        """
        if atoms.constraints:
            raise ValueError("npt: expected no atoms that are held: release them, or use --ensemble nvt")
        if not np.isfinite(self.pressure):
            raise ValueError(f"--pressure: expected a number of GPa, got {self.pressure}")
        check_barostat(atoms, reach)
        if "stress" not in atoms.calc.results:
            raise ValueError("npt: the calculator gives no stress: use --ensemble nvt, or another model")

    def dynamics(self, atoms: Atoms, rng: np.random.Generator) -> MolecularDynamics:
        """ASE's ``LangevinBAOAB``."""
        mass = (3 * len(atoms) + 3) * units.kB * self.temperature * (self.barostat_time * units.fs) ** 2
        return LangevinBAOAB(
            atoms,
            self.timestep * units.fs,
            temperature_K=self.temperature,
            externalstress=-self.pressure * units.GPa,
            hydrostatic=True,
            T_tau=self.thermostat_time * units.fs,
            P_tau=self.barostat_time * units.fs,
            P_mass=mass,
            rng=rng,
        )

    def variables(self, dynamics: Any) -> Variables:
        """Momentum of the volume, and the force on it, which is older than the last change of the velocities."""
        return {"p_eps": np.array(dynamics.p_eps), "force_eps": np.array(dynamics.force_eps)}

    def restore(self, dynamics: Any, variables: Mapping[str, np.ndarray]) -> None:
        """Momentum and force."""
        dynamics.p_eps, dynamics.force_eps = float(variables["p_eps"]), float(variables["force_eps"])


def draw_momenta(atoms: Atoms, temperature: float, rng: np.random.Generator) -> None:
    """Momenta of Maxwell and Boltzmann at a temperature in K, for the atoms that are not held."""
    widths = np.sqrt(atoms.get_masses() * units.kB * temperature)[:, None]  # -> [N, 1]
    atoms.set_momenta(widths * rng.standard_normal((len(atoms), 3)))
