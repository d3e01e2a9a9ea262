"""Frames of extended XYZ: text is checked and cut into frames here, with every fault named by its line; ASE reads them.

ASE stops at the first blank line, takes half a number for a whole, drops columns and entries that it cannot place, and
refuses a file for a label that nobody wants; so a frame comes to it only when its text is in order.

Format: https://github.com/libAtoms/extxyz.
"""

from __future__ import annotations

import io
import re
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from ase.io.extxyz import key_val_str_to_dict, per_atom_properties, per_config_properties, read_xyz

from equireann_pyg.data.columns import Column, check_widths, explain, parse_properties
from equireann_pyg.elements import SYMBOLS
from equireann_pyg.wording import with_kind

STASH = "equireann_pyg-"
"""Prefix of entries that ASE's reader would choke on while they are in its hands."""

PLAIN = "species:S:1:pos:R:3"
"""Columns of a frame that does not name any."""

SPELLINGS = {"lattice": "Lattice", "properties": "Properties", "pbc": "pbc"}
CELLS = {"cell", "box", "unit_cell", "unitcell"}
TENSORS = {"stress", "virial"}
QUOTED = r""""(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|\{(?:\\.|[^}\\])*\}|\[(?:\\.|[^\]\\])*\]"""
WORD = rf"""(?:\\.|{QUOTED}|[^\s="'{{\[\\])+"""
PIECE = re.compile(rf"({WORD})((?:\s*=\s*(?:{WORD})?)*)")
EMPTY = re.compile(rf"\s*=\s+{WORD}\s*=")


class Frame(NamedTuple):
    """Text of one frame: the number of its first line, from 1, its number of atoms, and its lines after the first."""

    start: int
    size: int
    lines: list[str]


def split_frames(text: str) -> list[Frame]:
    """Cut a text into frames.

    Raises:
        ValueError: if counts and lines do not fit, or the last line ends early; names frame and line.
    """
    frames: list[Frame] = []
    blank, numbered = 0, enumerate(io.StringIO(text, newline=None), start=1)
    for number, line in numbered:
        where = f"frame {len(frames)}, line {number}"
        if not line.strip():
            blank = blank or number
        elif blank:
            raise ValueError(f"frame {len(frames)}, line {blank}: blank but frames follow it: remove the line")
        elif line.strip().isdecimal() and len(line.strip()) < 10:
            size = int(line)
            lines = [follower for _, follower in islice(numbered, 1 + size)]
            if size == 0:
                raise ValueError(f"{where}: no atoms: remove the frame")
            if len(lines) < 1 + size:
                raise ValueError(f"{where}: {size} atoms announced, {max(0, len(lines) - 1)} follow: restore the file")
            frames.append(Frame(number, size, lines))
        elif line.lstrip().startswith("VEC") and frames:
            frames[-1].lines.append(line)
        else:
            before = f" after the {frames[-1].size} announced in line {frames[-1].start}" if frames else ""
            raise ValueError(f"{where}: expected a number of atoms{before}, got {line.strip()[:40]!r}")
    if frames:
        _check_end(frames)
    return frames


def _check_end(frames: list[Frame]) -> None:
    """Refuse half a number at the end, which reads like a whole one: all other lines are of the same length."""
    start, _, lines = frames[-1]
    widths, last = {len(line.rstrip("\n")) for line in lines[1:-1]}, lines[-1]
    if len(lines) > 3 and len(widths) == 1 and not last.endswith("\n") and len(last) < widths.pop():
        where = f"frame {len(frames) - 1}, line {start + len(lines)}"
        raise ValueError(f"{where}: the last line ends early ({last[-20:]!r}): restore the file")


def read_frame(frame: Frame) -> tuple[Atoms, list[str]]:
    """Structure of a frame, with what the text has beyond it.

    Returns:
        the structure and notes on what could not be read.

    Raises:
        ValueError: naming the line, what was expected and what came.
    """
    try:
        info, notes = parse_comment(frame.lines[0])
        columns = parse_properties(info.get("Properties", PLAIN))
    except ValueError as error:
        raise ValueError(f"line {frame.start + 1}: {error}") from error
    atom_lines, vectors = frame.lines[1 : 1 + frame.size], frame.lines[1 + frame.size :]
    if vectors and {"Properties", "Lattice"} & info.keys():
        raise ValueError(f"line {frame.start + 2 + frame.size}: VEC beside Properties or Lattice: remove one of them")
    notes += check_widths(atom_lines, columns, frame.start + 2, "Properties" in info)
    if any(column.kind == "L" for column in columns):
        explain(atom_lines, columns, frame.start + 2)  # ASE takes any other word for F
    info |= {"Properties": ":".join(f"{_stashed(column)}:{column.kind}:{column.width}" for column in columns)}
    text = io.StringIO(f"{frame.size}\n{frame.lines[0].strip()}\n{''.join(frame.lines[1:])}")
    try:
        (atoms,) = read_xyz(text, slice(None), lambda _: info)
    except Exception as error:  # ASE's reader raises anything on a broken frame
        explain(atom_lines, columns, frame.start + 2)
        reason = with_kind(error, 120)
        raise ValueError(f"line {frame.start + 1}: unreadable ({reason}): restore the frame") from error
    if not (atoms.numbers.min() > 0 and atoms.numbers.max() < len(SYMBOLS)):
        explain(atom_lines, columns, frame.start + 2)
    if vectors:  # ASE reads no entries then
        atoms.info |= {key: value for key, value in info.items() if key not in ("Properties", "pbc")}
    for place in (atoms.info, atoms.arrays):
        for key in [key for key in place if key.startswith(STASH)]:
            place[key.removeprefix(STASH)] = place.pop(key)
    return atoms, notes


def parse_comment(line: str) -> tuple[dict[str, Any], list[str]]:
    """Entries of a comment line, and notes on what could not be read.

    Values are ASE's, but tensors may also have six numbers, and a value for which ASE's calculators have no place is kept.

    Raises:
        ValueError: if the line can be understood in two ways.
    """
    info: dict[str, Any] = {}
    notes, position, line = [], 0, line.strip()
    while position < len(line):
        rest = line[position:].lstrip(" \t=")
        position = len(line) - len(rest)
        piece = PIECE.match(line, position)
        if piece is None and "=" in rest[1:]:
            raise ValueError(f"the {rest[0]} before {rest[1:21]!r} is not closed: close or remove it")
        if piece is not None and EMPTY.match(piece[2]):
            raise ValueError(f"{piece[1]!r} has no value: remove it or give it one")
        key, value = _entry(rest, "") if piece is None else _entry(piece[1], piece[2])
        if key in info and piece is not None and piece[2]:
            raise ValueError(f"{key!r} is given twice: remove one")
        info[key] = value
        position = len(line) if piece is None else piece.end()
    _check_cell(info)
    if len(info) == 1 and _is_number(line):
        notes.append(f"the comment line {line!r} is a number without a name: not used")
    return {_stashed_entry(key, value): value for key, value in info.items()}, notes


def _entry(key: str, value: str) -> tuple[str, Any]:
    """Name and value of one entry, ``value`` with its equals sign."""
    try:
        ((name, parsed),) = key_val_str_to_dict(f"_{key}{value}").items()  # "_": no special treatment of any name
    except ValueError:  # broken JSON
        name, parsed = f"_{key}", value.strip(" =\"'")
    name = name[1:]
    if name in TENSORS and np.shape(parsed) == (9,):
        parsed = np.reshape(parsed, (3, 3), order="F")
    return name, parsed


def _check_cell(info: dict[str, Any]) -> None:
    for key in info:
        spelling = SPELLINGS.get(key.lower(), key)
        if key != spelling:
            raise ValueError(f"{key!r} is written {spelling!r} in extended XYZ: rename it")
    if "Lattice" in info:
        lattice = np.asarray(info["Lattice"])
        if lattice.dtype.kind not in "if" or lattice.shape != (9,) or not np.isfinite(lattice).all():
            raise ValueError(f"Lattice: expected nine numbers in quotes, got {_shown(info['Lattice'])}")
        info["Lattice"] = lattice.reshape((3, 3), order="F")
    for key in info if "Lattice" not in info else ():
        if key.lower() in CELLS and np.size(info[key]) in (3, 6, 9) and np.asarray(info[key]).dtype.kind in "if":
            raise ValueError(
                f"{key!r} looks like a cell, which is called Lattice in extended XYZ: nine numbers, or remove it"
            )
    if "pbc" in info:
        pbc = np.asarray(info["pbc"])
        loose = pbc.ndim == 0 and bool({"T", "F"} & info.keys())
        if pbc.dtype.kind not in "bi" or pbc.shape not in ((), (3,)) or not np.isin(pbc, (0, 1)).all() or loose:
            raise ValueError(f"pbc: expected three of T and F in quotes, got {_shown(info['pbc'])}")


def _shown(value: Any) -> str:
    value = np.asarray(value).ravel().tolist()
    return f"{len(value)} numbers" if len(value) > 3 else " ".join(map(str, value))[:40] or "nothing"


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _stashed_entry(key: str, value: Any) -> str:
    """Hide from ASE a value that is none for its calculators."""
    numeric = np.asarray(value, dtype=object if isinstance(value, list) else None).dtype.kind in "if"
    return key if numeric or key not in per_config_properties else STASH + key


def _stashed(column: Column) -> str:
    name = "charges" if column.name == "charge" else column.name
    return STASH + name if column.kind in "SL" and name in per_atom_properties else column.name
