"""REANN's ``configuration`` text format for ASE: ``ase.io.read(path, ":", format="reann-configuration")``.

A block is a title, three lattice vectors, ``pbc a b c``, one line ``Symbol mass x y z [fx fy fz]`` per atom, and
``abprop:`` with 1 (energy, eV), 3 (dipole, e Angstrom) or 9 (polarizability) numbers.
Registered with ASE by an entry point.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TextIO

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.utils.plugins import ExternalIOFormat

FORMAT = ExternalIOFormat(
    desc="REANN configuration",
    code="+F",
    module="equireann_pyg.reann_io",
    glob="configuration",
)


def read_reann_configuration(fileobj: TextIO, index: int | slice = -1) -> Iterator[Atoms]:
    """Read frames; positions are kept as they are in the file.

    Raises:
        ValueError: naming the line of a truncated or malformed block.
    """
    frames = list(_blocks(fileobj))
    yield from frames[index] if isinstance(index, slice) else [frames[index]]


def _blocks(fileobj: TextIO) -> Iterator[Atoms]:
    lines = [(number, line.split()) for number, line in enumerate(fileobj, start=1)]
    lines = [(number, words) for number, words in lines if words]
    start = 0
    while start < len(lines):
        end = start
        while end < len(lines) and lines[end][1][0] != "abprop:":
            end += 1
        if end == len(lines):
            raise ValueError(f"line {lines[-1][0]}: the last block has no 'abprop:' line; the file is truncated")
        yield _frame(lines[start : end + 1])
        start = end + 1


def _frame(block: Sequence[tuple[int, list[str]]]) -> Atoms:
    number = block[0][0]
    try:
        cell = [[float(word) for word in words[:3]] for _, words in block[1:4]]
        number, pbc = block[4][0], [int(word) != 0 for word in block[4][1][1:4]]
        symbols, masses, rows = [], [], []
        for line, words in block[5:-1]:
            number = line
            symbols.append(words[0])
            masses.append(float(words[1]))
            rows.append([float(word) for word in words[2:8]])
        number, words = block[-1]
        properties = [float(word) for word in words[1:]]
        table = np.array(rows)  # -> [N, 3 or 6]
        atoms = Atoms(symbols, table[:, :3], masses=masses, cell=cell, pbc=pbc)
    except (ValueError, IndexError, KeyError) as error:
        raise ValueError(f"line {number}: not a REANN configuration block ({error})") from error
    return _attach(atoms, table, properties, number)


def _attach(atoms: Atoms, table: Any, properties: list[float], number: int) -> Atoms:
    results: dict[str, Any] = {}
    if table.shape[1] == 6:
        results["forces"] = table[:, 3:]
    if len(properties) == 1:
        results["energy"] = properties[0]
    elif len(properties) == 3:
        results["dipole"] = np.array(properties)
    elif len(properties) == 9:
        atoms.info["polarizability"] = np.array(properties).reshape(3, 3)
    else:
        raise ValueError(f"line {number}: abprop has {len(properties)} numbers; expected 1, 3 or 9")
    if results:
        atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def write_reann_configuration(fileobj: TextIO, images: Sequence[Atoms] | Atoms) -> None:
    """Write frames with energy and, where there are any, forces; open systems get a box of 100 Angstrom.

    Raises:
        ValueError: if a frame has no energy.
    """
    for number, atoms in enumerate([images] if isinstance(images, Atoms) else images):
        results = getattr(atoms.calc, "results", {})
        if "energy" not in results:
            raise ValueError(f"frame {number} has no energy: attach a calculator with results")
        cell = np.array(atoms.cell) if atoms.cell.rank == 3 else 100.0 * np.eye(3)
        fileobj.write(f"point= {number:>4}\n")
        for vector in cell:
            fileobj.write(" ".join(f"{value:.12g}" for value in vector) + "\n")
        fileobj.write("pbc " + " ".join(str(int(flag)) for flag in atoms.pbc) + "\n")
        columns = [atoms.positions] + ([results["forces"]] if "forces" in results else [])
        for symbol, mass, row in zip(atoms.symbols, atoms.get_masses(), np.hstack(columns), strict=True):
            fileobj.write(f"{symbol} {mass:.8g} " + " ".join(f"{value:.12g}" for value in row) + "\n")
        fileobj.write(f"abprop: {results['energy']:.12g}\n")
