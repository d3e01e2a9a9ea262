"""Molecular dynamics and relaxation in ASE with a trained potential: run train.py first, or name another file."""

import sys
from pathlib import Path

import numpy as np
from ase import units
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS

from equireann_pyg import EquiREANNCalculator
from equireann_pyg.data import read_frames
from equireann_pyg.datasets import cumulene

file = sys.argv[1] if len(sys.argv) > 1 else "potential.pt"
if not Path(file).is_file():
    sys.exit(
        f"{file}: no such file: run train.py in this folder first, which writes it, or name a checkpoint of your own"
    )
atoms = next(atoms for atoms in read_frames(cumulene("scan")) if atoms.info["n_carbons"] == 4)
atoms.calc = EquiREANNCalculator(file)

BFGS(atoms, logfile=None).run(fmax=0.05, steps=50)
print(f"relaxed: {atoms.get_potential_energy():.3f} eV, largest force {np.abs(atoms.get_forces()).max():.3f} eV/Å")

momenta = np.random.default_rng(0).normal(size=(len(atoms), 3)) * np.sqrt(units.kB * 300 * atoms.get_masses())[:, None]
atoms.set_momenta(momenta - momenta.mean(0))  # 300 K, at rest as a whole
dynamics = VelocityVerlet(atoms, timestep=0.5 * units.fs)
totals = []
dynamics.attach(lambda: totals.append(atoms.get_total_energy()))
dynamics.run(200)
print(f"100 fs: the total energy stays within {1e3 * np.ptp(totals):.2f} meV, at {atoms.get_temperature():.0f} K")
