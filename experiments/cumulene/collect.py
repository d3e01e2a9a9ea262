"""Pack finished calculations into the data set of the package.

Run as ``python -m experiments.cumulene.collect [--work FOLDER] [--out FOLDER]``.
"""

from __future__ import annotations

import argparse
import gzip
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from equireann_pyg.files import replacing
from experiments.cumulene.chain import Array, sees_both_ends, start_geometry
from experiments.cumulene.generate import BLIND, FRAMES, SEED

SHARES = {"train": 0.75, "val": 0.10, "test": 0.15}
ROOT = Path(__file__).parents[2]


def structure(n: int, kind: str, positions: Array, forces: Array, energy: float, torsion: float) -> Atoms:
    """One labelled frame, rounded to what the file keeps."""
    symbols, _ = start_geometry(n)
    if sees_both_ends(positions, n, BLIND):
        raise ValueError(f"C{n}H4: an atom sees the hydrogen of both ends within {BLIND} Angstrom")
    atoms = Atoms(symbols, np.round(positions, 6))
    atoms.info |= {"config_type": kind, "n_carbons": n, "torsion": round(float(torsion), 4)}
    atoms.calc = SinglePointCalculator(atoms, energy=round(float(energy), 6), forces=np.round(forces, 5))
    return atoms


def thermal(work: Path, n: int) -> list[Atoms]:
    """Thermal frames of one chain that are finished."""
    frames = [np.load(path) for path in sorted(work.glob(f"thermal_{n}_????.npz"))]
    return [structure(n, f"C{n}H4", f["positions"], f["forces"], f["energy"], f["torsion"]) for f in frames]


def scans(work: Path) -> Iterator[Atoms]:
    """Torsion scans of all chains that are finished."""
    for n in FRAMES:
        path = work / f"scan_{n}.npz"
        if path.exists():
            f = np.load(path)
            for row in zip(f["positions"], f["forces"], f["energy"], f["torsion"], strict=True):
                yield structure(n, "scan", *row)


def splits(work: Path) -> dict[str, list[Atoms]]:
    """Train, validation and test frames, each with its share of every chain, and the scans."""
    result: dict[str, list[Atoms]] = {name: [] for name in SHARES}
    for n in FRAMES:
        frames = thermal(work, n)
        order = np.random.default_rng([SEED, n]).permutation(len(frames))
        ends = np.round(np.cumsum(list(SHARES.values())) * len(frames)).astype(int)
        for name, part in zip(SHARES, np.split(order, ends[:-1]), strict=True):
            result[name] += [frames[index] for index in sorted(part)]
    return {**result, "scan": list(scans(work))}


def write_gz(path: Path, frames: list[Atoms]) -> None:
    """Extended XYZ, compressed the same way every time, whole or not at all."""
    text = io.StringIO()
    write(text, frames, format="extxyz")
    with replacing(path) as partial:
        partial.write_bytes(gzip.compress(text.getvalue().encode(), mtime=0))


def print_summary(parts: dict[str, list[Atoms]]) -> None:
    """One row for each chain: frames, torsional energy at the end of the scan, root mean square force."""
    print("| chain | train / val / test | torsion, 60 degrees (eV) | energy spread (eV) | force RMS (eV/Å) |")
    print("|---|---|---|---|---|")
    for n in FRAMES:
        own = {name: [atoms for atoms in frames if atoms.info["n_carbons"] == n] for name, frames in parts.items()}
        frames = [atoms for name in SHARES for atoms in own[name]]
        scan = [atoms.get_potential_energy() for atoms in own["scan"]]
        spread = np.std([atoms.get_potential_energy() for atoms in frames])
        force = np.sqrt(np.mean([np.mean(atoms.get_forces() ** 2) for atoms in frames]))
        counts = " / ".join(str(len(own[name])) for name in SHARES)
        print(f"| C{n}H4 | {counts} | {max(scan) - scan[0]:.3f} | {spread:.3f} | {force:.2f} |")


def main() -> None:
    """Write the four files and say what is in them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path(__file__).parent / "work")
    parser.add_argument("--out", type=Path, default=ROOT / "equireann_pyg" / "datasets" / "cumulene")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    parts = splits(options.work)
    for name, frames in parts.items():
        path = options.out / f"{name}.extxyz.gz"
        write_gz(path, frames)
        print(f"{name:>5}: {len(frames):4d} frames, {path.stat().st_size / 1e3:.0f} kB")
    print_summary(parts)


if __name__ == "__main__":
    main()
