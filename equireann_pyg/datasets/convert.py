"""Frames, in eV and Angstrom, of the formats in which data sets are published."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.calculators.singlepoint import SinglePointCalculator

from equireann_pyg.data.reading import OPENERS, read_frames
from equireann_pyg.data.reann import read_reann_configuration

VOIGT = {"xx": 0, "yy": 1, "zz": 2, "yz": 3, "xz": 4, "xy": 5}
XY_YZ_XZ = ("xx", "yy", "zz", "xy", "yz", "xz")
"""Order in which VASP prints a stress."""
XY_XZ_YZ = ("xx", "yy", "zz", "xy", "xz", "yz")

StressOrder = Callable[[str], Sequence[str] | None]
"""Order of the six numbers of a stress, by group of structures; None where it is not known."""


def labelled(atoms: Atoms, **results: Any) -> Atoms:
    """Attach results that are there; None stands for one that is not."""
    atoms.calc = SinglePointCalculator(atoms, **{name: value for name, value in results.items() if value is not None})
    return atoms


def read_text(path: Path) -> str:
    """Text of a file, compressed or not."""
    with OPENERS.get(path.suffix, open)(path, "rt") as file:
        return str(file.read())


def base_name(path: Path) -> str:
    """Name of a file without the endings of its format and compression."""
    return Path(path.stem).stem if path.suffix in OPENERS else path.stem


def concatenated(
    paths: Sequence[Path], energy: str = "energy", forces: str = "forces", config_type: str | None = None
) -> Iterator[Atoms]:
    """Frames of extended-XYZ files, with energy, forces and dipole, single properties of a frame, and nothing else.

    ``info["group"]`` is the name of the file unless the file has groups of its own.

    Args:
        paths: files, one after the other.
        energy: name of the energy.
        forces: name of the forces.
        config_type: kind of configuration to note in ``info``; by default what the file says.
    """
    for path in paths:
        for atoms in read_frames(path):
            results = {**atoms.info, **atoms.arrays, **getattr(atoms.calc, "results", {})}
            if energy not in results or forces not in results:
                raise ValueError(f"{path}: expected '{energy}' and '{forces}' in every frame, got {sorted(results)}")
            frame = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
            frame.info = {name: value for name, value in atoms.info.items() if np.ndim(value) == 0 and name != energy}
            frame.info.setdefault("group", base_name(path))
            if config_type is not None:
                frame.info["config_type"] = config_type
            dipole = results.get("dipole")
            dipole = None if dipole is None else np.ravel(dipole)
            yield labelled(frame, energy=float(results[energy]), forces=results[forces], dipole=dipole)


def from_npz(
    path: Path, positions: str, numbers: str, energy: str, forces: str, unit: float = 1.0
) -> tuple[Callable[[int], Atoms], int]:
    """Frames of an archive of NumPy arrays, which holds no pickles.

    Args:
        path: archive.
        positions: name of the positions ``[M, N, 3]`` in Angstrom.
        numbers: name of the atomic numbers, ``[N]`` or ``[M, N]``.
        energy: name of the energies ``[M]`` or ``[M, 1]``.
        forces: name of the forces ``[M, N, 3]``.
        unit: the unit of energy in eV.

    Returns:
        The frame of an index, and the number of frames M.

    Raises:
        ValueError: if an array is missing.
    """
    wanted = (positions, numbers, energy, forces)
    with np.load(path, allow_pickle=False) as archive:
        missing = [name for name in wanted if name not in archive.files]
        if missing:
            raise ValueError(f"{path}: expected the arrays {', '.join(wanted)}, got {', '.join(archive.files)}")
        pos, z, e, f = (archive[name] for name in wanted)
    z = np.broadcast_to(z, pos.shape[:2])  # -> [M, N]
    e = e.reshape(len(pos))

    def frame(index: int) -> Atoms:
        return labelled(Atoms(z[index], pos[index]), energy=float(e[index]) * unit, forces=f[index] * unit)

    return frame, len(pos)


def runner(paths: Sequence[Path]) -> Iterator[Atoms]:
    """Frames of n2p2's and RuNNer's ``input.data``, which is in Hartree and Bohr.

    Total charges go to ``info["charge"]``, the charges of the atoms to the array ``atomic_charges``, the name of the
    file to ``info["group"]``.

    Raises:
        ValueError: naming file and line of a malformed block.
    """
    for path in paths:
        block: list[list[str]] = []
        number = 0
        for number, line in enumerate(read_text(path).splitlines(), start=1):
            words = line.split()
            if words and words[0] == "end":
                yield _runner_frame(path, number, block)
                block = []
            elif words and words[0] not in ("begin", "comment"):
                block.append(words)
        if block:
            raise ValueError(f"{path}, line {number}: the file ends without the 'end' of this block: it is truncated")


def _runner_frame(path: Path, number: int, block: Sequence[Sequence[str]]) -> Atoms:
    lines: dict[str, list[Sequence[str]]] = {"lattice": [], "atom": [], "energy": [], "charge": []}
    try:
        for words in block:
            lines[words[0]].append(words[1:])
        rows = np.array([[float(word) for word in (*words[:3], *words[4:9])] for words in lines["atom"]])
        cell = np.array(lines["lattice"], dtype=float).reshape(-1, 3) * units.Bohr
        energy, charge = (float(lines[name][0][0]) for name in ("energy", "charge"))
        atoms = Atoms([words[3] for words in lines["atom"]], rows[:, :3] * units.Bohr)
        if len(cell):
            atoms.set_cell(cell)
            atoms.set_pbc(True)
        atoms.arrays["atomic_charges"] = rows[:, 3]
        atoms.info = {"charge": charge + 0.0, "group": base_name(path)}  # + 0.0: no negative zero
        return labelled(atoms, energy=energy * units.Hartree, forces=rows[:, 5:8] * units.Hartree / units.Bohr)
    except (ValueError, LookupError) as error:
        raise ValueError(
            f"{path}: malformed block that ends at line {number} ({type(error).__name__}: {error}); expected lines 'atom x "
            "y z symbol charge 0 fx fy fz', 'energy', 'charge' and none or three of 'lattice x y z'"
        ) from error


def fractional_reann(paths: Sequence[Path]) -> Iterator[Atoms]:
    """Frames of REANN's ``configuration`` with fractional coordinates, which leave no mark in the file."""
    for path in paths:
        with OPENERS.get(path.suffix, open)(path, "rt") as file:
            for atoms in read_reann_configuration(file, slice(None)):
                results = atoms.calc.results
                atoms.set_scaled_positions(atoms.positions)
                yield labelled(atoms, **results)


def pymatgen(paths: Sequence[Path], order: StressOrder) -> Iterator[Atoms]:
    """Frames of JSON files with structures of pymatgen and results of VASP: energy, forces, stress in kbar.

    ``info["group"]`` is the group of a structure.

    Args:
        paths: files, one after the other.
        order: order of the six numbers of a stress, by group.
    """
    for path in paths:
        for entry in json.loads(read_text(path)):
            structure, outputs = entry["structure"], entry["outputs"]
            sites = structure["sites"]
            atoms = Atoms(
                [site["species"][0]["element"] for site in sites],
                [site["xyz"] for site in sites],
                cell=structure["lattice"]["matrix"],
                pbc=True,
            )
            atoms.info["group"] = entry["group"]
            stress = _stress(outputs.get("virial_stress", outputs.get("stress")), order(entry["group"]))
            yield labelled(atoms, energy=outputs["energy"], forces=np.array(outputs["forces"]), stress=stress)


def _stress(values: Sequence[float] | None, order: Sequence[str] | None) -> Any:
    """ASE's stress in eV/Angstrom^3, positive under tension, of VASP's in kbar, positive under pressure."""
    if values is None or order is None:
        return None
    stress = np.empty(6)
    for name, value in zip(order, values, strict=True):
        stress[VOIGT[name]] = -value * 0.1 * units.GPa
    return stress
