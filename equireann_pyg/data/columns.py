"""Columns of extended XYZ: what ``Properties`` announces, and whether the lines of the atoms keep to it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from equireann_pyg.elements import SYMBOLS

BOOLEANS = {"T", "F", "True", "False"}
WORDS = {"R": "a number", "I": "a whole number", "S": "a word", "L": "T or F"}
FORTRAN = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)[dD][+-]?\d+")


class Column(NamedTuple):
    """Entry of ``Properties``: name, type (R, I, S or L) and width."""

    name: str
    kind: str
    width: int


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


def check_widths(lines: Sequence[str], columns: Sequence[Column], first: int, named: bool) -> list[str]:
    """Compare the lines of the atoms with the columns.

    Args:
        lines: one for each atom.
        columns: what is expected.
        first: number of the first line.
        named: whether the frame names its columns.

    Returns:
        a note on columns without a name.

    Raises:
        ValueError: naming the first line with too few words, or too many for the named columns.
    """
    width = sum(column.width for column in columns)
    counts = [len(line.split()) for line in lines]
    for number, count in enumerate(counts, start=first):
        if count < width or (named and count > width):
            expected = f"{width} columns, as Properties says" if named else "a symbol and three coordinates"
            raise ValueError(f"line {number}: expected {expected}, got {count}: {lines[number - first].strip()[:40]!r}")
    surplus = max(counts) - width
    return [f"{surplus} columns after the positions have no name in Properties: not used"] if surplus else []


def explain(lines: Sequence[str], columns: Sequence[Column], first: int) -> None:
    """Name the first word that is not what its column announces.

    Raises:
        ValueError: if there is one.
    """
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
