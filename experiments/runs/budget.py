"""Budgets in minutes of one core: a short timing says how many epochs that is, once for all seeds and repetitions."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import lightning
import torch

from equireann_pyg.files import replacing
from experiments.runs.case import Case, Sets
from experiments.runs.models import Recipe
from experiments.runs.results import locked
from experiments.runs.train import VALIDATIONS, make_data, make_task, make_trainer, steps_per_epoch, working_time

FIRST, TIMED = 10, 60
"""Steps before the timing, in which kernels and memory are fetched, and steps that are timed."""

LONGEST = 30.0
"""Seconds after which the timing of a slow model ends."""


class Laps(lightning.Callback):
    """Working time of every step, with what comes between steps.

    Args:
        device: on which it runs.
    """

    def __init__(self, device: str) -> None:
        self.device = device
        self.times: list[float] = []

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        """End of a step."""
        self.times.append(working_time(self.device))
        trainer.should_stop = self.times[-1] - self.times[0] > LONGEST

    def seconds(self) -> float:
        """Mean of the steps after the first ones, of all if there are no others."""
        times = self.times[min(FIRST, len(self.times) // 2) :]
        return (times[-1] - times[0]) / max(1, len(times) - 1)


def seconds_per_step(model: torch.nn.Module, case: Case, sets: Sets, how: Recipe, device: str = "cpu") -> float:
    """Processor time of a training step, all threads together; the model is of no use afterwards."""
    laps, steps = Laps(device), FIRST + TIMED
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(
            how,
            [laps],
            device,
            max_steps=steps,
            limit_val_batches=0,
            enable_checkpointing=False,
            default_root_dir=folder,
        )
        trainer.fit(make_task(model, case, how, steps), make_data(case, sets, how, seed=0))
    return laps.seconds()


def rounded(epochs: float) -> int:
    """Whole epochs, at most so many, that can be validated some fifty times and at the end."""
    whole = max(1, int(epochs))
    stride = max(1, whole // VALIDATIONS)
    return stride * (whole // stride)


def epochs_of(
    minutes: float, model: torch.nn.Module, case: Case, sets: Sets, how: Recipe, file: Path, device: str = "cpu"
) -> int:
    """Epochs whose steps take so many minutes of processor time.

    Args:
        minutes: budget.
        model: untrained, of no use afterwards.
        case: case.
        sets: its frames.
        how: how the model is trained.
        file: keeps the number, so that a run that goes on, or is done again, has the same.
        device: ``"cpu"`` or ``"cuda"``.
    """
    with locked(file):
        if not file.is_file():
            seconds = seconds_per_step(model, case, sets, how, device)
            epochs = rounded(60 * minutes / (seconds * steps_per_epoch(case, sets, how)))
            with replacing(file) as partial:
                partial.write_text(json.dumps({"epochs": epochs, "ms_per_step": round(1e3 * seconds, 3)}))
        return int(json.loads(file.read_text())["epochs"])
