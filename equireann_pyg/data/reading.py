"""Frames of a file, through ASE, with the damage that ASE does not report."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from ase import Atoms
from ase.db import connect
from ase.io import iread
from ase.io.formats import filetype, ioformats

from equireann_pyg.data.extxyz import read_frame, split_frames
from equireann_pyg.elements import SYMBOLS
from equireann_pyg.wording import one_line, with_kind

PICKLES = {".pkl", ".pickle", ".p", ".pt", ".pth", ".ckpt"}
OPENERS: dict[str, Callable[..., IO[Any]]] = {".xz": lzma.open, ".gz": gzip.open, ".bz2": bz2.open}
SELECTION = re.compile(r"@(-?\d+|-?\d*:-?\d*(:-?\d*)?)$")
TEXT_FORMATS = {".xyz": "extxyz", ".extxyz": "extxyz", "configuration": "reann-configuration"}
MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


class Reading(NamedTuple):
    """Frames of a file, notes on what else is in it, and the first line of each frame in a format that has lines."""

    frames: list[Atoms]
    notes: list[str]
    lines: list[int]

    def place(self, index: int) -> str:
        """A frame in words, with its line where there is one."""
        return f"frame {index}, line {self.lines[index]}" if self.lines else f"frame {index}"


KEPT: dict[tuple[Any, ...], Reading] = {}
"""Files that have been read and not yet taken, by path, selection, size and time."""


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
        ValueError: if the file is a pickle, empty, truncated or unreadable; names file, frame and, where it has them, line.
    """
    return read(file).frames


def read(file: str | Path) -> Reading:
    """Frames of a file, with notes on what could not be read; see :func:`read_frames`."""
    path, selection = split_selection(file)
    _refuse_pickle(path)
    name = path.stem if path.suffix in OPENERS else path.name
    kind = TEXT_FORMATS.get(name, TEXT_FORMATS.get(Path(name).suffix.lower()))
    try:
        reading = _read_extxyz(_text(path), selection) if kind == "extxyz" else _read_other(path, kind, selection)
    except (ValueError, OSError, EOFError, lzma.LZMAError) as error:
        words = one_line(error)
        raise ValueError(f"{path}{', ' if words.startswith('frame ') else ': '}{words}") from error
    if not reading.frames:
        what = "no frames" if selection == ":" else f"no frames in the selection {selection}"
        raise ValueError(f"{path}: {what}; expected a file that ase.io.read can open")
    for index, atoms in enumerate(reading.frames):
        unknown = [atom for atom, number in enumerate(atoms.numbers) if not 0 < number < len(SYMBOLS)]
        if unknown:
            raise ValueError(
                f"{path}, {reading.place(index)}: atom {unknown[0]} is of no element: replace or remove it"
            )
    return reading


def keep(file: str | Path) -> list[Atoms]:
    """Read a file and keep its frames for the next :func:`take` in this process."""
    reading = read(file)
    KEPT[_identity(file)] = reading
    return reading.frames


def take(file: str | Path) -> Reading:
    """Frames that were kept of a file, which are then forgotten, or else those that are read now."""
    return KEPT.pop(_identity(file), None) or read(file)


def forget(file: str | Path) -> None:
    """Drop the frames that were kept of a file."""
    KEPT.pop(_identity(file), None)


def _identity(file: str | Path) -> tuple[Any, ...]:
    path, selection = split_selection(file)
    status = path.stat()
    return str(path.resolve()), selection, status.st_size, status.st_mtime_ns


def _refuse_pickle(path: Path) -> None:
    with open(path, "rb") as content:
        start = content.read(2)
    pickled = len(start) == 2 and start[0] == 0x80 and 2 <= start[1] <= 5
    if pickled or path.suffix.lower() in PICKLES:
        raise ValueError(f"{path}: a pickle can run code and is not read; convert it to extended XYZ")


def _text(path: Path) -> str:
    """Content of a text file, compressed or not, in whatever encoding."""
    opener = OPENERS.get(path.suffix, open)
    try:
        with opener(path, "rb") as file:
            content: bytes = file.read()
    except Exception as error:  # the decompressors raise anything on a broken file
        reason = f"{type(error).__name__}: {error}"[:120]
        raise ValueError(f"unreadable or truncated ({reason}): expected a whole archive; restore the file") from error
    mark = next((mark for mark in MARKS if content.startswith(mark)), b"")
    try:
        text = content.decode(MARKS.get(mark, "utf-8"))
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise ValueError(f"line {line}: a byte of value zero, expected text; restore the file")
    return text


def _read_extxyz(text: str, selection: str) -> Reading:
    frames = list(enumerate(split_frames(text)))
    chosen = _select(frames, selection)
    atoms, notes = [], dict[str, list[int]]()
    for index, frame in chosen:
        try:
            structure, remarks = read_frame(frame)
        except ValueError as error:
            raise ValueError(f"frame {index}, {error}") from error
        atoms.append(structure)
        for remark in remarks:
            notes.setdefault(remark, []).append(index)
    remarks = [f"{note} ({_in_words(found)})" for note, found in notes.items()]
    return Reading(atoms, remarks, [frame.start for _, frame in chosen])


def _in_words(frames: list[int]) -> str:
    return f"frame {frames[0]}" if len(frames) == 1 else f"{len(frames)} frames, the first is {frames[0]}"


def _select(frames: list[Any], selection: str) -> list[Any]:
    if ":" in selection:
        return frames[slice(*(int(bound) if bound else None for bound in selection.split(":")))]
    index = int(selection)
    return [frames[index]] if -len(frames) <= index < len(frames) else []


def _read_other(path: Path, kind: str | None, selection: str) -> Reading:
    """Frames of any other format, as far as ASE tells what is wrong with it."""
    frames: list[Atoms] = []
    kind = kind or _format(path)
    expected = ioformats[kind].description
    try:
        source = io.StringIO(_text(path)) if kind == "reann-configuration" else str(path)
        if kind in ("db", "json"):
            rows = _rows(path, kind)
            structures = rows if selection == ":" else iter(_select(list(rows), selection))
        else:
            structures = iread(source, selection, format=kind, do_not_split_by_at_sign=True)
        for atoms in structures:
            frames.append(atoms)
    except Exception as error:  # ASE's readers raise anything on a broken file
        words = one_line(error)
        if kind == "reann-configuration" and isinstance(error, ValueError):
            raise ValueError(words) from error
        if isinstance(error, IndexError) and selection.lstrip("-").isdecimal():
            raise ValueError(f"no frame {selection}, or unreadable or truncated: expected {expected}") from error
        where = f"frame {len(frames)}: " if selection == ":" else ""
        reason = (
            f"unknown element or entry {words}" if isinstance(error, KeyError) else f"{type(error).__name__}: {words}"
        )
        reason = reason[:120].removesuffix(": ")
        raise ValueError(f"{where}unreadable or truncated ({reason}): expected {expected}; restore the file") from error
    return Reading(frames, _truncation(path, kind), [])


def _format(path: Path) -> str:
    """Format of a file by its name or content."""
    try:
        kind: str = filetype(str(path))
        ioformats[kind]
    except Exception as error:  # of a reader that looks into the file
        reason = with_kind(error, 80)
        raise ValueError(
            f"of no format that ASE knows ({reason}): expected a file that ase.io.read opens, such as extended XYZ (.xyz)"
        ) from error
    return kind


def _rows(path: Path, kind: str) -> Iterator[Atoms]:
    """Structures of a data base of ASE with the pairs of keys and values and the data of each, which iread leaves out."""
    with connect(path, type=kind) as base:
        for row in base.select():
            atoms = row.toatoms()
            atoms.info = row.key_value_pairs | row.data
            yield atoms


def _truncation(path: Path, kind: str | None) -> list[str]:
    """What ASE passes over in silence: the steps of a run of VASP that was cut short."""
    if kind != "vasp-xml":
        return []
    with OPENERS.get(path.suffix, open)(path, "rb") as file:
        whole = file.read().rstrip().endswith(b"</modeling>")
    return [] if whole else ["the file ends early: only its whole steps are read"]
