"""The models that are compared, as the plans that the command line reads.

The plans of EquiREANN and of the sizes of EquiREANN-plus, and how they are trained, are those of the shipped
configurations, so that an experiment and a run of ``equireann fit`` cannot differ; the budget is that of the experiments.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import jsonargparse
import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch.optim.lr_scheduler import LRScheduler

from equireann_pyg import models as networks
from equireann_pyg import nn
from equireann_pyg.potential.checkpoint import recipe
from equireann_pyg.training.warm_start import RidgeWarmStart
from experiments.runs import config as configs

_ = networks, nn  # short class names in plans

Plan = dict[str, Any]
"""``class_path`` and ``init_args`` of a class, as in a configuration file."""

STEPS = ("T_max", "total_iters", "total_steps")
"""Arguments of a schedule of the learning rate that say how long it is."""


def adam() -> Plan:
    """Plan of the usual optimiser."""
    return {"class_path": "torch.optim.Adam", "init_args": {"lr": 1e-2, "betas": [0.9, 0.99]}}


def cosine() -> Plan:
    """Plan of the usual schedule of the learning rate: a cosine to zero."""
    return {"class_path": "torch.optim.lr_scheduler.CosineAnnealingLR", "init_args": {"T_max": 1}}


@dataclass(frozen=True)
class Training:
    """How a model is trained: an optimiser after a warm-up, a schedule over the budget, and averaged weights.

    Args:
        optimizer: plan of the optimiser.
        scheduler: plan of the schedule; its length is that of the budget, whatever it says.
        warmup_steps: steps over which the rate rises from zero.
        decay: of the moving average of the weights; None keeps none.
        clip: largest norm of the gradient; None lets all pass.
        batch_size: frames per step, unless the case has its own.
    """

    optimizer: Plan = field(default_factory=adam)
    scheduler: Plan = field(default_factory=cosine)
    warmup_steps: int = 100
    decay: float | None = 0.99
    clip: float | None = 10.0
    batch_size: int = 8

    def make_optimizer(self) -> Callable[[Any], torch.optim.Optimizer]:
        """Makes the optimiser of parameters."""
        return instance(OptimizerCallable, self.optimizer)

    def make_scheduler(self, steps: int) -> Callable[[torch.optim.Optimizer], LRScheduler]:
        """Makes the schedule of an optimiser, over so many steps."""
        arguments = {name: steps if name in STEPS else value for name, value in self.scheduler["init_args"].items()}
        return instance(LRSchedulerCallable, {**self.scheduler, "init_args": arguments})

    def warm_start(self) -> RidgeWarmStart | None:
        """How the linear part of the readout starts; None: at zero."""
        return None


@dataclass(frozen=True)
class WarmStarted(Training):
    """Likewise, from a ridge regression.

    Args:
        alpha: of its penalty.
    """

    alpha: float = 1e-3

    def warm_start(self) -> RidgeWarmStart:
        """A ridge regression."""
        return RidgeWarmStart(self.alpha)


@dataclass(frozen=True)
class Recipe:
    """A model by name: what it is made of and how it is trained.

    Args:
        plan: plan of the model, without elements and cutoff.
        training: how it is trained.
        repulsion: plan of the repulsion between close atoms; None for none.
    """

    plan: Plan
    training: Training = field(default_factory=Training)
    repulsion: Plan | None = None

    def build(self, elements: Sequence[str], cutoff: float, iterations: int | None = None) -> torch.nn.Module:
        """An untrained model.

        Args:
            elements: chemical symbols of a case.
            cutoff: in Angstrom.
            iterations: T in place of the plan's; models without messages keep theirs.

        Raises:
            ValueError: if the plan does not fit its class.
        """
        arguments = {**self.plan["init_args"], "elements": list(elements), "cutoff": cutoff}
        if iterations is not None and arguments.get("num_iterations"):
            arguments["num_iterations"] = iterations
        return built({**self.plan, "init_args": arguments})

    def build_repulsion(self) -> torch.nn.Module | None:
        """The repulsion, if there is one."""
        return None if self.repulsion is None else built(self.repulsion)


def instance(kind: Any, plan: Plan) -> Any:
    """What a plan makes; classes of the package go by their short names.

    Args:
        kind: type that is expected.
        plan: class and arguments.

    Raises:
        ValueError: if the plan does not fit its class.
    """
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--made", type=kind)
    instantiate = getattr(parser, "instantiate", None) or parser.instantiate_classes  # the older name
    try:
        return instantiate(parser.parse_object({"made": plan})).made
    except jsonargparse.ArgumentError as error:
        raise ValueError(f"the plan of {plan.get('class_path')} does not fit: {error}") from error


def built(plan: Plan) -> torch.nn.Module:
    """Module of a plan.

    Raises:
        ValueError: if the plan does not fit its class.
    """
    module: torch.nn.Module = instance(torch.nn.Module, plan)
    return module


def as_plan(plan: Plan | str | None) -> Plan | None:
    """A plan written in full; a class without arguments may go by its name alone."""
    return {"class_path": plan} if isinstance(plan, str) else deepcopy(plan)


def from_config(name: str, changes: Iterable[str] = ()) -> Recipe:
    """Recipe of a configuration, shipped or of a file, with changes as of :func:`experiments.runs.config.load`.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: for a change that cannot be made, or a callback that the experiments do not have.
    """
    config = configs.load(name, changes)
    task, trainer = config["model"], config["trainer"]
    plan = deepcopy(task["model"])
    for argument in ("elements", "cutoff"):
        plan["init_args"].pop(argument, None)
    schedule = task.get("schedule") or {}
    how = Training(
        deepcopy(task["optimizer"]),
        _schedule(schedule.get("lr_scheduler")),
        schedule.get("warmup_steps", 0),
        _decay(trainer.get("callbacks") or []),
        trainer.get("gradient_clip_val"),
        config.get("data", {}).get("batches", {}).get("size", 8),
    )
    return Recipe(plan, how, as_plan(task.get("repulsion")))


def _schedule(plan: Plan | str | None) -> Plan:
    """Plan of a schedule; one that spans its run is written as it was before there was :class:`Cosine`, so that marks hold."""
    full = as_plan(plan) or cosine()
    return {**cosine(), "init_args": {"T_max": 300}} if full["class_path"].endswith(".Cosine") else full


def _decay(callbacks: Sequence[Plan]) -> float | None:
    """Decay of the averaged weights."""
    other = [plan["class_path"] for plan in callbacks if not plan["class_path"].endswith("ExponentialMovingAverage")]
    if other:
        raise ValueError(f"the experiments have no {', '.join(other)}: only ExponentialMovingAverage is read of a file")
    decays = [plan.get("init_args", {}).get("decay", 0.999) for plan in callbacks]
    return decays[0] if decays else None


def _named(like: Recipe, name: str) -> Recipe:
    """The same sizes and training for another class of the same family."""
    arguments = deepcopy(like.plan["init_args"])
    if name == "EANN":
        arguments.pop("num_iterations", None)
    return Recipe({"class_path": name, "init_args": arguments}, like.training, like.repulsion)


def sizes() -> dict[str, str]:
    """Shipped configurations of EquiREANN-plus by the name of the model, from the smallest on."""
    return {f"EquiREANN-plus-{size}": f"equireann-plus-{size}" for size in "sml"}


def models() -> dict[str, Recipe]:
    """EANN, REANN and EquiREANN at equal sizes, and the sizes of EquiREANN-plus that are shipped."""
    paper = from_config("equireann")
    plus = {name: from_config(file) for name, file in sizes().items()}
    return {name: _named(paper, name) for name in ("EANN", "REANN", "EquiREANN")} | plus


def standard(known: Mapping[str, Recipe] | None = None) -> str:
    """Name of the EquiREANN-plus that others are compared with: the medium size, where it is known."""
    names = list(models() if known is None else known)
    return next((name for name in names if name.endswith("-plus-m")), names[-1])


def fingerprint(model: torch.nn.Module, *settings: Any) -> str:
    """Eight digits that change with the model's sizes or any of the settings."""
    text = json.dumps([recipe(model), *settings], sort_keys=True, default=repr)
    return hashlib.sha256(text.encode()).hexdigest()[:8]
