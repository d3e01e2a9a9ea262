"""Callbacks of the training: averaged weights, the end of the learning rate."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor

from equireann_pyg.predictions import PredictionWriter

__all__ = ["ExponentialMovingAverage", "PredictionWriter", "StopAtSmallestLearningRate"]


class ExponentialMovingAverage(WeightAveraging):
    """Averaged weights for validation, checkpoints and export, with a short memory at the beginning.

    After n steps the decay is min(``decay``, (1 + n) / (10 + n)), so that the average follows a young model at once.

    Args:
        decay: decay per step in the long run.
    """

    def __init__(self, decay: float = 0.999) -> None:
        def average(mean: Tensor, current: Tensor, steps: int | Tensor) -> Tensor:
            n = float(steps)
            return torch.lerp(current, mean, min(decay, (1 + n) / (10 + n)))

        super().__init__(use_buffers=False, avg_fn=average)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Make the average, in the precision that the task is about to get."""
        super().setup(trainer, pl_module, stage)
        if self._average_model is not None and trainer.precision == "64-true":
            self._average_model.double()

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start a fresh average from the prepared potential."""
        average = self._average_model
        if average is not None and int(average.n_averaged) == 0:
            average.module.load_state_dict(pl_module.state_dict())

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Resume the average; a checkpoint that is only evaluated already holds the averaged weights."""
        if self._average_model is not None:
            super().on_load_checkpoint(trainer, pl_module, checkpoint)


class StopAtSmallestLearningRate(Callback):
    """Ends the training when a plateau schedule has come down to its ``min_lr``."""

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare the learning rates with their floor."""
        for config in trainer.lr_scheduler_configs:
            floors = getattr(config.scheduler, "min_lrs", None)
            groups = config.scheduler.optimizer.param_groups
            if floors and all(g["lr"] <= m * (1 + 1e-6) for g, m in zip(groups, floors, strict=True)):
                trainer.should_stop = True
