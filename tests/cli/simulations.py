"""What the tests of ``equireann md`` and ``equireann relax`` share: potentials, structures, calculators that misbehave."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT
from ase.io import read, write

from equireann_pyg import EquiREANN, Potential, save_potential
from equireann_pyg.cli.command import COMMANDS
from equireann_pyg.cli.ending import Ending
from equireann_pyg.nn import PolynomialCutoff
from equireann_pyg.testing import randomize


def save_small(path: str, elements: tuple[str, ...], seed: int = 1, dtype: torch.dtype = torch.float64) -> None:
    """File of a small potential with random parameters."""
    torch.manual_seed(seed)
    sizes = {"num_radial": 4, "num_density": 8, "num_iterations": 2, "hidden_channels": [8]}
    model = EquiREANN(elements, 3.0, envelope=PolynomialCutoff(), **sizes)
    randomize(model, seed=seed)
    potential = Potential(model.to(dtype))
    potential.set_references(dict.fromkeys(model.elements, -3.0), scale=0.3)
    save_potential(potential.eval(), path)


def write_structures() -> None:
    """Files ``water.xyz``, ``copper.xyz``, ``slab.xyz``, ``many.xyz`` and potentials ``water.pt`` and ``copper.pt``."""
    save_small("water.pt", ("H", "O"))
    save_small("copper.pt", ("Cu",))
    write("water.xyz", molecule("H2O"), format="extxyz")
    copper = bulk("Cu", cubic=True)
    copper.rattle(0.05, seed=2)
    write("copper.xyz", copper, format="extxyz")
    write("many.xyz", copper * (3, 3, 3), format="extxyz")
    copper.cell[2] *= 4
    write("slab.xyz", copper, format="extxyz")


def run(*words: str) -> Ending:
    """A command as :func:`equireann_pyg.cli.main` runs it, without a second for the parsers of all the others."""
    with Ending() as ending:
        command = COMMANDS[words[0]]
        command.run(command.parser().parse_args(list(words[1:])))
    return ending


def log_of(path: str = "md.log") -> dict[str, np.ndarray]:
    """Columns of a log by name."""
    with open(path) as file:
        names = file.readline().lstrip("#").split()
    return dict(zip(names, np.loadtxt(path, ndmin=2).T, strict=True))


def state_of(path: str | Path) -> dict[str, Any]:
    """All entries of a state."""
    with np.load(path, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def frames_of(path: str | Path) -> list[Atoms]:
    """All frames of a trajectory."""
    return read(path, ":")


class Effective(EMT):
    """Effective medium theory: a copper that is solid, has a pressure, and takes a millisecond."""

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__()


class Springs(Calculator):
    """Every atom hangs on a spring of its own, at the place where it is first."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__()
        self.places: np.ndarray | None = None

    def calculate(self, *args: Any, **kwargs: Any) -> None:
        super().calculate(*args, **kwargs)
        self.places = self.atoms.get_positions() if self.places is None else self.places
        away = self.atoms.positions - self.places
        self.results = {"energy": 2.0 * float((away**2).sum()), "forces": -4.0 * away}


class Interrupting(Effective):
    """Sends this process a signal while it is at work on the seventh structure."""

    number = 15
    count = 0

    def calculate(self, *args: Any, **kwargs: Any) -> None:
        super().calculate(*args, **kwargs)
        self.count += 1
        if self.count == 7:
            os.kill(os.getpid(), self.number)


class Exploding(Effective):
    """Gives forces that are not finite from the sixth structure on."""

    count = 0

    def calculate(self, *args: Any, **kwargs: Any) -> None:
        super().calculate(*args, **kwargs)
        self.count += 1
        if self.count > 5:
            self.results["forces"] = self.results["forces"].copy()
            self.results["forces"][[1, 3]] = np.nan


class Stressless(Effective):
    """Has no stress."""

    def calculate(self, *args: Any, **kwargs: Any) -> None:
        super().calculate(*args, **kwargs)
        self.results.pop("stress", None)
