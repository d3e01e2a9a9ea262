"""The model of a checkpoint against what a command line and its configuration files say of the model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from equireann_pyg.cli.words import PARTS
from equireann_pyg.elements import atomic_number
from equireann_pyg.potential.checkpoint import load_plain, present

Leaves = dict[tuple[str, ...], Any]
"""Values by the names that lead to them, without ``class_path`` and ``init_args`` on the way."""


def stored_recipe(path: str) -> dict[str, Any]:
    """Recipes of model, properties and repulsion in the file of a potential.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file holds no potential.
    """
    stored = load_plain(Path(path))
    state = stored.get("potential", stored) if isinstance(stored, dict) else {}
    if "recipe" not in state:
        raise ValueError(f"{path}: holds no potential of equireann_pyg; name a checkpoint of equireann fit")
    properties, repulsion = state.get("properties"), state.get("repulsion")
    return {
        "model": present(state["recipe"]),
        "properties": properties and [present(plan) for plan in properties],
        "repulsion": repulsion and present(repulsion),
        "dtype": state["dtype"],
    }


def leaves(options: Mapping[str, Any]) -> Leaves:
    """All values of options ``model.model.init_args.cutoff: 5`` and the like, of model, properties and repulsion."""
    return {path[1:]: value for name, entry in options.items() for path, value in _walk(name.split("."), entry)}


def _walk(names: Sequence[str], entry: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    path = tuple(name for name in names if name not in ("init_args", "dict_kwargs", "class_path"))
    if isinstance(entry, dict):
        for name, value in entry.items():
            yield from _walk([*names, name], value)
    elif isinstance(entry, (list, tuple)) and any(isinstance(item, dict) for item in entry):
        for index, item in enumerate(entry):
            yield from _walk([*names, str(index)], item)
    else:
        yield path, entry


def contradictions(said: Leaves, recipe: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """What is said otherwise than the recipe has it: name, value that was given, value of the recipe."""
    stored = leaves({f"model.{part}": recipe[part] for part in PARTS})
    found = []
    for path, value in said.items():
        if path[0] in PARTS and value not in (None, []) and not _same(path[-1], value, stored.get(path)):
            found.append((".".join(path), value, stored.get(path)))
    return found


def _same(name: str, given: Any, stored: Any) -> bool:
    """Whether two values mean the same; a class counts by its last name, elements in whatever order."""
    if name == "elements" and isinstance(given, (list, tuple)) and isinstance(stored, (list, tuple)):
        return sorted(map(atomic_number, given)) == sorted(map(atomic_number, stored))
    if isinstance(given, (list, tuple)) and isinstance(stored, (list, tuple)):
        pairs = zip(given, stored, strict=False)
        return len(given) == len(stored) and all(_same("", one, other) for one, other in pairs)
    if isinstance(given, str) and isinstance(stored, str):
        return given.rpartition(".")[2] == stored.rpartition(".")[2]
    return bool(given == stored)
