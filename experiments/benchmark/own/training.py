"""A case of the experiments, learnt by another package's own training program over a given time."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch

from equireann_pyg.elements import SYMBOLS
from equireann_pyg.evaluation import errors_by_type
from equireann_pyg.training.references import fit_reference_energies
from experiments.benchmark.own.laps import FIRST, TIMED, Laps
from experiments.benchmark.own.mace import Mace
from experiments.benchmark.own.nequip import Nequip
from experiments.benchmark.own.program import Program, Setup, write_frames
from experiments.benchmark.own.table import Outputs, common
from experiments.benchmark.tasks.cases import ALL, CASES
from experiments.runs.case import Case, Frames, Sets
from experiments.runs.rows import error_rows, scan_rows

PROGRAMS: dict[str, type[Program]] = {"mace": Mace, "nequip": Nequip}
DONE = "done"
"""File of a training that came to its end."""


def own_training(program: str, case: str, data: str, folder: str, minutes: float, seed: int) -> dict[str, Any]:
    """Train by a package's own program, and measure the errors of its best model by its own calculator.

    A timing, training or prediction that came to its end in this folder is not done again.

    Args:
        program: of :data:`PROGRAMS`.
        case: of the benchmark or another experiment.
        data: folder of the data sets.
        folder: for files of the training.
        minutes: that the steps take on one core, about; the number of epochs follows from a short timing, rounded up.
        seed: of parameters and shuffling.

    Returns:
        ``validation`` errors, ``seconds`` and ``steps`` of the training, ``ms_per_step``, and ``rows`` and ``scans``, as
        :func:`~experiments.benchmark.tasks.train.train` has them.

    Raises:
        ValueError: for a program or case that there is not.
        RuntimeError: if the program is not installed, or fails.
    """
    cases = ALL | CASES
    for what, word, known in (("program", program, PROGRAMS), ("case", case, cases)):
        if word not in known:
            raise ValueError(f"--{what} {word}: there are {', '.join(known)}")
    chosen = PROGRAMS[program]()
    if not chosen.environment.installed():
        raise RuntimeError(f"{chosen.environment.name} is not installed: equireann benchmark --install makes it")
    place = Path(folder).resolve() / f"{program} {case} {minutes:g} {seed}".replace(" ", "-")
    return Run(program, chosen, cases[case], Path(data), place, minutes, seed).measured()


@dataclass
class Run:
    """One training.

    Args:
        key: name of the program.
        program: training program.
        case: what is learnt.
        data: folder of the data sets.
        place: folder of the training.
        minutes: budget.
        seed: of parameters and shuffling.
    """

    key: str
    program: Program
    case: Case
    data: Path
    place: Path
    minutes: float
    seed: int

    def __post_init__(self) -> None:
        self.sets = self.case.load(self.data)

    def measured(self) -> dict[str, Any]:
        """Train and test."""
        setup = self.setup("training", self.sets, self.epochs())
        laps = self.trained(setup)
        validation, parameters = self.predicted(setup, "val", self.sets.val)
        shared = common(self.program, setup, laps, parameters)
        shared |= {"case": self.case.name, "minutes": f"{self.minutes:g}", "recipe": self.mark(setup)}
        found: dict[str, Any] = {
            "validation": errors_by_type(validation, self.sets.val.graphs)["all"],
            "seconds": laps.busy(),
            "steps": len(laps.ends),
            "ms_per_step": 1e3 * laps.busy() / len(laps.ends),
            "rows": [],
            "scans": [],
        }
        for split, frames in self.sets.tests.items():
            outputs, _ = self.predicted(setup, split, frames)
            found["rows"] += error_rows(shared, split, frames, outputs)
            if frames.part.scan is not None:
                energies = [float(output["energy"]) for output in outputs]
                found["scans"] += scan_rows(shared, split, frames, frames.part.scan, energies)
        return found

    def epochs(self) -> int:
        """Epochs that take the time or a little more; a short training says how many, once."""
        file = self.place / "epochs.json"
        if not file.is_file():
            number = FIRST + TIMED
            few = Sets(self.sets.train.thinned(number * self.program.batch_size), self.sets.val.thinned(4), {})
            setup = self.setup("timing", few, 1)
            setup = replace(setup, epochs=math.ceil(number / max(1, self.program.steps(setup.frames))))
            seconds = self.trained(setup).per_step()
            steps = max(1, self.program.steps(len(self.sets.train.graphs)))
            epochs = max(1, math.ceil(60 * self.minutes / (seconds * steps)))
            file.write_text(json.dumps({"epochs": epochs, "ms_per_step": 1e3 * seconds}))
        return int(json.loads(file.read_text())["epochs"])

    def setup(self, name: str, sets: Sets, epochs: int) -> Setup:
        """A folder with the frames of a training, without what an interrupted one has left, and its settings."""
        folder, train = self.place / name, list(sets.train.graphs)
        if not (folder / DONE).is_file():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            write_frames(folder / "train.extxyz", train)
            write_frames(folder / "val.extxyz", sets.val.graphs)
        fitted = fit_reference_energies(train)
        references = {SYMBOLS[number]: energy for number, energy in sorted(fitted.items())}
        return Setup(folder, tuple(references), self.case.cutoff, len(train), epochs, self.seed, references)

    def trained(self, setup: Setup) -> Laps:
        """Times of the steps of a training, which is done now if it was not before."""
        if not (setup.folder / DONE).is_file():
            self.program.run(self.program.command(setup), setup.folder, "training")
            (setup.folder / DONE).touch()
        return Laps.load(setup.laps)

    def predicted(self, setup: Setup, name: str, frames: Frames) -> tuple[Outputs, int]:
        """What the own calculator says of each frame, as our potential would, and the number of parameters."""
        file, result = (setup.folder / f"{name}.{kind}" for kind in ("test.extxyz", "npz"))
        if not result.is_file():
            write_frames(file, frames.graphs)
            words = (self.key, str(self.program.best(setup)), str(file), str(result))
            self.program.run(self.program.python("predict", *words), setup.folder, f"predict-{name}")
        with np.load(result) as kept:
            energies, forces = torch.from_numpy(kept["energy"]), torch.from_numpy(kept["forces"])
            parts = forces.split([graph.z.numel() for graph in frames.graphs])
            found = [{"energy": e.view(1), "forces": f} for e, f in zip(energies, parts, strict=True)]
            return found, int(kept["parameters"])

    def mark(self, setup: Setup) -> str:
        """Changes whenever the run would be another one."""
        settings = [self.program.settings(setup), self.minutes, self.sets.train.source, self.sets.val.source]
        text = json.dumps(settings).replace(str(setup.folder), "")
        return sha256(text.encode()).hexdigest()[:8]
