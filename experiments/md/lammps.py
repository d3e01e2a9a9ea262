"""Time of a step in LAMMPS beside the same potential in Python, and what ghosts cost.

    python -m experiments.md.lammps

Copper, untrained EquiREANN-plus in float32, cutoff 5 Angstrom, NVE with a skin of 1 Angstrom. LAMMPS on one and two processes
of one thread each, and ASE with the same exported potential on one. Written to lammps.csv.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from ase import Atoms, units
from ase.build import bulk
from ase.io.lammpsdata import write_lammps_data
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from ase.md.verlet import VelocityVerlet

from equireann_pyg import EquiREANNCalculator, Potential
from equireann_pyg.engines.lammps import build_plugin, environment, export_lammps, program
from equireann_pyg.files import user_cache
from equireann_pyg.inference import export_potential
from experiments.runs.models import models
from experiments.runs.results import write
from experiments.runs.rows import cpu

MODEL_NAMES = ("EquiREANN-plus-s", "EquiREANN-plus-m")
SIZES = (3, 6, 10)
"""Cubic cells along each edge: 108, 864 and 4,000 atoms."""

SCRIPT = """
plugin load {plugin}
units metal
atom_style atomic
read_data atoms.data
pair_style equireann
pair_coeff * * {model} Cu
neighbor 1.0 bin
velocity all create 300 1
fix nve all nve
timestep 0.002
thermo {steps}
run 2
run {steps}
"""


@dataclass(frozen=True)
class Files:
    """A potential, exported for Python and for LAMMPS."""

    name: str
    python: Path
    lammps: Path


def exported(name: str) -> Files:
    """The untrained model; its weights have no part in the time."""
    torch.manual_seed(0)
    potential = Potential(models()[name].build(["Cu"], 5.0))
    potential.allow_untrained = True
    folder = user_cache() / "benchmark" / "md"
    folder.mkdir(parents=True, exist_ok=True)
    return Files(
        name,
        export_potential(potential, folder / f"{name}.pt2"),
        export_lammps(potential, folder / f"{name}.lammps.pt2"),
    )


def in_lammps(files: Files, atoms: Atoms, steps: int, ranks: int) -> dict[str, float]:
    """Microseconds for each atom and step, ghosts for each atom, and the share of communication."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_lammps_data(folder / "atoms.data", atoms, masses=True)
        (folder / "in.lammps").write_text(SCRIPT.format(plugin=build_plugin(), model=files.lammps, steps=steps))
        words = [str(shutil.which("mpiexec")), "-n", str(ranks), str(program()), "-in", "in.lammps"]
        variables = environment() | {"OMP_NUM_THREADS": "1"}
        said = subprocess.run(words, cwd=folder, env=variables, capture_output=True, text=True, check=True).stdout
    last = said[said.rindex("Loop time of") :]
    seconds = float(re.findall(r"Loop time of (\S+)", last)[0])
    own, ghosts = (float(re.findall(rf"{kind}: +(\S+) ave", last)[0]) for kind in ("Nlocal", "Nghost"))
    return {"us_per_atom": 1e6 * seconds / steps / len(atoms), "ghosts_per_atom": ghosts / own}


def in_ase(files: Files, atoms: Atoms, steps: int) -> dict[str, float]:
    """Microseconds for each atom and step of ASE."""
    torch.set_num_threads(1)
    atoms = atoms.copy()
    atoms.calc = EquiREANNCalculator(files.python, skin=1.0)
    MaxwellBoltzmannDistribution(atoms, temperature_K=300)
    dynamics = VelocityVerlet(atoms, 2.0 * units.fs)
    dynamics.run(2)
    start = time.perf_counter()
    dynamics.run(steps)
    return {"us_per_atom": 1e6 * (time.perf_counter() - start) / steps / len(atoms), "ghosts_per_atom": 0.0}


def main() -> None:
    """Measure all sizes, print them and write them."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    rows = []
    for files in map(exported, MODEL_NAMES):
        for size in SIZES:
            atoms = bulk("Cu", cubic=True) * (size, size, size)
            steps = max(5, 40_000 // len(atoms))
            found = {"ASE, 1 process": in_ase(files, atoms, steps)}
            found |= {f"LAMMPS, {n} process{'es' * (n > 1)}": in_lammps(files, atoms, steps, n) for n in (1, 2)}
            for engine, numbers in found.items():
                row = {"model": files.name, "atoms": str(len(atoms)), "engine": engine}
                rows.append(row | {key: f"{value:.4g}" for key, value in numbers.items()} | {"cpu": cpu()})
                print(*rows[-1].values(), sep="  ", flush=True)
    write(Path(__file__).with_name("lammps.csv"), rows, list(rows[0]))


if __name__ == "__main__":
    main()
