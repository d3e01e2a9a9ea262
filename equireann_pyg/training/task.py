"""Training task: any model of atomic energies, trained on energies, forces and stress, and properties beside them."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from copy import deepcopy
from functools import cached_property
from typing import Any

import lightning
import torch
import torch.distributed
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.cli import OptimizerCallable
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_only, rank_zero_warn
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch_geometric.data import Batch, Data

from equireann_pyg.data.dataset import check_elements
from equireann_pyg.elements import atomic_number, describe
from equireann_pyg.graph.labels import PER_ATOM
from equireann_pyg.inference.graphed import GraphedPotential
from equireann_pyg.potential.checkpoint import potential_state, recipe
from equireann_pyg.potential.devices import refuse_tf32
from equireann_pyg.properties.base import Property
from equireann_pyg.training.callbacks import AllowUntrained
from equireann_pyg.training.evaluating import Evaluating, Evaluation
from equireann_pyg.training.finetuning import Refit, adapt_potential, starting_potential, unused_references
from equireann_pyg.training.loss import DivergenceError, PotentialLoss
from equireann_pyg.training.metrics import SHOWN, PotentialErrors, with_unit
from equireann_pyg.training.preparation import prepare_potential
from equireann_pyg.training.schedule import Schedule
from equireann_pyg.training.warm_start import RidgeWarmStart

LOGGER = logging.getLogger(__name__)


def adamw(parameters: Any) -> torch.optim.Optimizer:
    """Default optimiser: AdamW with AMSGrad, no weight decay."""
    return torch.optim.AdamW(parameters, lr=5e-3, weight_decay=0.0, amsgrad=True)


class PotentialTask(lightning.LightningModule):
    """Trains a :class:`~equireann_pyg.Potential`; its checkpoints are read by ``load_potential``.

    A fresh potential takes references, scale and statistics from its training set, once in its life and before the first
    epoch. One that is trained already, given as such or by its file, is trained further: it keeps them, and elements that it
    meets for the first time get theirs. The validation loss always uses the final weights of the loss, so that it can be
    compared between epochs.

    Args:
        model: model of atomic energies (see :class:`~equireann_pyg.potential.AtomicEnergyModel`), or a potential.
        loss: training loss.
        optimizer: makes the optimiser from the parameters.
        schedule: how the learning rate goes.
        evaluation: how the potential is evaluated: as it is, compiled or recorded.
        properties: further outputs to train, such as :class:`~equireann_pyg.properties.Dipole`.
        repulsion: short-range repulsion that the model is trained on top of, such as :class:`~equireann_pyg.nn.ZBL`.
        warm_start: closed-form start of the linear part of the readout; None starts it at zero.
        init_from: file of a trained potential to train further, in place of model, properties and repulsion.
        refit: what a trained potential takes anew from the training set (see :mod:`equireann_pyg.training.finetuning`).

    Raises:
        ValueError: if there is neither a model nor a file, or both; at the start of a run, if the data have elements the
            model does not know; if the loss or a prediction is not finite any more.
    """

    def __init__(
        self,
        model: torch.nn.Module | None = None,
        loss: PotentialLoss | None = None,
        optimizer: OptimizerCallable = adamw,
        schedule: Schedule = Schedule(),
        evaluation: Evaluation = Evaluation(),
        properties: list[Property] | None = None,
        repulsion: torch.nn.Module | None = None,
        warm_start: RidgeWarmStart | None = None,
        init_from: str | None = None,
        refit: Refit = "nothing",
    ) -> None:
        super().__init__()
        self.potential = starting_potential(model, properties or [], repulsion, init_from)
        self.loss = PotentialLoss() if loss is None else loss
        self.make_optimizer = optimizer
        self.schedule = schedule
        self.evaluation = evaluation
        self.warm_start = warm_start
        self.refit = refit
        self.fit_errors, self.val_errors, self.test_errors = PotentialErrors(), PotentialErrors(), PotentialErrors()
        self.val_sums: list[tuple[Tensor, Tensor]] = []

    def __deepcopy__(self, memo: dict[int, Any]) -> PotentialTask:
        """A copy that shares the factories: those of the command line hold on to its whole parser."""
        for shared in (self.make_optimizer, self.schedule):
            memo[id(shared)] = shared
        copy = type(self).__new__(type(self))
        memo[id(self)] = copy
        copy.__setstate__(deepcopy(self.__getstate__(), memo))
        return copy

    def setup(self, stage: str) -> None:
        """Refuse a model that cannot be stored, elements that it does not know, and arithmetic too coarse for forces."""
        if stage == "fit" and self.trainer.checkpoint_callbacks:
            recipe(self.potential.model)
        kinds = {"32-true": self.potential.dtype, "64-true": torch.float64}
        if self.trainer.precision not in kinds:
            raise ValueError(
                f"trainer.precision {self.trainer.precision}: expected 32-true or 64-true; with products in bfloat16 forces "
                "are wrong by 1 to 5 per cent before training, and by 3 meV/Angstrom after (experiments/speed/precision.py)"
            )
        refuse_tf32(self.trainer.strategy.root_device, kinds[self.trainer.precision])
        self.evaluation.check(self.trainer.strategy.root_device)
        for name, dataset in self._datasets().items():
            check_elements(dataset, self.potential.elements, name)

    def _datasets(self) -> dict[str, Sequence[Data]]:
        return getattr(getattr(self.trainer, "datamodule", None), "datasets", {})

    def on_fit_start(self) -> None:
        """Prepare a fresh potential, or adapt a trained one; a resumed run has got its state from the checkpoint."""
        train = self._datasets().get("train")
        references = getattr(getattr(self.trainer, "datamodule", None), "references", None)
        if self.trainer.ckpt_path is not None:
            given = {atomic_number(element): float(value) for element, value in (references or {}).items()}
            if others := unused_references(self.potential, given):
                rank_zero_warn(
                    f"a resumed run keeps its reference energies: those given for {describe(others)} are not used"
                )
            return
        if train is None:
            if not bool(self.potential.prepared):
                rank_zero_warn(
                    "references are zero and the scale is one: call prepare_potential, or train on a data module"
                )
        elif bool(self.potential.prepared):
            adapt_potential(self.potential, train, self.refit, references)
        else:
            found = prepare_potential(self.potential, train, references)
            rank_zero_only(LOGGER.info)(str(found))
            if self.warm_start is not None:
                self.warm_start(self.potential, train, self.loss)
        untrained = self.potential.untrained_elements()
        if untrained:
            rank_zero_warn(
                f"the training set has no atom of {describe(untrained)}: the potential will refuse structures with it"
            )

    def on_train_start(self) -> None:
        """Fit the schedule, which a resumed run has from its checkpoint, to the length of the run."""
        for config in self.trainer.lr_scheduler_configs:
            length = self.trainer.estimated_stepping_batches
            if config.interval == "epoch":
                steps = math.ceil(self.trainer.num_training_batches / self.trainer.accumulate_grad_batches)
                length = length if math.isinf(length) else math.ceil(length / max(1, steps))
            self.schedule.fit_length(config.scheduler, length)

    def configure_callbacks(self) -> list[Callback]:
        """What every fit has."""
        return [AllowUntrained()]

    def configure_optimizers(self) -> Any:
        """Optimiser and schedule; a plateau schedule watches ``val/loss``."""
        return self.schedule.configure(self.make_optimizer(self.potential.parameters()))

    def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
        """One step, with the learning rate of the schedule damped during warm-up."""
        rates = [group["lr"] for group in optimizer.param_groups]
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * self._warmth()
        optimizer.step(closure=optimizer_closure)
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate

    def _warmth(self) -> float:
        return self.schedule.warmth(self.trainer.global_step)

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Step schedules, but leave a plateau to the end of the validation: Lightning would step it after saving."""
        if not isinstance(scheduler, ReduceLROnPlateau):
            super().lr_scheduler_step(scheduler, metric)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Energy, forces, the properties and, if any graph has a cell, stress."""
        return self.evaluate(batch)

    @cached_property
    def evaluate(self) -> Evaluating:
        """The potential, or the form of it that is evaluated."""
        return self.evaluation(self.potential)

    def teardown(self, stage: str) -> None:
        """Give the memory of recordings back before the potential leaves its device."""
        evaluate = self.__dict__.get("evaluate")
        if isinstance(evaluate, GraphedPotential):
            evaluate.forget()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Loss of a batch."""
        output = self.evaluate(batch)
        sums, counts = self.loss(output, batch, self.potential.scales())
        self.fit_errors.update(output, batch)
        weights = self.loss.current(self.current_epoch, self._lr_fraction())
        loss = self.loss.weighted(weights, sums / self._labels_per_process(counts))
        if self.global_step % self.trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            self._check_finite(loss.detach(), "training")
        self.log("train/loss", loss.detach(), batch_size=batch.num_graphs)
        rate = self._warmth() * self.trainer.optimizers[0].param_groups[0]["lr"]
        self.log("learning_rate", torch.full((), rate, device=loss.device))  # made there: a copy is waited for
        return loss

    def _check_finite(self, loss: Tensor, name: str) -> None:
        """Stop a run that diverges, before anything of it is saved."""
        if not bool(torch.isfinite(loss)):
            saved = [c for c in self.trainer.checkpoint_callbacks if isinstance(c, ModelCheckpoint) and c.monitor]
            best = saved[0].best_model_path if saved else ""
            raise DivergenceError(
                f"the training diverges: the {name} loss is {float(loss)} in epoch {self.current_epoch + 1}, after step "
                f"{self.global_step}; lower model.optimizer.init_args.lr or trainer.gradient_clip_val, or look for wrong labels"
                + (f"; the best weights so far are in {best}" if best else "")
            )

    def _labels_per_process(self, counts: Tensor) -> Tensor:
        """Mean number of labels over the processes, so that averaged gradients are those of the joint batch."""
        mean = counts.double()
        if self.trainer.world_size > 1:
            torch.distributed.all_reduce(mean)
            mean = mean / self.trainer.world_size
        return mean.clamp(min=1.0 / self.trainer.world_size)

    def _lr_fraction(self) -> float:
        group = self.trainer.optimizers[0].param_groups[0]
        return float(group["lr"] / group.get("initial_lr", group["lr"]))

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Add a batch to the sums of the epoch."""
        output = self.evaluate(batch)
        self.val_sums.append(self.loss(output, batch, self.potential.scales()))
        self.val_errors.update(output, batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Add a batch to the sums of the test."""
        self.test_errors.update(self.evaluate(batch), batch)

    def predict_step(self, batch: Batch, batch_idx: int) -> list[dict[str, Tensor]]:
        """Predictions of each graph of the batch."""
        output = self.evaluate(batch)
        sizes = batch.ptr.diff().tolist()
        parts = {key: value.split(sizes) if key in PER_ATOM else value for key, value in output.items()}
        return [{key: value[index] for key, value in parts.items()} for index in range(batch.num_graphs)]

    def on_train_epoch_end(self) -> None:
        """Report the training errors of the epoch."""
        self._report(self.fit_errors, "train")

    def on_validation_epoch_end(self) -> None:
        """Report the validation errors, and the loss with its final weights."""
        sums = torch.stack([torch.stack([s, c.double()]) for s, c in self.val_sums]).sum(0)  # -> [2, terms]
        self.val_sums.clear()
        if self.trainer.world_size > 1:
            torch.distributed.all_reduce(sums)
        loss = self.loss.weighted(self.loss.final(), sums[0] / sums[1].clamp(min=1))
        if self.trainer.state.fn == TrainerFn.FITTING:
            self._check_finite(loss, "validation")
        self.log("val/loss", loss)
        if self.trainer.state.fn == TrainerFn.FITTING and not self.trainer.sanity_checking:
            for config in self.trainer.lr_scheduler_configs:
                if isinstance(config.scheduler, ReduceLROnPlateau):
                    config.scheduler.step(float(loss))
        self._report(self.val_errors, "val")

    def on_test_epoch_end(self) -> None:
        """Report the test errors."""
        self._report(self.test_errors, "test")

    def _report(self, errors: PotentialErrors, prefix: str) -> None:
        if not errors.update_called:  # a resumed run may begin at the end of an epoch
            return
        values = errors.compute()
        errors.reset()
        self.log_dict(
            {f"{prefix}/{with_unit(name)}": torch.tensor(v, dtype=torch.float64) for name, v in values.items()}
        )
        if prefix == "val":
            shown = {label: values[name] for label, name in SHOWN.items() if name in values}
            self.log_dict(shown, prog_bar=True, logger=False)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the potential in the format of ``load_potential``, with the averaged weights where weights are averaged."""
        prefix = "potential."
        weights = {
            key[len(prefix) :]: value for key, value in checkpoint["state_dict"].items() if key.startswith(prefix)
        }
        checkpoint["potential"] = potential_state(self.potential) | {"state_dict": weights}
