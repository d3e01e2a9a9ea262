"""How the learning rate goes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from lightning.pytorch.cli import LRSchedulerCallable
from lightning.pytorch.utilities import rank_zero_warn
from torch.optim.lr_scheduler import CosineAnnealingLR


class Cosine(CosineAnnealingLR):
    """A cosine that brings the learning rate down over the training, however long that is.

    Args:
        optimizer: optimiser.
        T_max: epochs or steps until it is down; by default as many as the run has. A resumed run keeps them.
        eta_min: learning rate at the end.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, T_max: int | None = None, eta_min: float = 0.0) -> None:
        super().__init__(optimizer, T_max or 0, eta_min)


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

    def fit_length(self, scheduler: Any, length: float) -> None:
        """Let a :class:`Cosine` span the run; warn of one that is over before, for then the learning rate rises again.

        Args:
            scheduler: schedule of a run, after it has been restored.
            length: epochs or steps of the run, whichever it goes by.

        Raises:
            ValueError: for a :class:`Cosine` in a run without an end.
        """
        known, end = 0 < length < float("inf"), getattr(scheduler, "T_max", None)
        if isinstance(scheduler, Cosine) and end == 0:
            if not known:
                raise ValueError("Cosine: the run has no end: set trainer.max_epochs, or T_max of the schedule")
            scheduler.T_max = int(length)
        elif end is not None and known and end < length:
            rank_zero_warn(
                f"the learning rate comes down over T_max = {end} of {length:g} {self.interval}s and rises again after them: "
                "set model.schedule.lr_scheduler.init_args.T_max to as many as the run has; a resumed run keeps its T_max"
            )
