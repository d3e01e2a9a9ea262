"""One training that can be interrupted and goes on where it was."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import RichProgressBar

from equireann_pyg import Potential, load_potential
from equireann_pyg.data import AtomsDataModule, Batches
from equireann_pyg.potential.checkpoint import load_plain
from equireann_pyg.training import PotentialTask
from equireann_pyg.training.callbacks import BestCheckpoint, ExponentialMovingAverage, LastCheckpoint
from equireann_pyg.training.loss import PotentialLoss, WeightSchedule
from equireann_pyg.training.metrics import with_unit
from equireann_pyg.training.schedule import Schedule
from experiments.runs.case import Case, Sets
from experiments.runs.models import Recipe, instance

VALIDATIONS = 50
"""Times a run is validated and saved, about."""


def working_time(device: str) -> float:
    """Seconds of work until now: of the processor, all threads together; with a GPU on the wall, when it has done its part."""
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


class Clock(lightning.Callback):
    """Wall-clock seconds of a run, processor time of its steps, and errors of its validations, over all its parts.

    What was done after the last checkpoint of an interrupted run is not counted: it is done again.

    Args:
        device: on which it runs.
    """

    def __init__(self, device: str = "cpu") -> None:
        self.device = device
        self.seconds, self.busy, self.steps = 0.0, 0.0, 0
        self._start = self._step = 0.0
        self.history: list[dict[str, float]] = []

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        seconds = self.seconds + time.perf_counter() - self._start
        return {"seconds": seconds, "busy": self.busy, "steps": self.steps, "history": self.history}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.seconds, self.busy, self.steps = state_dict["seconds"], state_dict["busy"], state_dict["steps"]
        self.history = list(state_dict["history"])

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Start."""
        self._start = time.perf_counter()

    def on_train_batch_start(self, *_: Any) -> None:
        """Start of a step."""
        self._step = working_time(self.device)

    def on_train_batch_end(self, *_: Any) -> None:
        """End of a step."""
        self.busy += working_time(self.device) - self._step
        self.steps += 1

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Keep the errors, with the processor time until then."""
        entry = {"busy": self.busy, "steps": float(self.steps)}
        for error in ("energy_rmse", "forces_rmse"):
            value = trainer.callback_metrics.get(f"val/{with_unit(error)}")
            if value is not None:
                entry[error] = float(value)
        self.history.append(entry)

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Stop."""
        self.seconds += time.perf_counter() - self._start
        self._start = time.perf_counter()


@dataclass
class Trained:
    """A trained potential and what it took.

    Args:
        potential: with the averaged weights of the smallest validation loss.
        seconds: wall-clock time of the training, with validation.
        steps: optimiser steps.
        ms_per_step: processor time of a step, of all threads together.
        history: of each validation the processor time (``busy``, seconds) and steps until then, and its errors in meV and
            meV/Angstrom.
    """

    potential: Potential
    seconds: float
    steps: int
    ms_per_step: float
    history: list[dict[str, float]]


def interval(epochs: int) -> int:
    """Epochs from one validation to the next: a divisor of ``epochs``, so that the last epoch is validated."""
    return max(n for n in range(1, max(1, epochs // VALIDATIONS) + 1) if epochs % n == 0)


def sound(path: Path) -> Path | None:
    """The checkpoint, unless it is missing or damaged."""
    try:
        load_plain(path)
    except (FileNotFoundError, ValueError):
        return None
    return path


def batch_size(case: Case, how: Recipe) -> int:
    """Frames per step: those of the case, else of the recipe."""
    return case.batch_size or how.training.batch_size


def steps_per_epoch(case: Case, sets: Sets, how: Recipe) -> int:
    """Steps of an epoch, the last of which may have fewer frames."""
    return -(-len(sets.train.graphs) // batch_size(case, how))


def train(
    model: torch.nn.Module,
    case: Case,
    sets: Sets,
    how: Recipe,
    seed: int,
    folder: Path,
    progress: bool = True,
    device: str = "cpu",
) -> Trained:
    """Train, from the last checkpoint in ``folder`` if there is one.

    Args:
        model: untrained.
        case: budget in epochs, and weights of the loss.
        sets: its frames.
        how: optimiser, averages and repulsion.
        seed: of the shuffling.
        folder: for checkpoints.
        progress: show a progress bar.
        device: ``"cpu"`` or ``"cuda"``.

    Raises:
        ValueError: if the number of epochs is not known, or the training diverges.
    """
    if case.epochs is None:
        raise ValueError(f"{case.name}: set epochs, or let experiments.runs.budget.epochs_of find them")
    clock = Clock(device)
    callbacks = [
        clock,
        BestCheckpoint(str(folder)),
        LastCheckpoint(str(folder)),
        *([RichProgressBar(leave=False)] * progress),
    ]
    trainer = make_trainer(
        how,
        callbacks,
        device,
        max_epochs=case.epochs,
        check_val_every_n_epoch=interval(case.epochs),
        enable_progress_bar=progress,
    )
    task = make_task(model, case, how, case.epochs * steps_per_epoch(case, sets, how))
    trainer.fit(task, make_data(case, sets, how, seed), ckpt_path=sound(folder / "last.ckpt"))
    potential = load_potential(folder / "best.ckpt")
    return Trained(potential, clock.seconds, clock.steps, 1e3 * clock.busy / max(1, clock.steps), clock.history)


def make_data(case: Case, sets: Sets, how: Recipe, seed: int) -> AtomsDataModule:
    """Batches of the training and validation frames."""
    data = AtomsDataModule(case.cutoff, batches=Batches(batch_size(case, how), seed=seed))
    data.datasets = {"train": sets.train.graphs, "val": sets.val.graphs}
    return data


def make_task(model: torch.nn.Module, case: Case, how: Recipe, steps: int) -> PotentialTask:
    """What Lightning trains, over so many steps."""
    energy, stress = (
        instance(WeightSchedule, weight) if isinstance(weight, dict) else weight
        for weight in (case.energy_weight, case.stress_weight)
    )
    training = how.training
    return PotentialTask(
        model,
        PotentialLoss(energy, 1.0, stress),
        optimizer=training.make_optimizer(),
        schedule=Schedule(training.make_scheduler(steps), "step", training.warmup_steps),
        warm_start=training.warm_start(),
        repulsion=how.build_repulsion(),
    )


def make_trainer(
    how: Recipe, callbacks: list[lightning.Callback], device: str = "cpu", **options: Any
) -> lightning.Trainer:
    """Trainer on one device, without anything that is not asked for."""
    average = [] if how.training.decay is None else [ExponentialMovingAverage(how.training.decay)]
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    return lightning.Trainer(
        accelerator="gpu" if device == "cuda" else device,
        devices=1,
        gradient_clip_val=how.training.clip,
        callbacks=[*average, *callbacks],
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        **(quiet | options),
    )
