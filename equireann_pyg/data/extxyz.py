"""Frames of extended XYZ: text is checked and cut into frames here, with every fault named by its line; ASE reads them.

ASE stops at the first blank line, takes half a number for a whole, drops columns and entries that it cannot place, and
refuses a file for a label that nobody wants; so a frame comes to it only when its text is in order.

Format: https://github.com/libAtoms/extxyz.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from ase.io.extxyz import key_val_str_to_dict, per_atom_properties, per_config_properties, read_xyz

from equireann_pyg.elements import SYMBOLS

STASH = "equireann_pyg-"
"""Prefix of entries that ASE's reader would choke on while they are in its hands."""

PLAIN = "species:S:1:pos:R:3"
"""Columns of a frame that does not name any."""

BOOLEANS = {"T", "F", "True", "False"}
WORDS = {"R": "a number", "I": "a whole number", "S": "a word", "L": "T or F"}
SPELLINGS = {"lattice": "Lattice", "properties": "Properties", "pbc": "pbc"}
TENSORS = {"stress", "virial"}
QUOTED = r""""(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|\{(?:\\.|[^}\\])*\}|\[(?:\\.|[^\]\\])*\]"""
WORD = rf"""(?:\\.|{QUOTED}|[^\s="'{{\[\\])+"""
PIECE = re.compile(rf"({WORD})((?:\s*=\s*(?:{WORD})?)*)")
EMPTY = re.compile(rf"\s*=\s+{WORD}\s*=")
FORTRAN = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)[dD][+-]?\d+")


class Frame(NamedTuple):
    """Text of one frame: the number of its first line, from 1, its number of atoms, and its lines after the first."""

    start: int
    size: int
    lines: list[str]


class Column(NamedTuple):
    """Entry of ``Properties``: name, type (R, I, S or L) and width."""

    name: str
    kind: str
    width: int


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
        raise ValueError(
            f"frame {len(frames) - 1}, line {start + len(lines)}: the last line ends early: {last[-20:]!r}"
        )


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
    atom_lines = frame.lines[1 : 1 + frame.size]
    notes += _check_widths(atom_lines, columns, frame.start + 2, "Properties" in info)
    if any(column.kind == "L" for column in columns):
        _explain(atom_lines, columns, frame.start + 2)  # ASE takes any other word for F
    info |= {"Properties": ":".join(f"{_stashed(column)}:{column.kind}:{column.width}" for column in columns)}
    text = io.StringIO(f"{frame.size}\n{frame.lines[0].strip()}\n{''.join(frame.lines[1:])}")
    try:
        (atoms,) = read_xyz(text, slice(None), lambda _: info)
    except Exception as error:  # ASE's reader raises anything on a broken frame
        _explain(atom_lines, columns, frame.start + 2)
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:120]
        raise ValueError(f"line {frame.start + 1}: unreadable ({reason}): restore the frame") from error
    if not (atoms.numbers.min() > 0 and atoms.numbers.max() < len(SYMBOLS)):
        _explain(atom_lines, columns, frame.start + 2)
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
    if "pbc" in info:
        pbc = np.asarray(info["pbc"])
        loose = pbc.ndim == 0 and bool({"T", "F"} & info.keys())
        if pbc.dtype.kind not in "bi" or pbc.shape not in ((), (3,)) or not np.isin(pbc, (0, 1)).all() or loose:
            raise ValueError(f"pbc: expected three of T and F in quotes, got {_shown(info['pbc'])}")


def _shown(value: Any) -> str:
    value = np.asarray(value).ravel().tolist()
    return f"{len(value)} numbers" if len(value) > 3 else " ".join(map(str, value))[:40]


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


def parse_properties(text: Any) -> list[Column]:
    """Columns that ``Properties`` announces.

    Raises:
        ValueError: if the text is damaged, or gives a column twice, no positions or no elements.
    """
    words = str(text).split(":")
    columns = [
        Column(name, kind, int(width))
        for name, kind, width in zip(words[::3], words[1::3], words[2::3], strict=False)
        if name and kind in WORDS and width.isdecimal() and int(width) > 0
    ]
    if len(words) % 3 or 3 * len(columns) != len(words):
        wrong = next(
            (":".join(words[k : k + 3]) for k in range(0, len(words), 3) if not _proper(words[k : k + 3])), text
        )
        raise ValueError(f"Properties: expected name:R, I, S or L:columns again and again, got {str(wrong)[:40]!r}")
    names = [column.name for column in columns]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ValueError(f"Properties names the column {sorted(twice)[0]!r} twice: rename or remove one")
    shapes = {(column.name, column.kind, column.width) for column in columns}
    if not shapes & {("pos", "R", 3), ("positions", "R", 3)}:
        raise ValueError(f"Properties: expected pos:R:3 for the positions, got {str(text)[:60]!r}")
    if not shapes & {("species", "S", 1), ("symbols", "S", 1), ("Z", "I", 1), ("numbers", "I", 1)}:
        raise ValueError(f"Properties: expected species:S:1 or Z:I:1 for the elements, got {str(text)[:60]!r}")
    return columns


def _proper(words: Sequence[str]) -> bool:
    return len(words) == 3 and bool(words[0]) and words[1] in WORDS and words[2].isdecimal() and int(words[2]) > 0


def _check_widths(lines: Sequence[str], columns: Sequence[Column], first: int, named: bool) -> list[str]:
    width = sum(column.width for column in columns)
    counts = [len(line.split()) for line in lines]
    for number, count in enumerate(counts, start=first):
        if count < width or (named and count > width):
            expected = f"{width} columns, as Properties says" if named else "a symbol and three coordinates"
            raise ValueError(f"line {number}: expected {expected}, got {count}: {lines[number - first].strip()[:40]!r}")
    surplus = max(counts) - width
    return [f"{surplus} columns after the positions have no name in Properties: not used"] if surplus else []


def _explain(lines: Sequence[str], columns: Sequence[Column], first: int) -> None:
    """Name the first word that is not what its column announces."""
    kinds = [column for column in columns for _ in range(column.width)]
    for number, line in enumerate(lines, start=first):
        for word, column in zip(line.split(), kinds, strict=False):
            if column.name in ("species", "symbols"):
                wrong = _explain_symbol(word)
            elif column.name in ("Z", "numbers"):
                known = word.isdecimal() and 0 < int(word) < len(SYMBOLS)
                wrong = "" if known else f"expected an atomic number from 1 to {len(SYMBOLS) - 1}, got {word!r:.40}"
            else:
                wrong = _explain_word(word, column)
            if wrong:
                raise ValueError(f"line {number}: {wrong}")


def _explain_symbol(word: str) -> str:
    if word.capitalize() in SYMBOLS[1:]:
        return ""
    start = re.match(r"[A-Z][a-z]?", word)
    hint = ": write " + start[0] if start is not None and start[0] in SYMBOLS[1:] else ""
    if word.capitalize() in ("D", "T"):
        hint = ": write H, and its mass into a column masses:R:1"
    elif word.isdecimal():
        hint = ": atomic numbers need a column Z:I:1 in Properties"
    return f"unknown element {word[:20]!r}: expected a chemical symbol{hint}"


def _explain_word(word: str, column: Column) -> str:
    try:
        if column.kind == "R":
            float(word)
        elif column.kind == "I":
            np.int32(int(word))
        fine = column.kind != "L" or word in BOOLEANS
    except (ValueError, OverflowError):
        fine = False
    hint = ": write E for the D of Fortran" if column.kind == "R" and FORTRAN.fullmatch(word) else ""
    return "" if fine else f"expected {WORDS[column.kind]} in the column {column.name!r}, got {word[:40]!r}{hint}"
