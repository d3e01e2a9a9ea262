"""What the benchmark knows of a model that takes part."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from ase.calculators.calculator import Calculator
from torch import nn

from equireann_pyg import Potential
from experiments.benchmark.peers.environments import Environment
from experiments.runs.models import Recipe, Training


@dataclass(frozen=True)
class Peer:
    """A model that takes part.

    Args:
        name: of the model and its size.
        recipe: the model, as a plan, and its training.
        source: where the settings are published.
        environment: where its package is; None for the Python that runs.
        first: modules that its processes import before all others.
        version: of a model that belongs to no package; its numbers are of this version only.
        package: distributions whose versions are reported.
        derivatives: continuous derivatives of its energy at the cutoff, as published.
        program: its package's own training program, of :data:`experiments.benchmark.own.training.PROGRAMS`, if it has one here.
        noise: that checks add to its parameters, so that nothing is zero by construction; deep networks bear little.
        trains: whether it can be trained by our loop; else it is only timed.
        known: checks of :func:`~equireann_pyg.testing.check_model` that the published model does not pass, and why.
        remark: what to know when reading its numbers.
    """

    name: str
    recipe: Recipe
    source: str
    environment: Environment | None = None
    first: tuple[str, ...] = ()
    package: tuple[str, ...] = ()
    version: str = ""
    derivatives: int = 1
    program: str = ""
    noise: float = 0.1
    trains: bool = True
    known: Mapping[str, str] = field(default_factory=dict)
    remark: str = ""

    @property
    def installed(self) -> bool:
        """Whether it can take part now."""
        return self.environment is None or self.environment.installed()

    def own_calculator(self, potential: Potential) -> Calculator | None:
        """Calculator of the model's own package with the same weights; None if there is none to compare with."""
        made = getattr(potential.model, "own_calculator", None)
        return None if made is None else made()


def published(
    class_path: str,
    sizes: Mapping[str, Any] | None = None,
    *,
    lr: float,
    batch_size: int = 5,
    weight_decay: float = 0.0,
    amsgrad: bool = False,
) -> Recipe:
    """Recipe of another package's model: its sizes, and Adam with its published rate.

    Schedule, averages and clipping are those of all models here.

    Args:
        class_path: of the adapter.
        sizes: its arguments besides ``elements`` and ``cutoff``.
        lr: learning rate.
        batch_size: frames per step.
        weight_decay: of AdamW.
        amsgrad: variant of Adam.
    """
    arguments = {"lr": lr, "weight_decay": weight_decay, "amsgrad": amsgrad}
    kind = "torch.optim.AdamW" if weight_decay else "torch.optim.Adam"
    training = Training({"class_path": kind, "init_args": arguments}, batch_size=batch_size)
    return Recipe({"class_path": class_path, "init_args": dict(sizes or {})}, training)


def of_user(path: str) -> Peer:
    """The model of a user, ``my_module:MyModel``, which takes ``elements`` and ``cutoff``.

    Raises:
        ValueError: if there is no such class.
    """
    module, _, name = path.partition(":")
    try:
        kind = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"--model {path}: expected MODULE:CLASS of a class that can be imported here ({error})"
        ) from error
    if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
        raise ValueError(f"--model {path}: {name} is no torch.nn.Module")
    digest = sha256(Path(inspect.getfile(kind)).read_bytes()).hexdigest()[:8]
    return Peer(path, published(f"{module}.{name}", lr=1e-3), f"{path}, file {digest}", version=digest)
