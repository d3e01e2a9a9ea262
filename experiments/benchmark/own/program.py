"""What the two training programs have in common: a folder of frames, a command, a process with one thread."""

from __future__ import annotations

import os
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from torch_geometric.data import Data

from equireann_pyg import to_ase
from experiments.benchmark.peers.environments import Environment, variables

THREADS = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS", "NUMEXPR")}


@dataclass(frozen=True)
class Setup:
    """A training.

    Args:
        folder: with ``train.extxyz`` and ``val.extxyz``; all that the program writes goes there, too.
        elements: chemical symbols.
        cutoff: in Angstrom.
        frames: number of training frames.
        epochs: to train.
        seed: of parameters and shuffling.
        references: energy of an atom of each element in eV, fitted to the training frames.
    """

    folder: Path
    elements: tuple[str, ...]
    cutoff: float
    frames: int
    epochs: int
    seed: int
    references: dict[str, float]

    @property
    def laps(self) -> Path:
        """File of the times of the steps."""
        return self.folder / "laps.json"


class Program(ABC):
    """A training program of another package."""

    name: ClassVar[str]
    model: ClassVar[str]
    """Name of the model in the tables."""
    environment: ClassVar[Environment]
    batch_size: ClassVar[int]

    @abstractmethod
    def command(self, setup: Setup) -> list[str]:
        """Words of the command that trains; writes its configuration, if it wants one."""

    def settings(self, setup: Setup) -> Any:
        """All that the training is given."""
        return self.command(setup)[1:]

    @abstractmethod
    def best(self, setup: Setup) -> Path:
        """File of the model that the package's users would go on with."""

    @abstractmethod
    def steps(self, frames: int) -> int:
        """Steps of an epoch."""

    def run(self, words: Sequence[str], folder: Path, log: str) -> None:
        """Run a command in a folder, with one thread and what it says in a file.

        Raises:
            RuntimeError: with its last words.
        """
        known = variables() | THREADS
        file = folder / f"{log}.log"
        with open(file, "w") as output:
            done = subprocess.run(words, cwd=folder, stdout=output, stderr=subprocess.STDOUT, env=known)
        if done.returncode:
            raise RuntimeError(f"{self.name} ended with {done.returncode}: {file.read_text()[-1500:]}")

    def python(self, module: str, *words: str) -> list[str]:
        """Words that run a module of this package in the program's Python."""
        return [str(self.environment.python), "-m", f"experiments.benchmark.own.{module}", *words]


def write_frames(path: Path, graphs: Sequence[Data]) -> None:
    """Write frames with energies and forces under the names that either program looks for, whole or not at all."""
    partial = path.with_suffix(".partial")
    write(partial, [labelled(data) for data in graphs], format="extxyz")
    os.replace(partial, path)


def labelled(data: Data) -> Atoms:
    """A structure with its energy and forces, as far as it has them."""
    atoms = to_ase(data)
    results = {} if atoms.calc is None else atoms.calc.results
    kept = {name: results[name] for name in ("energy", "forces") if name in results}
    atoms.info = {"config_type": str(data.config_type)}
    if "energy" in kept:
        atoms.info["REF_energy"] = kept["energy"]
    if "forces" in kept:
        atoms.arrays["REF_forces"] = kept["forces"]
    atoms.calc = SinglePointCalculator(atoms, **kept) if kept else None
    return atoms
