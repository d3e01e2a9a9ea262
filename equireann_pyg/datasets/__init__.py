"""Data sets that come with the package."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

SPLITS = ("train", "val", "test", "scan")


def cumulene(split: str) -> Path:
    """Compressed extended-XYZ file of one part of the cumulene set.

    ``train``, ``val`` and ``test`` hold thermally displaced chains with one end twisted by up to 60 degrees from rest,
    ``scan`` a clean torsion scan of each relaxed chain. Energies in eV, forces in eV/Angstrom; ``info`` has
    ``config_type``, ``n_carbons`` and ``torsion`` (degrees).

    Raises:
        ValueError: if there is no such part.
        FileNotFoundError: if the package was installed without its data.
    """
    if split not in SPLITS:
        raise ValueError(f"no part '{split}' in the cumulene set; expected one of {', '.join(SPLITS)}")
    path = Path(str(files("equireann_pyg"))) / "datasets" / "cumulene" / f"{split}.extxyz.gz"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: the package was installed without its data; install it again")
    return path
