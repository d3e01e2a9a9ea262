"""i-PI with one bead in this process, see :class:`experiments.md.apart.InIPI`."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms, units
from ase.io import write

from equireann_pyg.engines import ipi_driver
from equireann_pyg.engines.needed import needed
from experiments.md.apart import answer, job_of
from experiments.md.engines import Engine, Moved, Values, kinetic_pressure

INPUT = """
<simulation verbosity='quiet'>
  <total_steps>1000000</total_steps>
  <output prefix='out'></output>
  <ffdirect name='driver' pbc='false'>
    <pes>custom</pes> <pes_path>{driver}</pes_path>
    <parameters>{{template: start.xyz, potential: {checkpoint}, dtype: float64}}</parameters>
  </ffdirect>
  <system>
    <initialize nbeads='1'>
      <file mode='ase'>start.xyz</file> <velocities mode='thermal' units='kelvin'>300</velocities>
    </initialize>
    <forces><force forcefield='driver'/></forces>
    <motion mode='dynamics'>
      <fixcom>False</fixcom>
      <dynamics mode='nve'><timestep units='femtosecond'>{timestep}</timestep></dynamics>
    </motion>
    <ensemble><temperature units='kelvin'>300</temperature></ensemble>
  </system>
</simulation>
"""
BOX = 50.0
"""Edge in Angstrom of the box of a molecule, which i-PI wants; its driver is told that there is none."""


class Beads(Engine):
    """i-PI's simulation, where it writes its files into the folder in which it is."""

    name = "i-PI"

    def __init__(self, checkpoint: Path, timestep: float) -> None:
        super().__init__(checkpoint, timestep)
        convert = needed("ipi.utils.units")
        self.dalton = float(convert.unit_to_internal("mass", "dalton", 1.0))
        self.hartree = float(convert.unit_to_user("energy", "electronvolt", 1.0))
        self.bohr = float(
            convert.unit_to_user("length", "angstrom", 1.0)
        )  # the driver's; those called "ase" are rounded

    def values(self, atoms: Atoms) -> Values:
        """Energy, forces and stress of a structure."""
        system = self._simulation(atoms).syslist[0]
        forces = self.hartree / self.bohr * np.array(system.forces.f[0]).reshape(-1, 3)
        stress = None if atoms.cell.rank < 3 else -self._virial(system) / atoms.get_volume()
        return Values(self.hartree * float(system.forces.pots[0]), forces, stress)

    def move(self, atoms: Atoms, steps: int, every: int) -> Moved:
        """Its ``nve``."""
        simulation, seconds = self._simulation(atoms), 0.0
        rows = [self._look(simulation.syslist[0], atoms)]
        for _ in range(steps // every):
            start = time.process_time()
            simulation.run(every, write_outputs=False)
            seconds += time.process_time() - start
            rows.append(self._look(simulation.syslist[0], atoms))
        return self._sampled(rows, every, seconds, atoms)

    def _simulation(self, atoms: Atoms) -> Any:
        boxed = atoms.copy()
        if boxed.cell.rank < 3:
            boxed.cell = [BOX, BOX, BOX]
        write("start.xyz", Atoms(boxed.numbers, boxed.positions, cell=boxed.cell, pbc=boxed.pbc), format="extxyz")
        text = INPUT.format(driver=ipi_driver.__file__, checkpoint=self.checkpoint, timestep=self.timestep)
        simulation = needed("ipi.scripting").InteractiveSimulation(text)
        system = simulation.syslist[0]  # to all digits
        system.beads.m[:] = self.dalton * boxed.get_masses()
        system.cell.h = boxed.cell.array.T / self.bohr
        system.beads.q[0] = boxed.positions.ravel() / self.bohr
        system.beads.p[0] = np.sqrt(self.dalton / self.hartree) * boxed.get_momenta().ravel()
        return simulation

    def _virial(self, system: Any) -> np.ndarray:
        """In eV, ``[3, 3]``; i-PI keeps the upper triangle."""
        upper = np.triu(np.array(system.forces.vir))
        virial: np.ndarray = self.hartree * (upper + np.triu(upper, 1).T)
        return virial

    def _look(self, system: Any, atoms: Atoms) -> tuple[float, float]:
        twice = np.array(system.beads.p[0]) ** 2 / np.array(system.beads.m3[0])
        kinetic = self.hartree * float(twice.sum()) / 2
        total = self.hartree * float(system.forces.pots[0]) + kinetic
        if atoms.cell.rank < 3:
            return total, np.nan
        virial = np.trace(self._virial(system)) / 3 / atoms.get_volume()
        return total, (kinetic_pressure(atoms, kinetic) + virial) / units.GPa


def main(folder: Path) -> None:
    """Values of the structure, and a trajectory where one is asked for."""
    torch.set_num_threads(1)
    job, atoms = job_of(folder)
    engine = Beads(Path(job["checkpoint"]), job["timestep"])
    values = engine.values(atoms)
    answer(folder, 0, values, engine.move(atoms, job["steps"], job["every"]) if job["steps"] else None)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
