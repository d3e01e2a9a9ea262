"""Shipped configurations with some of their entries changed, as the command line names them."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from copy import deepcopy
from typing import Any

import yaml

from equireann_pyg.cli.configurations import find

Config = dict[str, Any]
"""A configuration of ``equireann fit``."""

READ = (
    *("model.model", "model.repulsion", "model.optimizer", "model.schedule"),
    *("trainer.gradient_clip_val", "trainer.callbacks", "data.batches.size"),
)
"""What the experiments take of a configuration; weights of the loss and the number of epochs are those of the case."""


def load(name: str, changes: Iterable[str] = ()) -> Config:
    """A configuration, shipped or of a file, with changes.

    Args:
        name: as of :func:`equireann_pyg.cli.configurations.find`.
        changes: ``model.optimizer.init_args.lr=0.005`` and the like, or shorter ``optimizer.lr=0.005``, and
            ``rule.hidden_channels=[64]`` for an argument of the model; values are YAML.

    Raises:
        FileNotFoundError: if there is no such configuration.
        ValueError: for a change that cannot be made, or that the experiments would not notice.
    """
    config: Config = yaml.safe_load(find(name).read_text(encoding="utf-8"))
    for change in changes:
        path, value = parsed(change)
        path = in_full(path)
        if not any(f"{path}.".startswith(f"{part}.") for part in READ):
            raise ValueError(
                f"{change}: trials read only {', '.join(READ)} of a configuration; weights of the loss, batch size, cutoff and "
                "iterations of a case are changed by case.energy_weight=... and the like"
            )
        put(config, path, value)
    return config


def parsed(change: str) -> tuple[str, Any]:
    """Name and value of ``name=value``.

    Raises:
        ValueError: if there is no ``=``.
    """
    path, sign, value = change.partition("=")
    if not sign or not path:
        raise ValueError(f"{change}: expected a change like model.optimizer.init_args.lr=0.005")
    read = yaml.safe_load(value)
    if isinstance(read, str):
        with suppress(ValueError):  # YAML takes 1e-3 for a word
            read = float(read)
    return path, read


def in_full(path: str) -> str:
    """Name from the top of the configuration: parts of the task without ``model``, arguments of the model by themselves."""
    first = path.split(".")[0]
    if first in ("model", "trainer", "data"):
        return path
    return f"model.{path}" if first in ("optimizer", "schedule", "repulsion", "loss") else f"model.model.{path}"


def put(config: Config, path: str, value: Any) -> None:
    """Set an entry, in place; what leads to it must be there, so that a slip of the pen shows.

    Arguments of a class may be named without ``init_args``.

    Raises:
        ValueError: if something on the way is not there.
    """
    *way, last = path.split(".")
    place: Any = config
    for depth, name in enumerate(way):
        place = _arguments(place, name)
        try:
            place = place[int(name)] if isinstance(place, list) else place[name]
        except (KeyError, IndexError, ValueError, TypeError):
            raise ValueError(f"{path}: there is no {'.'.join(way[: depth + 1])} in the configuration") from None
    place = _arguments(place, last)
    if isinstance(place, list):
        place[int(last)] = deepcopy(value)
    elif isinstance(place, dict):
        place[last] = deepcopy(value)
    else:
        raise ValueError(f"{path}: {'.'.join(way)} is {place!r} and has no parts; give it as a plan first")


def _arguments(place: Any, name: str) -> Any:
    """Arguments of a plan, unless the plan itself has something of that name."""
    if isinstance(place, dict) and "class_path" in place and name not in ("class_path", "init_args"):
        return place.setdefault("init_args", {})
    return place
