"""State of a run: numbers and plain text in one ``*.npz`` file, whole or not at all, and never pickled."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from ase.io.jsonio import encode

from equireann_pyg.files import replacing
from equireann_pyg.graph.conditions import condition_keys
from equireann_pyg.simulation.structures import held

FORMAT = "equireann_pyg.simulation"
VERSION = 2


class State(NamedTuple):
    """All that the next step depends on.

    Attributes:
        step: number of steps that are done.
        arrays: ``numbers`` ``[N]``, ``positions`` and ``momenta`` ``[N, 3]``, ``cell`` ``[3, 3]``, variables of the ensemble,
            and ``listed`` ``[N, 3]``, the positions of the last neighbour search where the calculator tells.
        generator: state of the random numbers.
        settings: of the run, which must not change.
    """

    step: int
    arrays: dict[str, np.ndarray]
    generator: dict[str, Any]
    settings: dict[str, Any]


def fixed_of(atoms: Atoms) -> dict[str, Any]:
    """What must be the same where a run is gone on with, beside its options: in plain values, by the words for a message."""
    masses = hashlib.sha256(np.ascontiguousarray(atoms.get_masses()).tobytes()).hexdigest()[:8]
    conditions = {key: np.asarray(atoms.info[key]).tolist() for key in condition_keys(atoms)}
    return {
        "pbc": atoms.pbc.tolist(),
        "set of masses": masses,
        "set of constraints": [encode(constraint.todict()) for constraint in held(atoms)],
        "charge or field": conditions,
    }


def write_state(path: Path, state: State, mark: Mapping[str, Any]) -> None:
    """Write a state with a mark of where the other files of the run end.

    Raises:
        OSError: if the file cannot be written.
    """
    plain = {
        "format": FORMAT,
        "version": VERSION,
        "step": state.step,
        "generator": state.generator,
        "settings": state.settings,
        "mark": dict(mark),
    }
    entries: dict[str, Any] = {"plain": np.array(json.dumps(plain)), **state.arrays}
    with replacing(path, ".npz") as partial:
        np.savez(partial, **entries)


def read_state(path: Path) -> tuple[State, dict[str, Any]]:
    """State of a file, and the mark.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is of another kind.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file, so there is no run to go on with: leave out --restart")
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        plain = json.loads(str(arrays.pop("plain")))
        known = (plain["format"], plain["version"]) == (FORMAT, VERSION)
        state = State(plain["step"], arrays, plain["generator"], plain["settings"])
        mark = plain["mark"]
    except (ValueError, KeyError, TypeError, OSError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: no state of a run of equireann md: name another, or begin anew") from error
    if not known:
        raise ValueError(f"{path}: a state of another version: begin anew")
    return state, mark


def check_settings(path: Path, state: State, settings: Mapping[str, Any]) -> None:
    """Refuse to go on with other settings.

    Raises:
        ValueError: naming what differs.
    """
    differing = [name for name in {**state.settings, **settings} if state.settings.get(name) != settings.get(name)]
    if differing:
        name = differing[0]
        had, has = state.settings.get(name), settings.get(name)
        said = "another file than then" if name == "models" else f"it was {had}, now it is {has}"
        raise ValueError(
            f"{path}: the run had another {name} ({said}): repeat its options, or begin a new run from its last frame"
        )


def find_state(restart: bool | str, beside: Path) -> Path:
    """File of the state that ``--restart`` means.

    Args:
        restart: True, or a folder or file.
        beside: file of the state of the trajectory that is named.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if a folder has several.
    """
    if isinstance(restart, bool) or Path(restart).is_file():
        return beside if isinstance(restart, bool) else Path(restart)
    found = sorted(Path(restart).glob("*.state.npz"))
    if not found:
        raise FileNotFoundError(f"{restart}: no folder with a *.state.npz of equireann md")
    if len(found) > 1:
        raise ValueError(f"{restart}: several states, {', '.join(path.name for path in found)}: name one of them")
    return found[0]
