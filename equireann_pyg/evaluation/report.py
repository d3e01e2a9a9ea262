"""The end of a training run: a table of the best validation errors, a learning curve and a parity plot."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from equireann_pyg.evaluation import plots
from equireann_pyg.evaluation.errors import parity_plots, predict
from equireann_pyg.potential.checkpoint import load_potential
from equireann_pyg.training.callbacks import BestCheckpoint
from equireann_pyg.training.metrics import QUANTITIES, three_digits, with_unit
from equireann_pyg.training.preparation import spread

FRAMES = 500
"""Number of validation frames in the parity plot, spread evenly over the set."""


class TrainingReport(Callback):
    """Prints the errors of the best epoch when a fit ends, and draws ``learning_curve.png`` and ``parity.png``.

    Args:
        folder: where to draw them.
        console: where to print; by default standard output.
    """

    def __init__(self, folder: str | Path, console: Console | None = None) -> None:
        self.folder = Path(folder)
        self.console = Console() if console is None else console
        self.epochs: dict[int, dict[str, float]] = {}

    def state_dict(self) -> dict[str, Any]:
        """Errors of all epochs so far, so that a resumed run shows the whole curve."""
        return {"epochs": self.epochs}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the curve of the run that is resumed."""
        self.epochs = state_dict["epochs"]

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the validation errors."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self.epochs[trainer.current_epoch] = _metrics(trainer, "val/")

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the training errors of the last epoch: they are known after its validation."""
        if self.epochs:
            self.epochs[max(self.epochs)] |= _metrics(trainer, "train/")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the training errors of the very last epoch."""
        self.on_train_epoch_start(trainer, pl_module)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print and draw."""
        if not self.epochs or not trainer.is_global_zero:
            return
        best = min(self.epochs, key=lambda epoch: self.epochs[epoch]["val/loss"])
        title = f"Validation errors of epoch {best + 1}, the best of {max(self.epochs) + 1}"
        self.console.print(errors_table(self.epochs[best], "val", title))
        self._draw_curves()
        checkpoint = next(
            (c.best_model_path for c in trainer.checkpoint_callbacks if isinstance(c, BestCheckpoint)), ""
        )
        potential: Any = load_potential(checkpoint, pl_module.device) if checkpoint else pl_module.potential
        potential.allow_untrained = True
        frames = spread(trainer.datamodule.datasets["val"], FRAMES)  # type: ignore[attr-defined]
        parity_plots(potential, predict(potential, frames), frames, self.folder / "parity.png")
        files = [*(["best.ckpt"] if checkpoint else []), "learning_curve.png", "parity.png"]
        self.console.print(f"In {self.folder}: {', '.join(files)}", soft_wrap=True, highlight=False)

    def _draw_curves(self) -> None:
        keys = {name: with_unit(f"{name}_rmse") for name in QUANTITIES if name != "energy"}
        drawn = {name: key for name, key in keys.items() if any(f"val/{key}" in row for row in self.epochs.values())}
        if not drawn:
            return
        picture, axes = plots.figure(1, len(drawn), 3.6, 3.0)
        for axis, (name, key) in zip(axes.flat, drawn.items(), strict=True):
            curves = {}
            for part, prefix in (("training", "train"), ("validation", "val")):
                points = [
                    (epoch + 1, row[f"{prefix}/{key}"])
                    for epoch, row in self.epochs.items()
                    if f"{prefix}/{key}" in row
                ]
                if points:
                    curves[part] = tuple(zip(*points, strict=True))
            unit = QUANTITIES[name].replace("A", "Å").replace("^3", "³").replace("^2", "²")
            plots.learning_curves(axis, curves, f"RMSE of {name.removesuffix('_per_atom')} ({unit})")  # type: ignore[arg-type]
        plots.save(picture, self.folder / "learning_curve.png")


def _metrics(trainer: Trainer, prefix: str) -> dict[str, float]:
    return {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith(prefix)}


def errors_table(metrics: Mapping[str, float], prefix: str, title: str) -> Table:
    """Table of logged errors, with units."""
    table = Table(title=title, box=SIMPLE_HEAD)
    for heading in ("", "RMSE", "MAE", "unit"):
        table.add_column(heading, justify="right" if heading in ("RMSE", "MAE") else "left")
    for name, unit in QUANTITIES.items():
        keys = [f"{prefix}/{with_unit(f'{name}_{kind}')}" for kind in ("rmse", "mae")]
        if all(key in metrics for key in keys):
            table.add_row(name.replace("_", " "), *(three_digits(metrics[key]) for key in keys), unit)
    return table


def print_errors_of(trainer: Trainer, prefix: str) -> None:
    """Print the errors that a trainer has found, of validation (``val``) or test."""
    title = "Validation errors" if prefix == "val" else "Test errors"
    Console().print(errors_table(_metrics(trainer, f"{prefix}/"), prefix, title))
