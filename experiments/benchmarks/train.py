"""One training that can be interrupted and goes on where it was."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint, RichProgressBar

from equireann_pyg import Potential, load_potential
from equireann_pyg.data import AtomsDataModule, Batches
from equireann_pyg.potential.checkpoint import load_plain
from equireann_pyg.training import PotentialTask
from equireann_pyg.training.callbacks import ExponentialMovingAverage
from equireann_pyg.training.loss import PotentialLoss
from equireann_pyg.training.schedule import Schedule
from experiments.benchmarks.case import Case, Sets
from experiments.benchmarks.models import Training

VALIDATIONS = 50
"""Times a run is validated and saved, about."""


class Clock(lightning.Callback):
    """Wall-clock seconds of a run and processor time of its steps, over all its parts.

    What was done after the last checkpoint of an interrupted run is not counted: it is done again.
    """

    def __init__(self) -> None:
        self.seconds, self.busy, self.steps = 0.0, 0.0, 0
        self._start = self._step = 0.0

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"seconds": self.seconds + time.perf_counter() - self._start, "busy": self.busy, "steps": self.steps}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.seconds, self.busy, self.steps = state_dict["seconds"], state_dict["busy"], state_dict["steps"]

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Start."""
        self._start = time.perf_counter()

    def on_train_batch_start(self, *_: Any) -> None:
        """Start of a step."""
        self._step = time.process_time()

    def on_train_batch_end(self, *_: Any) -> None:
        """End of a step."""
        self.busy += time.process_time() - self._step
        self.steps += 1

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
    """

    potential: Potential
    seconds: float
    steps: int
    ms_per_step: float


def interval(epochs: int) -> int:
    """Epochs from one validation to the next: a divisor of ``epochs``, so that the last epoch is validated."""
    return max(n for n in range(1, max(1, epochs // VALIDATIONS) + 1) if epochs % n == 0)


def cosine(steps: int) -> Callable[[torch.optim.Optimizer], torch.optim.lr_scheduler.LRScheduler]:
    """Learning rate that falls to zero over so many steps."""
    return lambda optimizer: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)


def sound(path: Path) -> Path | None:
    """The checkpoint, unless it is missing or damaged."""
    try:
        load_plain(path)
    except (FileNotFoundError, ValueError):
        return None
    return path


def train(
    model: torch.nn.Module, case: Case, sets: Sets, how: Training, seed: int, folder: Path, progress: bool = True
) -> Trained:
    """Train, from the last checkpoint in ``folder`` if there is one.

    Args:
        model: untrained.
        case: budget and weights of the loss.
        sets: its frames.
        how: optimiser and averages.
        seed: of the shuffling.
        folder: for checkpoints.
        progress: show a progress bar.
    """
    data = AtomsDataModule(case.cutoff, batches=Batches(case.batch_size, seed=seed))
    data.datasets = {"train": sets.train.graphs, "val": sets.val.graphs}
    steps = case.epochs * -(-len(sets.train.graphs) // case.batch_size)
    task = PotentialTask(
        model,
        PotentialLoss(case.energy_weight, 1.0, case.stress_weight),
        optimizer=lambda parameters: torch.optim.Adam(parameters, how.learning_rate, how.betas),
        schedule=Schedule(cosine(steps), "step", how.warmup_steps),
        warm_start=how.warm_start(),
    )
    clock = Clock()
    trainer = make_trainer(case.epochs, how, clock, folder, progress)
    trainer.fit(task, data, ckpt_path=sound(folder / "last.ckpt"))
    potential = load_potential(folder / "best.ckpt")
    return Trained(potential, clock.seconds, clock.steps, 1e3 * clock.busy / max(1, clock.steps))


def make_trainer(epochs: int, how: Training, clock: Clock, folder: Path, progress: bool) -> lightning.Trainer:
    """Trainer that validates, and saves after each validation."""
    keep = ModelCheckpoint(folder, "best", monitor="val/loss", save_last=True, enable_version_counter=False)
    return lightning.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        gradient_clip_val=how.clip,
        callbacks=[ExponentialMovingAverage(how.decay), clock, keep, *([RichProgressBar(leave=False)] * progress)],
        check_val_every_n_epoch=interval(epochs),
        logger=False,
        enable_progress_bar=progress,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )
