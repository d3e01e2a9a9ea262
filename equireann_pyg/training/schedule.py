"""How the learning rate goes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from lightning.pytorch.cli import LRSchedulerCallable


@dataclass(frozen=True)
class Schedule:
    """A warm-up, and the learning rate after it.

    Args:
        lr_scheduler: makes the learning-rate schedule from the optimiser; None keeps the rate.
        interval: whether it steps after each epoch or after each step.
        warmup_steps: steps over which the learning rate rises linearly from zero.
    """

    lr_scheduler: LRSchedulerCallable | None = None
    interval: Literal["epoch", "step"] = "epoch"
    warmup_steps: int = 0

    def warmth(self, step: int) -> float:
        """Factor of the learning rate in a step, counted from 0: one after the warm-up."""
        return min(1.0, (step + 1) / max(1, self.warmup_steps))

    def configure(self, optimizer: torch.optim.Optimizer) -> Any:
        """Optimiser and schedule as Lightning wants them; a plateau schedule watches ``val/loss``."""
        if self.lr_scheduler is None:
            return optimizer
        scheduler = self.lr_scheduler(optimizer)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": self.interval, "monitor": "val/loss"},
        }
