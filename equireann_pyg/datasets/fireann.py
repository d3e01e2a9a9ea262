"""FIREANN's ``configuration`` text format: molecules in a field with dipole and polarizability.

A block is a title, three lattice vectors, ``pbc a b c``, a line ``Energy='..' Dipole='x y z' POL='9 numbers'``, one line
``Symbol mass x y z fx fy fz`` per atom (Angstrom, eV/Angstrom), and ``External_field: Fx Fy Fz`` (V/Angstrom).

Source: https://github.com/zhangylch/FIREANN.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from ase import Atoms

from equireann_pyg.datasets.convert import labelled, read_text

PROPERTY = re.compile(r"(\w+)='([^']*)'")
HEAD = 6
"""Lines of a block before its atoms."""


def fireann(paths: Sequence[Path]) -> Iterator[Atoms]:
    """Frames of FIREANN's files, numbers and signs as in the file.

    ``info`` has ``external_field [3]`` in V/Angstrom and ``polarizability [3, 3]`` in e Angstrom^2/V.

    Raises:
        ValueError: naming file and line of a malformed block.
    """
    for path in paths:
        block: list[str] = []
        number = 0
        for number, line in enumerate(read_text(path).splitlines(), start=1):
            if line.startswith("External_field"):
                try:
                    yield _frame([*block, line])
                except (ValueError, LookupError) as error:
                    raise ValueError(
                        f"{path}: malformed block that ends at line {number} ({type(error).__name__}: {error})"
                    ) from error
                block = []
            elif line.strip():
                block.append(line)
        if block:
            raise ValueError(f"{path}, line {number}: the file ends without 'External_field': it is truncated")


def _frame(block: Sequence[str]) -> Atoms:
    cell = np.array([line.split() for line in block[1:4]], dtype=float)
    pbc = [flag == "1" for flag in block[4].split()[1:4]]
    found = {name: np.array(value.split(), dtype=float) for name, value in PROPERTY.findall(block[5])}
    rows = [line.split() for line in block[HEAD:-1]]
    table = np.array([row[1:8] for row in rows], dtype=float)  # -> [N, 7]: mass, position, force
    atoms = Atoms([row[0] for row in rows], table[:, 1:4], cell=cell if any(pbc) else None, pbc=pbc)
    atoms.info["external_field"] = np.array(block[-1].partition(":")[2].split(), dtype=float)
    if "POL" in found:
        atoms.info["polarizability"] = found["POL"].reshape(3, 3)
    return labelled(atoms, energy=found["Energy"].item(), forces=table[:, 4:7], dipole=found.get("Dipole"))
