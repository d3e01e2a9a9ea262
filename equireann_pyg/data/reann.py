"""REANN's ``configuration`` text format for ASE: ``ase.io.read(path, ":", format="reann-configuration")``.

A block is a title, three lattice vectors, ``pbc a b c``, one line ``Symbol mass x y z [fx fy fz]`` per atom (Angstrom,
eV/Angstrom; further columns are ignored), and ``abprop:`` with 1 (energy, eV), 3 (dipole, e Angstrom) or 9
(polarizability, row by row) numbers. Coordinates are taken as Cartesian: REANN's option of fractional ones leaves no
mark in the file. Registered with ASE by an entry point.

Source: the input of REANN, https://github.com/zhangylch/REANN.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TextIO

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import atomic_numbers
from ase.utils.plugins import ExternalIOFormat

FORMAT = ExternalIOFormat(
    desc="REANN configuration",
    code="+F",
    module="equireann_pyg.data.reann",
    glob="configuration",
)

OPEN_BOX = 100.0
"""Length in Angstrom that the writer gives to lattice vectors that a structure lacks; REANN wants three."""

Line = tuple[int, list[str]]
"""Number of a line in its file, and its words."""


def read_reann_configuration(fileobj: TextIO, index: int | slice = -1) -> Iterator[Atoms]:
    """Read frames; positions are kept as they are in the file, neither wrapped nor centred.

    Energy, forces and dipole go to a ``SinglePointCalculator``, a polarizability to ``info["polarizability"]``.

    Raises:
        ValueError: naming file, frame and line of a truncated or malformed block.
    """
    try:
        frames = list(_blocks(fileobj))
    except ValueError as error:
        name = getattr(fileobj, "name", None)
        raise ValueError(f"{name}, {error}" if name else str(error)) from error
    yield from frames[index] if isinstance(index, slice) else [frames[index]]


def _blocks(fileobj: TextIO) -> Iterator[Atoms]:
    block: list[Line] = []
    count = 0
    for number, line in enumerate(fileobj, start=1):
        words = line.split()
        if words and words[0].startswith("abprop"):
            try:
                yield _frame(block, (number, line.partition(":")[2].split()))
            except ValueError as error:
                raise ValueError(f"frame {count}, {error}") from error
            block, count = [], count + 1
        elif words:
            block.append((number, words))
    if block:
        raise ValueError(
            f"frame {count}, line {block[-1][0]}: the file ends without the 'abprop:' line of this block: it is truncated"
        )


def _frame(block: Sequence[Line], last: Line) -> Atoms:
    if len(block) < 6:
        raise ValueError(f"line {last[0]}: block of {len(block)} lines before 'abprop:'; expected at least one atom")
    cell = [_numbers(line, slice(3), (3,), "three numbers of a lattice vector") for line in block[1:4]]
    pbc = _numbers(block[4], slice(1, None), (3,), "'pbc' and three flags")
    rows = [_numbers(line, slice(1, 8), (4, 7), "'Symbol mass x y z [fx fy fz]'") for line in block[5:]]
    for line, row in zip(block[5:], rows, strict=True):
        if len(row) != len(rows[0]):
            raise ValueError(f"line {line[0]}: {len(row) - 4} force components, the first atom has {len(rows[0]) - 4}")
        if atomic_numbers.get(line[1][0], 0) == 0:
            raise ValueError(f"line {line[0]}: expected a chemical symbol, got {line[1][0]!r}")
    table = np.array(rows)  # -> [N, 4 or 7]: mass, position, force
    symbols = [words[0] for _, words in block[5:]]
    atoms = Atoms(symbols, table[:, 1:4], masses=table[:, 0], cell=cell, pbc=np.array(pbc, dtype=bool))
    properties = _numbers(last, slice(None), (1, 3, 9), "abprop with 1, 3 or 9 numbers")
    return _attach(atoms, table[:, 4:], np.array(properties))


def _numbers(line: Line, part: slice, counts: Sequence[int], what: str) -> list[float]:
    """The numbers in a part of a line; an error unless their count is one of ``counts``."""
    number, words = line
    try:
        values = [float(word) for word in words[part]]
    except ValueError:
        values = []
    if len(values) not in counts or not np.isfinite(values).all():
        raise ValueError(f"line {number}: expected {what}, got {' '.join(words)[:60]!r}")
    return values


def _attach(atoms: Atoms, forces: Any, properties: Any) -> Atoms:
    results: dict[str, Any] = {"forces": forces} if forces.size else {}
    if len(properties) == 1:
        results["energy"] = float(properties[0])
    elif len(properties) == 3:
        results["dipole"] = properties
    else:
        atoms.info["polarizability"] = properties.reshape(3, 3)
    if results:
        atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def write_reann_configuration(fileobj: TextIO, images: Sequence[Atoms] | Atoms) -> None:
    """Write frames with their energy (or else dipole, or polarizability) and, where there are any, forces.

    Every number is written in full: reading the file gives the same frames. Missing lattice vectors become 100 Angstrom
    long.

    Raises:
        ValueError: if a frame has none of the three properties; then nothing is written.
    """
    frames = [images] if isinstance(images, Atoms) else images
    fileobj.write("".join(_block(number, atoms) for number, atoms in enumerate(frames)))


def _block(number: int, atoms: Atoms) -> str:
    results = getattr(atoms.calc, "results", {})
    labels = [results.get("energy"), results.get("dipole"), atoms.info.get("polarizability")]
    label = next((label for label in labels if label is not None), None)
    if label is None:
        raise ValueError(f"frame {number} has neither energy, dipole nor polarizability: attach a calculator's results")
    missing = ~atoms.cell.array.any(axis=1)
    cell = np.where(missing[:, None], OPEN_BOX * atoms.cell.complete().array, atoms.cell.array)
    columns = [atoms.positions] + ([results["forces"]] if "forces" in results else [])
    lines = [f"point= {number:>4}", *(_words(vector) for vector in cell)]
    lines.append("pbc " + " ".join(str(int(flag)) for flag in atoms.pbc))
    for symbol, mass, row in zip(atoms.symbols, atoms.get_masses(), np.hstack(columns), strict=True):
        lines.append(f"{symbol} {_words([mass])} {_words(row)}")
    lines.append(f"abprop: {_words(np.ravel(label))}")
    return "\n".join(lines) + "\n"


def _words(values: Any) -> str:
    return " ".join(repr(float(value)) for value in values)
