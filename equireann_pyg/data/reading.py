"""Frames of a file, through ASE, with the damage that ASE does not report."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import IO, Any

from ase import Atoms
from ase.io import iread

from equireann_pyg.graph import LABELS, LabelKeys, label_places

PICKLES = {".pkl", ".pickle", ".p", ".pt", ".pth", ".ckpt"}
OPENERS: dict[str, Callable[..., IO[Any]]] = {".xz": lzma.open, ".gz": gzip.open, ".bz2": bz2.open}
SELECTION = re.compile(r"@(-?\d+|-?\d*:-?\d*(:-?\d*)?)$")
TEXT_FORMATS = {".xyz": "extxyz", ".extxyz": "extxyz", "configuration": "reann-configuration"}


def split_selection(file: str | Path) -> tuple[Path, str]:
    """Path and frames of ``name@0:100``; the frames are ``":"`` where none are named.

    Raises:
        FileNotFoundError: if there is no such file.
    """
    path, selection = Path(file), SELECTION.search(str(file))
    if selection is not None and not path.is_file():  # a file may have an @ of its own
        path = Path(str(file)[: selection.start()])
    else:
        selection = None
    if not path.is_file():
        raise FileNotFoundError(f"{path}: {'a folder, not a file' if path.is_dir() else 'no such file'}")
    return path, ":" if selection is None else selection.group()[1:]


def read_frames(file: str | Path) -> list[Atoms]:
    """All frames of a file that ASE can read; ``name@0:100`` selects frames as ASE does.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is a pickle, empty, truncated or unreadable.
    """
    path, selection = split_selection(file)
    _refuse_pickle(path)
    try:
        source, kind = _source(path)
        frames = list(iread(source, selection, format=kind, do_not_split_by_at_sign=True))
    except Exception as error:  # ASE's readers raise anything on a broken file
        reason = re.sub(r"\s+", " ", f"{type(error).__name__}: {error}")[:200]
        raise ValueError(f"{path}: unreadable or truncated ({reason}); restore the file") from error
    if not frames:
        what = "no frames" if selection == ":" else f"no frames in the selection {selection}"
        raise ValueError(f"{path}: {what}; expected a file that ase.io.read can open")
    return frames


def _refuse_pickle(path: Path) -> None:
    with open(path, "rb") as content:
        start = content.read(2)
    pickled = len(start) == 2 and start[0] == 0x80 and 2 <= start[1] <= 5
    if pickled or path.suffix.lower() in PICKLES:
        raise ValueError(f"{path}: a pickle can run code and is not read; convert it to extended XYZ")


def _source(path: Path) -> tuple[str | io.StringIO, str | None]:
    """What ASE is to read, and its format if the name tells it."""
    opener = OPENERS.get(path.suffix, open)
    name = path.stem if path.suffix in OPENERS else path.name
    kind = TEXT_FORMATS.get(name, TEXT_FORMATS.get(Path(name).suffix))
    if kind is None:
        return str(path), None
    # In memory: ASE jumps back after every frame, and each jump decompresses the file from its beginning.
    with opener(path, "rt") as file:
        text = io.StringIO(file.read())
    if kind == "extxyz":
        _check_xyz(text)
    return text, kind


def _check_xyz(text: io.StringIO) -> None:
    """Refuse what ASE reads without complaint: it stops at the first blank line, and takes half a number for a whole."""
    blank, atoms = 0, [""]
    lines = enumerate(text, start=1)
    for number, line in lines:
        if not line.strip():
            blank = blank or number
        elif blank:
            raise ValueError(f"line {blank} is blank but frames follow it: remove it")
        elif line.strip().isdecimal():
            atoms = [follower for _, follower in islice(lines, 1 + int(line))][1:]  # without the comment
            if len(atoms) < int(line):
                raise ValueError(f"line {number} announces {int(line)} atoms, {len(atoms)} follow")
        elif not line.lstrip().startswith("VEC"):
            raise ValueError(f"line {number}: expected a number of atoms, got {line.strip()[:40]!r}")
    widths = {len(atom.rstrip("\n")) for atom in atoms[:-1]}
    if len(atoms) > 2 and len(widths) == 1 and not atoms[-1].endswith("\n") and len(atoms[-1]) < widths.pop():
        raise ValueError(f"the last line ends early: {atoms[-1][-20:]!r}")
    text.seek(0)


EXPECTED = ("energy", "forces", "stress")
"""Labels that most files have: a similar name is likely one of them misspelt."""


def check_keys(file: str, frames: Sequence[Atoms], keys: LabelKeys) -> list[str]:
    """Compare the names of the labels with what the frames have.

    Returns:
        Warnings: labels that no frame has under its default name while a similar name is there.

    Raises:
        ValueError: if no frame has a label under the name that ``keys`` gives it.
    """
    found = {name for atoms in frames for place in label_places(atoms).values() for name in place}
    notes = []
    for name in LABELS:
        key = getattr(keys, name)
        if key in found:
            continue
        if key != getattr(LabelKeys(), name):
            raise ValueError(f"{file}: no frame has {name} under the key '{key}'; {keys_found(frames[0])}")
        similar = sorted(other for other in found if name[:5] in other.lower() and other != "free_energy")
        if similar and name in EXPECTED:
            notes.append(f"{file}: no frame has '{key}', but there is {similar}: to train on it, set keys.{name}")
    return notes


def keys_found(atoms: Atoms) -> str:
    """Names under which a frame has anything, for error messages."""
    return "the first has " + ", ".join(f"{name}: {sorted(place)}" for name, place in label_places(atoms).items())


def elements_of(files: str | Path | Sequence[str | Path]) -> list[int]:
    """Sorted atomic numbers."""
    names = [files] if isinstance(files, (str, Path)) else files
    return sorted({int(z) for file in names for atoms in read_frames(file) for z in atoms.numbers})
