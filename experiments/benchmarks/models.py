"""The models that are compared, as the plans that the command line reads.

The plans of EquiREANN and EquiREANN-plus, and how they are trained, are those of the shipped configurations, so that an
experiment and a run of ``equireann fit`` cannot differ; budget and warm-up are those of the experiments.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import jsonargparse
import torch
import yaml

from equireann_pyg.cli.configurations import find
from equireann_pyg.potential.checkpoint import recipe
from equireann_pyg.training.warm_start import RidgeWarmStart

Plan = dict[str, Any]
"""``class_path`` and ``init_args`` of a class, as in a configuration file."""


@dataclass(frozen=True)
class Training:
    """How a model is trained: Adam after a warm-up, with a cosine to zero over the budget and averaged weights.

    Args:
        learning_rate: highest learning rate.
        betas: of Adam.
        warmup_steps: steps over which the rate rises from zero.
        decay: of the moving average of the weights.
        clip: largest norm of the gradient.
    """

    learning_rate: float = 1e-2
    betas: tuple[float, float] = (0.9, 0.99)
    warmup_steps: int = 50
    decay: float = 0.99
    clip: float = 10.0

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
    """

    plan: Plan
    training: Training = Training()

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


def built(plan: Plan) -> torch.nn.Module:
    """Module of a plan; classes of the package go by their short names.

    Raises:
        ValueError: if the plan does not fit its class.
    """
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--model", type=torch.nn.Module)
    instantiate = getattr(parser, "instantiate", None) or parser.instantiate_classes  # the older name
    try:
        return instantiate(parser.parse_object({"model": plan})).model
    except jsonargparse.ArgumentError as error:
        raise ValueError(f"the plan of {plan.get('class_path')} does not fit: {error}") from error


def from_config(name: str) -> Recipe:
    """Recipe of a configuration, shipped or of a file.

    Raises:
        FileNotFoundError: if there is none.
    """
    config = yaml.safe_load(find(name).read_text(encoding="utf-8"))
    task, trainer = config["model"], config["trainer"]
    plan = deepcopy(task["model"])
    for argument in ("elements", "cutoff"):
        plan["init_args"].pop(argument, None)
    optimizer = task["optimizer"]["init_args"]
    (decay,) = (
        callback["init_args"]["decay"]
        for callback in trainer["callbacks"]
        if callback["class_path"].endswith("ExponentialMovingAverage")
    )
    betas = tuple(optimizer["betas"])
    return Recipe(plan, Training(optimizer["lr"], betas, decay=decay, clip=trainer["gradient_clip_val"]))


def _named(recipe: Recipe, name: str) -> Recipe:
    """The same sizes and training for another class of the same family."""
    arguments = deepcopy(recipe.plan["init_args"])
    if name == "EANN":
        arguments.pop("num_iterations", None)
    return Recipe({"class_path": name, "init_args": arguments}, recipe.training)


def models() -> dict[str, Recipe]:
    """EANN, REANN and EquiREANN at equal sizes, and EquiREANN-plus."""
    paper = from_config("equireann")
    plus = from_config("equireann-plus")
    return {
        "EANN": _named(paper, "EANN"),
        "REANN": _named(paper, "REANN"),
        "EquiREANN": _named(paper, "EquiREANN"),
        "EquiREANN-plus": plus,
    }


def fingerprint(model: torch.nn.Module, *settings: Any) -> str:
    """Eight digits that change with the model's sizes or any of the settings."""
    text = json.dumps([recipe(model), *settings], sort_keys=True, default=repr)
    return hashlib.sha256(text.encode()).hexdigest()[:8]
