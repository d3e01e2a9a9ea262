"""A case of the experiments, learnt by another package's own training program over a given time."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from equireann_pyg.elements import SYMBOLS
from equireann_pyg.evaluation import errors_by_type
from equireann_pyg.training.references import fit_reference_energies
from experiments.benchmark.cases import ALL, CASES
from experiments.benchmark.own.laps import FIRST, TIMED, Laps
from experiments.benchmark.own.mace import Mace
from experiments.benchmark.own.nequip import Nequip
from experiments.benchmark.own.program import Program, Setup, write_frames
from experiments.runs.case import Case, Frames, Sets
from experiments.runs.results import Row
from experiments.runs.rows import cpu, scan_rows

PROGRAMS: dict[str, type[Program]] = {"mace": Mace, "nequip": Nequip}
DONE = "done"
"""File of a training that came to its end."""


def own_training(program: str, case: str, data: str, folder: str, minutes: float, seed: int) -> dict[str, Any]:
    """Train by a package's own program and measure the errors of its best model; goes on where it was interrupted.

    Args:
        program: of :data:`PROGRAMS`.
        case: of the benchmark or another experiment.
        data: folder of the data sets.
        folder: for files of the training.
        minutes: that the steps take on one core, at least; the number of epochs follows from a short timing.
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
        raise RuntimeError(f"{chosen.environment.name} is not installed: experiments.benchmark.environments makes it")
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
        setup = self.trained()
        laps = Laps.load(setup.laps)
        common = self.common(setup, laps)
        outputs, parameters = self.predicted(setup, "val", self.sets.val)
        common["parameters"] = str(parameters)
        found: dict[str, Any] = {
            "validation": errors_by_type(outputs, self.sets.val.graphs)["all"],
            "seconds": laps.busy(),
            "steps": len(laps.ends),
            "ms_per_step": 1e3 * laps.busy() / len(laps.ends),
            "rows": [],
            "scans": [],
        }
        for split, frames in self.sets.tests.items():
            outputs, _ = self.predicted(setup, split, frames)
            found["rows"] += rows(common, split, frames, outputs)
            if frames.part.scan is not None:
                energies = [float(output["energy"]) for output in outputs]
                found["scans"] += scan_rows(common, split, frames, frames.part.scan, energies)
        return found

    def trained(self) -> Setup:
        """The training, done now if it was not before."""
        setup = self.setup("training", self.sets, self.epochs())
        if not (setup.folder / DONE).is_file():
            self.program.run(self.program.command(setup), setup.folder, "training")
            (setup.folder / DONE).touch()
        return setup

    def epochs(self) -> int:
        """Epochs that take the time or a little more; a short training says how many, once."""
        file = self.place / "epochs.json"
        if not file.is_file():
            steps = FIRST + TIMED
            few = Sets(self.sets.train.thinned(steps * self.program.batch_size), self.sets.val.thinned(4), {})
            setup = self.setup("timing", few, 1)
            setup = replace(setup, epochs=math.ceil(steps / max(1, self.program.steps(setup.frames))))
            self.program.run(self.program.command(setup), setup.folder, "training")
            seconds = Laps.load(setup.laps).per_step()
            steps = max(1, self.program.steps(len(self.sets.train.graphs)))
            epochs = max(1, math.ceil(60 * self.minutes / (seconds * steps)))
            file.write_text(json.dumps({"epochs": epochs, "ms_per_step": 1e3 * seconds}))
        return int(json.loads(file.read_text())["epochs"])

    def setup(self, name: str, sets: Sets, epochs: int) -> Setup:
        """A folder with the frames of a training, and its settings."""
        folder, train = self.place / name, list(sets.train.graphs)
        folder.mkdir(parents=True, exist_ok=True)
        for file, graphs in (("train", train), ("val", list(sets.val.graphs))):
            if not (folder / f"{file}.extxyz").is_file():
                write_frames(folder / f"{file}.extxyz", graphs)
        fitted = fit_reference_energies(train)
        references = {SYMBOLS[number]: energy for number, energy in sorted(fitted.items())}
        return Setup(folder, tuple(references), self.case.cutoff, len(train), epochs, self.seed, references)

    def predicted(self, setup: Setup, name: str, frames: Frames) -> tuple[list[dict[str, torch.Tensor]], int]:
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

    def common(self, setup: Setup, laps: Laps) -> Row:
        """What all rows share."""
        settings = [self.program.command(setup)[3:], self.minutes, self.sets.train.source, self.sets.val.source]
        text = json.dumps(settings).replace(str(setup.folder), "")
        package = self.program.environment.packages[0]
        return {
            "case": self.case.name,
            "model": self.program.model,
            "minutes": f"{self.minutes:g}",
            "epochs": str(setup.epochs),
            "steps": str(len(laps.ends)),
            "train_frames": str(setup.frames),
            "batch_size": str(self.program.batch_size),
            "cutoff": f"{setup.cutoff:g}",
            "iterations": "",
            "seed": str(self.seed),
            "seconds": f"{laps.busy():.0f}",
            "ms_per_step": f"{1e3 * laps.busy() / len(laps.ends):.3g}",
            "threads": "1",
            "cpu": cpu(),
            "torch": version("torch"),
            "package": package,
            "date": str(date.today()),
            "recipe": sha256(text.encode()).hexdigest()[:8],
        }


def rows(
    common: Mapping[str, str], split: str, frames: Frames, outputs: Sequence[dict[str, torch.Tensor]]
) -> list[Row]:
    """Errors of a test set, of all frames first."""
    errors = errors_by_type(list(outputs), frames.graphs)
    if len(errors) == 2:  # one kind: the same as all
        errors = {"all": errors["all"]}
    found = []
    for kind, values in sorted(errors.items(), key=lambda item: item[0] != "all"):
        numbers = {name: f"{value:.4g}" for name, value in values.items()}
        found.append({**common, **numbers, "split": split, "config_type": kind, "source": frames.source})
    return found
