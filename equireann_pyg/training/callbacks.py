"""Callbacks of the training: averaged weights, checkpoints, the end of the learning rate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, WeightAveraging
from lightning.pytorch.utilities import rank_zero_warn
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch.optim.swa_utils import AveragedModel


class ExponentialAverage(AveragedModel):
    """Average that counts its steps on the CPU, so that no step waits for a GPU.

    Args:
        model: module whose parameters are averaged and whose buffers are copied.
        decay: decay per step in the long run.
        device: where the average is.
    """

    def __init__(self, model: torch.nn.Module, decay: float, device: torch.device) -> None:
        super().__init__(model, device)
        self.decay = decay
        self.n_averaged = torch.zeros_like(self.n_averaged, device="cpu")

    @torch.no_grad()
    def update_parameters(self, model: torch.nn.Module) -> None:
        """Add the present weights of the model to the average."""
        n = int(self.n_averaged)
        decay = min(self.decay, (1 + n) / (10 + n)) if n else 0.0
        for mean, current in zip(self.module.parameters(), model.parameters(), strict=True):
            mean.copy_(torch.lerp(current, mean, decay) if n else current)
        for kept, present in zip(self.module.buffers(), model.buffers(), strict=True):
            kept.copy_(present)
        self.n_averaged += 1


class ExponentialMovingAverage(WeightAveraging):
    """Averaged weights for validation, checkpoints and export, with a short memory at the beginning.

    After n steps the decay is min(``decay``, (1 + n) / (10 + n)), so that the average follows a young model at once.

    Args:
        decay: decay per step in the long run.
    """

    swapped = False  # whether the task holds the averaged weights, as it does in validation

    def __init__(self, decay: float = 0.999) -> None:
        super().__init__(use_buffers=False)
        self.decay = decay

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Make the average, on the device and in the precision that the task is about to get."""
        if stage == "fit":
            self._average_model = ExponentialAverage(pl_module, self.decay, trainer.strategy.root_device)
        if self._average_model is not None and trainer.precision == "64-true":
            self._average_model.double()

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start a fresh average from the prepared potential."""
        average = self._average_model
        if average is not None and int(average.n_averaged) == 0:
            average.module.load_state_dict(pl_module.state_dict())

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """As before the sanity check, which may be off."""
        self.on_sanity_check_start(trainer, pl_module)

    def _swap_models(self, pl_module: LightningModule) -> None:
        super()._swap_models(pl_module)
        self.swapped = not self.swapped

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Give the task its own weights back where a validation is interrupted."""
        if self.swapped:
            self._swap_models(pl_module)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Resume the average; a checkpoint that is only evaluated already holds the averaged weights."""
        if self._average_model is not None:
            super().on_load_checkpoint(trainer, pl_module, checkpoint)


class BestCheckpoint(ModelCheckpoint):
    """Keeps the potential of the epoch with the smallest validation loss as ``best.ckpt``.

    Args:
        dirpath: folder; on the command line that of the run.
    """

    def __init__(self, dirpath: str | None = None) -> None:
        super().__init__(dirpath, filename="best", monitor="val/loss", enable_version_counter=False)


class LastCheckpoint(ModelCheckpoint):
    """Keeps the last epoch as ``last.ckpt``, to resume from, and the moment where a run is stopped by a signal.

    Args:
        dirpath: folder; on the command line that of the run.
    """

    def __init__(self, dirpath: str | None = None) -> None:
        super().__init__(dirpath, filename="last", enable_version_counter=False)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Save a run that is stopped, but none that has failed."""
        stopped = isinstance(exception, (KeyboardInterrupt, SIGTERMException))
        if stopped and self.dirpath is not None and trainer.global_step > 0:
            trainer.save_checkpoint(Path(self.dirpath) / "last.ckpt")


class OptimizerOptions(Callback):
    """Says which options of its optimiser a resumed run does not use, because the checkpoint has others."""

    def __init__(self) -> None:
        self.options: dict[str, Any] = {}

    def state_dict(self) -> dict[str, Any]:
        """What the optimiser was made with, as far as it is plain."""
        return {"options": self.options}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the options of the run that is resumed."""
        self.options = state_dict["options"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare what the optimiser is made with now and what it was made with when the run began."""
        options = trainer.optimizers[0].defaults
        plain = {name: value for name, value in options.items() if isinstance(value, (bool, int, float, tuple))}
        for name, value in plain.items():
            before = self.options.setdefault(name, value)
            if before != value:
                rank_zero_warn(
                    f"a resumed run keeps the optimiser of its checkpoint, with {name} {before}; {value} is not used: start "
                    "from the checkpoint with --model.init_from to change it"
                )


class StopAtSmallestLearningRate(Callback):
    """Ends the training when a plateau schedule has come down to its ``min_lr``."""

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare the learning rates with their floor."""
        for config in trainer.lr_scheduler_configs:
            floors = getattr(config.scheduler, "min_lrs", None)
            groups = config.scheduler.optimizer.param_groups
            if floors and all(g["lr"] <= m * (1 + 1e-6) for g, m in zip(groups, floors, strict=True)):
                trainer.should_stop = True


class AllowUntrained(Callback):
    """Lets a fit evaluate elements that the potential has not met yet, and refuses them again however it ends."""

    before: bool | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Remember what was allowed."""
        self.before, pl_module.potential.allow_untrained = pl_module.potential.allow_untrained, True

    def on_fit_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Back to what was allowed."""
        if self.before is not None:
            self.before, pl_module.potential.allow_untrained = None, self.before

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        """The same after an error, with which Lightning leaves recordings to nobody else."""
        self.on_fit_end(trainer, pl_module)
        pl_module.teardown("fit")
