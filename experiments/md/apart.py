"""Engines in processes of their own: domains of ``torch.distributed``, and i-PI, which takes signals and standard output."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from ase import Atoms
from ase.io import read, write

from equireann_pyg.engines.needed import needed
from experiments.md.engines import Engine, Moved, Values


class Apart(Engine):
    """A program in Python that reads ``start.traj`` and ``job.json`` of a folder and writes ``0.npz``, ``1.npz``, ...

    Every process writes its processor time ``seconds``; the first one also ``energy``, ``forces`` and ``stress``, and of a
    trajectory ``total`` and ``pressure``.
    """

    words: ClassVar[tuple[str, ...]]
    """Arguments of Python, before the folder."""

    processes: ClassVar[int] = 1

    def values(self, atoms: Atoms) -> Values:
        """Energy, forces and stress of a structure."""
        found, _ = self._run(atoms, {"steps": 0, "every": 1})
        return Values(float(found["energy"]), found["forces"], found["stress"] if found["stress"].size else None)

    def move(self, atoms: Atoms, steps: int, every: int) -> Moved:
        """Velocity Verlet of the program."""
        found, seconds = self._run(atoms, {"steps": steps, "every": every})
        rows = list(zip(found["total"], found["pressure"], strict=True))
        return self._sampled(rows, every, seconds, atoms)

    def _run(self, atoms: Atoms, job: dict[str, int]) -> tuple[dict[str, np.ndarray], float]:
        """Arrays of the first process, and processor time of all."""
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write(folder / "start.traj", atoms)
            known = {"checkpoint": str(self.checkpoint.resolve()), "timestep": self.timestep}
            (folder / "job.json").write_text(json.dumps(job | known))
            path = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
            variables = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path}
            command = [sys.executable, "-W", "ignore", *self.words, str(folder)]
            done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError(f"{self.name} failed: {done.stderr[-1500:]}")
            parts = [dict(np.load(folder / f"{rank}.npz")) for rank in range(self.processes)]
        return parts[0], float(sum(part["seconds"] for part in parts))


class InDomains(Apart):
    """The calculator of domains on two processes, in ASE."""

    name = "domains, 2 processes"
    processes = 2
    words = (
        "-m",
        "torch.distributed.run",
        "--standalone",
        f"--nproc_per_node={processes}",
        "-m",
        "experiments.md.domains",
    )


class InIPI(Apart):
    """i-PI with one bead, which calls the driver directly."""

    name = "i-PI"
    words = ("-m", "experiments.md.beads")

    def __init__(self, checkpoint: Path, timestep: float) -> None:
        super().__init__(checkpoint, timestep)
        needed("ipi")


def job_of(folder: Path) -> tuple[dict[str, Any], Atoms]:
    """What a process is to do, and with which atoms."""
    atoms: Atoms = read(folder / "start.traj")  # type: ignore[assignment]
    return json.loads((folder / "job.json").read_text()), atoms


def answer(folder: Path, rank: int, values: Values, moved: Moved | None) -> None:
    """Write what a process has found."""
    found: dict[str, Any] = {"energy": values.energy, "forces": values.forces, "seconds": 0.0}
    found["stress"] = np.empty(0) if values.stress is None else values.stress
    if moved is not None:
        found |= {"total": moved.total, "pressure": moved.pressure, "seconds": moved.seconds}
        if moved.pressure is None:
            found["pressure"] = np.full(len(moved.total), np.nan)
    np.savez(folder / f"{rank}.npz", **found)
