"""LAMMPS behind the interface of engines."""

from __future__ import annotations

import hashlib
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.calculators.lammps import Prism
from ase.io.lammpsdata import write_lammps_data

from equireann_pyg import EquiREANNCalculator
from equireann_pyg.engines.lammps import build_plugin, environment, export_lammps, program
from equireann_pyg.engines.needed import needed
from experiments.md.engines import DTYPE, Engine, Moved, Values
from experiments.runs.results import locked

INPUT = """
plugin load {plugin}
units metal
boundary {boundary}
atom_style atomic
read_data atoms.data
pair_style equireann
pair_coeff * * {model} {elements}
neighbor 1.0 bin
thermo_style custom step etotal press pe pxx pyy pzz pxy pxz pyz vol temp
thermo_modify format float %24.16g norm no
thermo {every}
timestep {timestep}
fix motion all {motion}
dump all all custom {dumped} out.dump id fx fy fz
dump_modify all sort id format float %24.16g
run {steps}
"""


@dataclass
class Held:
    """A trajectory at constant temperature and pressure.

    Args:
        ps: time of the samples in ps, ``[S]``.
        pressure: in GPa, ``[S]``.
        volume: in Angstrom^3, ``[S]``.
        kelvin: temperature, ``[S]``.
    """

    ps: np.ndarray
    pressure: np.ndarray
    volume: np.ndarray
    kelvin: np.ndarray


class InLammps(Engine):
    """LAMMPS on one process, with the potential compiled ahead of time and a skin of 1 Angstrom."""

    name = "LAMMPS"

    def __init__(self, checkpoint: Path, timestep: float) -> None:
        super().__init__(checkpoint, timestep)
        needed("lammps", "lammps")
        digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest()[:8]
        self.model = checkpoint.resolve().with_name(f"{digest}.lammps.pt2")
        with locked(self.model):
            if not self.model.is_file():
                export_lammps(EquiREANNCalculator(checkpoint, dtype=DTYPE).potential, self.model)

    def values(self, atoms: Atoms) -> Values:
        """Energy, forces and stress of a structure."""
        said, forces, prism = self._run(atoms, 0, 1)
        row = self._rows(said)[0]
        stress = None
        if atoms.cell.rank == 3:
            xx, yy, zz, xy, xz, yz = -1e-4 * row[4:10] * units.GPa  # of bar
            stress = prism.tensor2_to_ase(np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]))
        return Values(float(row[3]), prism.vector_to_ase(forces), stress)

    def move(self, atoms: Atoms, steps: int, every: int) -> Moved:
        """Its ``fix nve``."""
        said, _, _ = self._run(atoms, steps, every)
        rows = self._rows(said)
        pressure = 1e-4 * rows[:, 2] if atoms.cell.rank == 3 else np.full(len(rows), np.nan)
        seconds = float(re.findall(r"Loop time of (\S+)", said)[-1])
        used = float(re.findall(r"([\d.]+)% CPU use", said)[-1])
        return self._sampled(list(zip(rows[:, 1], pressure, strict=True)), every, seconds * used / 100, atoms)

    def held(self, atoms: Atoms, steps: int, every: int, kelvin: float) -> Held:
        """Its ``fix npt``: constant temperature and pressure, 1 bar."""
        motion = f"npt temp {kelvin} {kelvin} 0.1 iso 1.0 1.0 1.0"
        rows = self._rows(self._run(atoms, steps, every, motion)[0])
        return Held(1e-3 * self.timestep * rows[:, 0], 1e-4 * rows[:, 2], rows[:, 10], rows[:, 11])

    def _run(self, atoms: Atoms, steps: int, every: int, motion: str = "nve") -> tuple[str, np.ndarray, Prism]:
        """What LAMMPS says, forces of the last step and how its axes lie."""
        symbols = sorted(set(atoms.symbols))
        boundary = " ".join("p" if periodic else "m" for periodic in atoms.pbc)
        boxed = atoms.copy()
        if boxed.cell.rank < 3:
            boxed.center(vacuum=10.0)
        prism = Prism(boxed.cell.array, pbc=boxed.pbc)
        known = {"boundary": boundary, "plugin": build_plugin(), "model": self.model, "elements": " ".join(symbols)}
        known["motion"] = motion
        times = {"every": every, "steps": steps, "dumped": max(1, steps), "timestep": 1e-3 * self.timestep}
        with tempfile.TemporaryDirectory() as name:
            path, options = Path(name), {"specorder": symbols, "masses": True, "prismobj": prism, "units": "metal"}
            options["force_skew"] = bool(boxed.pbc.all())  # however little: a tilt of 5e-7 Angstrom is not nothing
            write_lammps_data(path / "atoms.data", boxed, velocities=steps > 0, **options)
            (path / "in.lammps").write_text(INPUT.format(**known, **times))
            words = [str(program()), "-in", "in.lammps", "-nocite"]
            done = subprocess.run(words, cwd=path, env=_variables(), capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError(f"LAMMPS failed: {done.stdout[-1000:]} {done.stderr[-500:]}")
            lines = (path / "out.dump").read_text().splitlines()[-len(atoms) :]
        return done.stdout, np.array([[float(word) for word in line.split()[1:]] for line in lines]), prism

    def _rows(self, said: str) -> np.ndarray:
        """Lines of numbers, ``[S, columns]``."""
        rows, inside = [], False
        for line in said.splitlines():
            words = line.split()
            inside = words[:2] == ["Step", "TotEng"] or (inside and not line.startswith("Loop time"))
            if inside and words and words[0].isdigit():
                rows.append([float(word) for word in words])
        return np.array(rows)


def _variables() -> dict[str, str]:
    return environment() | {"OMP_NUM_THREADS": "1"}
