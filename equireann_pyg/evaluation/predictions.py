"""Predictions on file: the structures of the input with everything they had, and predicted labels beside it."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed
from ase import Atoms
from ase.calculators.calculator import all_properties
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms, FixCartesian
from ase.io.extxyz import key_val_dict_to_str, key_val_str_to_dict, per_atom_properties, write_xyz
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter
from torch import Tensor
from torch_geometric.data import Data

from equireann_pyg.files import replacing
from equireann_pyg.graph.convert import ase_results
from equireann_pyg.graph.labels import LABELS, label_places

REFERENCE = "reference_"
"""Prefix of the labels of the input in a file of predictions."""

RESULTS = {*LABELS, *all_properties}
TAKEN = {"Z", "pos", "species", "symbols", "move_mask"}
"""Columns of extended XYZ that have a meaning of their own."""

END = "equireann_pyg_end"
"""An entry that must survive behind any other."""

INT32 = 2**31
DECIMALS = 8
"""Digits after the point in the columns that ASE writes."""


class PredictionWriter(BasePredictionWriter):
    """Writes the structures of ``equireann predict`` with predicted labels to an extended-XYZ file.

    Every structure keeps its info entries, arrays, tags, constraints, momenta and initial moments and charges. ``energy``,
    ``forces`` and the like are predicted; those of the input are called ``reference_energy``, ``reference_forces`` and so
    on. What extended XYZ cannot hold is said in one line.

    Args:
        path: the file; replaced whole, or not at all.
    """

    def __init__(self, path: str = "predictions.extxyz") -> None:
        super().__init__(write_interval="epoch")
        self.path = path

    def write_on_epoch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        predictions: Sequence[Any],
        batch_indices: Sequence[Any],
    ) -> None:
        """Collect the predictions of all processes in the order of the set."""
        own = [graph for batch in predictions for graph in batch]
        shards: list[Any] = [own]
        if trainer.world_size > 1:
            shards = [None] * trainer.world_size
            torch.distributed.all_gather_object(shards, own)
        if trainer.is_global_zero:
            module = trainer.datamodule  # type: ignore[attr-defined]
            graphs, structures, world = module.datasets["predict"], module.structures("predict"), len(shards)
            check_unchanged(structures, graphs)
            frames = [with_predictions(atoms, shards[k % world][k // world]) for k, atoms in enumerate(structures)]
            write_frames(Path(self.path), frames)


def check_unchanged(structures: Sequence[Atoms], graphs: Sequence[Data]) -> None:
    """Refuse structures that are not those of the graphs.

    Raises:
        ValueError: naming the first frame that is different.
    """
    pairs = zip(structures, graphs, strict=False)
    same = [np.array_equal(a.numbers, g.z) and np.array_equal(a.positions, g.pos) for a, g in pairs]
    if len(structures) != len(graphs) or not all(same):
        frame = same.index(False) if False in same else len(same)
        raise ValueError(f"data.predict, frame {frame}: the file has changed since it was read: predict anew")


def with_predictions(atoms: Atoms, output: Mapping[str, Tensor]) -> Atoms:
    """Copy of a structure with predicted labels in a calculator (the polarizability in ``info``).

    Labels of the input that have the name of a predicted one, or of any result of ASE's calculators, get the prefix
    ``reference_``; all others stay.

    Args:
        atoms: structure.
        output: predictions of one graph; what is not defined for it is NaN.
    """
    results = label_places(atoms)["calculator"]
    atoms = atoms.copy()
    for name in [name for name in atoms.info if name in RESULTS]:
        _store(atoms, name, atoms.info.pop(name), atoms.info)
    for name in [name for name in atoms.arrays if name in RESULTS or name == "charge"]:
        _store(atoms, name, atoms.arrays.pop(name), atoms.arrays)
    for name, value in results.items():
        _store(atoms, name, value, atoms.arrays if name in per_atom_properties else atoms.info)
    always = ("energy", "forces")  # the rest may be undefined
    predicted, other = ase_results({k: v for k, v in output.items() if k in always or bool(torch.isfinite(v).all())})
    atoms.info |= other
    atoms.calc = SinglePointCalculator(atoms, **predicted)
    return atoms


def _store(atoms: Atoms, name: str, value: Any, place: dict[str, Any]) -> None:
    """Keep a label of the input under a name that is free."""
    key, number = REFERENCE + name, 1
    while key in atoms.info or key in atoms.arrays:
        key, number = f"{REFERENCE}{name}_{number}", number + 1
    place[key] = value


def write_frames(path: Path, frames: Sequence[Atoms]) -> None:
    """Write extended XYZ whole or not at all; say in one line what the format cannot hold."""
    lost: dict[str, int] = {}
    with replacing(path) as partial, open(partial, "w", encoding="utf-8") as file:
        for atoms in frames:
            storable, remarks = storable_copy(atoms)
            write_xyz(file, [storable])
            for remark in remarks:
                lost[remark] = lost.get(remark, 0) + 1
    if lost:
        words = "; ".join(f"{remark} ({count} of {len(frames)} frames)" for remark, count in lost.items())
        print(f"{path}: extended XYZ cannot hold all of the input: {words}", file=sys.stderr)


def storable_copy(atoms: Atoms) -> tuple[Atoms, list[str]]:
    """A structure as extended XYZ can hold it, and what that costs.

    ASE writes some entries so that they come back as others, or not at all: each is tried, and written as JSON where that
    helps.
    """
    copy = atoms.copy()
    copy.calc = atoms.calc
    lost = [
        f"constraint {type(constraint).__name__} is left out"
        for constraint in atoms.constraints
        if not isinstance(constraint, (FixAtoms, FixCartesian))
    ]
    copy.info = {}
    for key, value in atoms.info.items():
        text = _encoded(key, value)
        if text is None:
            lost.append(f"info entry {key!r} is left out")
        else:
            copy.info[key] = text
    for name in [name for name in atoms.arrays if name not in ("numbers", "positions")]:
        column, remark = _column(name, copy.arrays.pop(name))
        if column is not None:
            copy.arrays[name] = column
        if remark:
            lost.append(f"array {name!r} is {remark}")
    return copy, lost


def _encoded(key: Any, value: Any) -> Any:
    """An info entry in a form that ASE writes and reads back unchanged; None if there is none."""
    if not isinstance(key, str) or key.lower() in ("lattice", "properties", "pbc"):
        return None
    if key in ("virial", "stress") and np.shape(value) == (6,):
        value = np.asarray(value)[[0, 5, 4, 5, 1, 3, 4, 3, 2]].reshape(3, 3)  # Voigt: ASE reads nine numbers only
    elif key in ("virial", "stress") and np.size(value) == 9:
        value = np.reshape(value, (3, 3))
    plain = isinstance(value, (str, bool, np.bool_, Real)) or (
        isinstance(value, np.ndarray) and value.dtype.kind in "ifb"
    )
    for as_json in (False, True) if plain else (True,):
        try:
            encoded = _json(value) if as_json else value
            text = key_val_dict_to_str({key: encoded, END: 1})
            back = key_val_str_to_dict(text)
        except (TypeError, ValueError, IndexError):  # the last one of ASE's parser, for _JSON without an end
            continue
        if list(back) == [key, END] and _same(back[key], value) and "\n" not in text and "\r" not in text:
            return encoded
    return None


def _json(value: Any) -> str:
    value = value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value
    return "_JSON " + json.dumps(value, default=np.ndarray.tolist).replace("\\", "\\\\")  # ASE takes one level away


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return isinstance(other, dict) and _json(one) == _json(other)
    if isinstance(one, (str, bool, np.bool_, type(None))) or isinstance(other, (str, bool, type(None))):
        return isinstance(one, type(other)) and bool(one == other)
    one, other = np.asarray(one), np.asarray(other)
    if one.shape != other.shape or (one.dtype.kind in "UO") != (other.dtype.kind in "UO"):
        return False
    return bool(np.array_equal(one, other, equal_nan=one.dtype.kind == other.dtype.kind == "f"))


def _column(name: str, values: Any) -> tuple[Any, str]:
    """Columns of an array as extended XYZ can hold them, or None, and what that costs."""
    if name in TAKEN or any(sign.isspace() or sign in ":=\"'{}[]\\" for sign in name) or not values.size:
        return None, "left out"
    flat = values.reshape(len(values), -1) if values.ndim > 2 else values
    remark = f"flattened from {list(values.shape[1:])} to {flat.shape[1]} columns" if values.ndim > 2 else ""
    kind = values.dtype.kind
    if kind in "US":
        return (flat, remark) if _are_words(flat) else (None, "left out")
    if kind == "O":
        flat = np.array([str(value) for value in flat.ravel()]).reshape(flat.shape)
        return (flat, remark or "written as words") if _are_words(flat) else (None, "left out")
    if kind in "iu":
        if np.abs(flat.astype(float)).max() >= INT32:
            return flat.astype(str), "written as words: it is beyond 32 bits"
        return flat.astype(np.int64), remark
    if kind == "f":
        largest = np.abs(flat[np.isfinite(flat)]).max(initial=0.0)
        coarse = 0 < largest < 10.0 ** (3 - DECIMALS)
        return flat.astype(np.float64), f"rounded to {DECIMALS} decimals" if coarse else remark
    return (flat, remark) if kind == "b" else (None, "left out")


def _are_words(values: Any) -> bool:
    return values.dtype.kind == "U" and all(word.split() == [word] == word.split(" ") for word in values.ravel())
