"""The only way of a potential into and out of a file: a plain recipe and weights, never a pickle."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from equireann_pyg.potential import Potential

FORMAT, VERSION = "equireann_pyg.potential", 1


def recipe(module: torch.nn.Module) -> dict[str, Any]:
    """Class and constructor arguments of a module, from its ``config``; modules among the arguments likewise.

    Raises:
        TypeError: if the module has no ``config``.
    """
    kind = type(module)
    config = getattr(module, "config", None)
    if config is None:
        raise TypeError(
            f"{kind.__name__} has no `config`: set self.config to the dict of its constructor arguments to store it"
        )
    arguments = {key: recipe(value) if isinstance(value, torch.nn.Module) else value for key, value in config.items()}
    return {"class_path": f"{kind.__module__}.{kind.__qualname__}", "init_args": arguments}


def build(plan: dict[str, Any]) -> torch.nn.Module:
    """Module of a :func:`recipe`. Only subclasses of ``torch.nn.Module`` are ever called.

    Raises:
        ValueError: if the class does not exist or is no module.
    """
    path = plan["class_path"]
    module_name, _, name = path.rpartition(".")
    try:
        kind = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"class {path} cannot be imported ({error}): install the package that defines it") from error
    if not (isinstance(kind, type) and issubclass(kind, torch.nn.Module)):
        raise ValueError(f"{path} is no torch.nn.Module: refusing to call it")
    arguments = {
        key: build(value) if isinstance(value, dict) and "class_path" in value else value
        for key, value in plan["init_args"].items()
    }
    return kind(**arguments)


def potential_state(potential: Potential) -> dict[str, Any]:
    """Everything that rebuilds a potential, as plain values and tensors."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "recipe": recipe(potential.model),
        "dtype": str(potential.dtype).removeprefix("torch."),
        "state_dict": {key: value.detach().cpu().clone() for key, value in potential.state_dict().items()},
    }


def potential_from_state(state: dict[str, Any]) -> Potential:
    """Potential of a :func:`potential_state`, in evaluation mode.

    Raises:
        ValueError: if ``state`` is of another kind or version, or its weights do not fit its recipe.
    """
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise ValueError("not a potential of equireann_pyg")
    if state.get("version") != VERSION:
        raise ValueError(f"version {state.get('version')} of the format, expected {VERSION}: update equireann_pyg")
    dtype = getattr(torch, state["dtype"])
    potential = Potential(build(state["recipe"]).to(dtype))
    try:
        potential.load_state_dict(state["state_dict"])
    except RuntimeError as error:
        raise ValueError(f"the weights do not fit the model ({str(error).splitlines()[0]})") from error
    return potential.eval()


def save_potential(potential: Potential, path: str | Path) -> None:
    """Write a potential to a file, whole or not at all.

    Raises:
        TypeError: if the model has no ``config``.
        OSError: if the file cannot be written.
    """
    path = Path(path)
    state = potential_state(potential)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        torch.save(state, partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def load_potential(path: str | Path, map_location: str | torch.device = "cpu") -> Potential:
    """Potential from a file of :func:`save_potential` or a checkpoint of the training task, in evaluation mode.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is damaged, holds pickled objects, or is a checkpoint of something else.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise ValueError(f"{path}: no plain weights file, refusing to unpickle it; train or save it anew") from error
    except (RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        raise ValueError(f"{path}: damaged or truncated ({str(error).splitlines()[0][:120]}); copy it again") from error
    state = stored.get("potential", stored) if isinstance(stored, dict) else stored
    try:
        return potential_from_state(state).to(map_location)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
