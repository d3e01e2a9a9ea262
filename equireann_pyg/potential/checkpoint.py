"""The only way of a potential into and out of a file: a plain recipe and weights, never a pickle."""

from __future__ import annotations

import importlib
import sys
import zipfile
from inspect import Parameter, signature
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch

from equireann_pyg.files import replacing
from equireann_pyg.moved import home
from equireann_pyg.potential.devices import usable_device
from equireann_pyg.potential.potential import Potential
from equireann_pyg.wording import with_kind

FORMAT, VERSION = "equireann_pyg.potential", 2
PLAIN = (bool, int, float, str, type(None), torch.dtype)
"""Types of constructor arguments that a file may hold, besides modules and lists, tuples and dicts of all these."""


def recipe(module: torch.nn.Module) -> dict[str, Any]:
    """Class and constructor arguments of a module, from its ``config``; modules among the arguments likewise.

    Raises:
        TypeError: if the module has no ``config``, an argument is no plain value, or the class is defined inside of
            another class or a function, where no file can find it again.
    """
    kind = type(module)
    config = getattr(module, "config", None)
    if not isinstance(config, dict):
        raise TypeError(
            f"{kind.__name__} has no `config`: set self.config to the dict of its constructor arguments to store it"
        )
    if "." in kind.__qualname__:
        raise TypeError(f"{kind.__qualname__} cannot be stored: define the class at the top level of a module")
    arguments = {key: _stored(value, f"{kind.__name__}.config['{key}']") for key, value in config.items()}
    return {"class_path": _public_path(kind), "init_args": arguments}


def _public_path(kind: type) -> str:
    """Path of a class in a file; of a class of this package that of its room, which outlasts that of its module."""
    room = kind.__module__.rpartition(".")[0]
    public = room.startswith("equireann_pyg.") and getattr(sys.modules.get(room), kind.__name__, None) is kind
    return f"{room if public else kind.__module__}.{kind.__qualname__}"


def _stored(value: Any, name: str) -> Any:
    if isinstance(value, torch.nn.Module):
        return recipe(value)
    if isinstance(value, np.generic):
        value = value.item()
    if type(value) in PLAIN:
        return value
    if type(value) in (list, tuple):
        return type(value)(_stored(item, name) for item in value)
    if type(value) is dict:
        return {key: _stored(item, name) for key, item in value.items()}
    raise TypeError(f"{name} is a {type(value).__name__}: only modules and plain values can be stored")


def build(plan: dict[str, Any]) -> torch.nn.Module:
    """Module of a :func:`recipe`. Only subclasses of ``torch.nn.Module`` are ever called.

    Raises:
        ValueError: if the class does not exist, is no module, or does not take the stored arguments.
    """
    plan = present(plan)
    arguments = {key: _rebuilt(value) for key, value in plan["init_args"].items()}
    try:
        return _class_of(plan)(**arguments)
    except TypeError as error:
        raise ValueError(
            f"{plan['class_path']} does not take the stored arguments ({error}): update the package it is from"
        ) from error


def present(plan: dict[str, Any]) -> dict[str, Any]:
    """A :func:`recipe` in terms of the present version of its class, which says what became of earlier ones.

    A class method ``upgraded(recipe)`` rewrites arguments that the class has no more; ``unstored`` (see
    :class:`~equireann_pyg.nn.Plan`) adds those that it did not have yet.

    Raises:
        ValueError: if the class does not exist or is no module.
    """
    kind = _class_of(plan)
    plan = {**plan, "init_args": {**getattr(kind, "unstored", {}), **plan["init_args"]}}
    upgraded = getattr(kind, "upgraded", None)
    parameters = signature(kind).parameters
    takes_all = any(parameter.kind is Parameter.VAR_KEYWORD for parameter in parameters.values())
    if upgraded is None or takes_all or plan["init_args"].keys() <= parameters.keys():
        return plan
    return upgraded(plan)


def _class_of(plan: dict[str, Any]) -> type[torch.nn.Module]:
    path = str(plan["class_path"])
    module_name, _, name = home(path).rpartition(".")
    try:
        kind = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"class {path} cannot be imported ({error}): install the package that defines it") from error
    if not (isinstance(kind, type) and issubclass(kind, torch.nn.Module)):
        raise ValueError(f"{path} is no torch.nn.Module: refusing to call it")
    return kind


def _rebuilt(value: Any) -> Any:
    if isinstance(value, dict):
        return build(value) if "class_path" in value else {key: _rebuilt(item) for key, item in value.items()}
    return type(value)(_rebuilt(item) for item in value) if isinstance(value, (list, tuple)) else value


def potential_state(potential: Potential) -> dict[str, Any]:
    """Everything that rebuilds a potential, as plain values and tensors."""
    properties = [recipe(part) for part in potential.properties]
    return {
        "format": FORMAT,
        "version": VERSION,
        "recipe": recipe(potential.model),
        **({"properties": properties} if properties else {}),
        **({} if potential.repulsion is None else {"repulsion": recipe(potential.repulsion)}),
        "dtype": str(potential.dtype).removeprefix("torch."),
        "state_dict": {key: value.detach().cpu().clone() for key, value in potential.state_dict().items()},
    }


def potential_from_state(state: dict[str, Any]) -> Potential:
    """Potential of a :func:`potential_state`, in evaluation mode; one of version 1 gives the numbers it always gave.

    Raises:
        ValueError: if ``state`` is of another kind or version, or its weights do not fit its recipe.
    """
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise ValueError("not a potential of equireann_pyg: expected a file of save_potential or equireann fit")
    if state.get("version") not in (1, VERSION):
        raise ValueError(f"version {state.get('version')} of the format, expected 1 or {VERSION}: update equireann_pyg")
    try:
        model = build(state["recipe"]).to(getattr(torch, state["dtype"]))
        properties: Any = [build(plan) for plan in state.get("properties", [])]
        repulsion = build(state["repulsion"]) if "repulsion" in state else None
        potential = Potential(model, properties, repulsion)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"the recipe of the model is damaged ({with_kind(error, 200)}); copy the file again"
        ) from error
    try:
        missing = potential.earlier.keys() - state["state_dict"].keys()
        if state["version"] == VERSION and missing:
            raise KeyError(f"no {', '.join(sorted(missing))}")
        potential.load_state_dict(state["state_dict"])
    except (RuntimeError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"the weights do not fit the model ({with_kind(error, 200)})") from error
    return potential.eval()


def save_potential(potential: Potential, path: str | Path) -> None:
    """Write a potential to a file, whole or not at all.

    Raises:
        TypeError: see :func:`recipe`.
        OSError: if the file cannot be written.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path.parent}: no such folder: make it first")
    state = potential_state(potential)
    try:
        with replacing(path) as partial:
            torch.save(state, partial)
    except RuntimeError as error:  # torch's name for a full disk
        raise OSError(f"{path}: cannot be written ({with_kind(error, 200)}): is the disk full?") from error


def load_potential(path: str | Path, map_location: str | torch.device = "cpu") -> Potential:
    """Potential from a file of :func:`save_potential` or a checkpoint of the training task, in evaluation mode.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is damaged, holds pickled objects, or is a checkpoint of something else, or the device is
            not there.
    """
    path, device = Path(path), usable_device(map_location)
    if path.suffix == ".pt2":
        raise ValueError(
            f"{path}: an exported potential, which holds machine code; name the checkpoint it was made from"
        )
    stored = load_plain(path)
    state = stored.get("potential", stored) if isinstance(stored, dict) else stored
    try:
        potential = potential_from_state(state)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return potential.to(device)


def load_plain(path: Path) -> Any:
    """Plain values and tensors of a file of ``torch.save``, on the CPU, after a test of its checksums.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is damaged or holds pickled objects.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    with open(path, "rb") as content:
        start = content.read(4)
    if start and not b"PK\x03\x04".startswith(start):  # torch.save writes zip archives
        raise ValueError(f"{path}: no plain weights file, refusing to unpickle it; train or save it anew")
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()  # torch.load itself compares no checksums
        if damaged is None:
            return torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise ValueError(f"{path}: holds pickled objects, refusing to unpickle them; train or save it anew") from error
    except Exception as error:  # the readers raise anything on broken bytes
        raise ValueError(f"{path}: damaged or truncated ({with_kind(error, 200)}); copy it again") from error
    raise ValueError(f"{path}: damaged (wrong checksum of {damaged}); copy it again")
