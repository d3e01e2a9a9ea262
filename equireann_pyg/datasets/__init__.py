"""Data sets: one that comes with the package, and public benchmark sets as PyG data sets.

``cumulene`` gives the paths of the files that come with the package. The classes find, or fetch and convert, the files
of a public set and make graphs of them::

    ThreeBPA("data/3bpa", "train_300K", cutoff=5.0)
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from equireann_pyg.lazy import lazy_names

if TYPE_CHECKING:
    from equireann_pyg.datasets.benchmark import BenchmarkDataset
    from equireann_pyg.datasets.chains import Alkanes, CarbonChains4G, CumuleneTorsion, GNLCumulene
    from equireann_pyg.datasets.crystals import Li6PS5Cl, LiPS, LiPS20, MLearn, NbMoTaW
    from equireann_pyg.datasets.dimers import ChargeChargeDimers, LodeDimers
    from equireann_pyg.datasets.dipoles import NMAField, SPICEDipeptides, SPICEDipoles
    from equireann_pyg.datasets.liquids import AqueousNaCl, Water
    from equireann_pyg.datasets.molecules import RMD17, Acetylacetone, ThreeBPA
    from equireann_pyg.datasets.surfaces import Au2MgO4G, CO2Ni100

__all__ = [
    "RMD17",
    "SPLITS",
    "Acetylacetone",
    "Alkanes",
    "AqueousNaCl",
    "Au2MgO4G",
    "BenchmarkDataset",
    "CO2Ni100",
    "CarbonChains4G",
    "ChargeChargeDimers",
    "CumuleneTorsion",
    "GNLCumulene",
    "Li6PS5Cl",
    "LiPS",
    "LiPS20",
    "LodeDimers",
    "MLearn",
    "NMAField",
    "NbMoTaW",
    "SPICEDipeptides",
    "SPICEDipoles",
    "ThreeBPA",
    "Water",
    "cumulene",
]

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


# Imported at first use: they need Lightning, which the paths of the cumulene set do not.
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "benchmark": ("BenchmarkDataset",),
        "chains": ("Alkanes", "CarbonChains4G", "CumuleneTorsion", "GNLCumulene"),
        "crystals": ("Li6PS5Cl", "LiPS", "LiPS20", "MLearn", "NbMoTaW"),
        "dimers": ("ChargeChargeDimers", "LodeDimers"),
        "dipoles": ("NMAField", "SPICEDipeptides", "SPICEDipoles"),
        "liquids": ("AqueousNaCl", "Water"),
        "molecules": ("RMD17", "Acetylacetone", "ThreeBPA"),
        "surfaces": ("Au2MgO4G", "CO2Ni100"),
    },
    own=("SPLITS", "cumulene"),
)
