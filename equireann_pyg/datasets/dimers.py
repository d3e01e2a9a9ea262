"""Dimers of charged, polar and apolar molecules: extrapolation in distance."""

from __future__ import annotations

from typing import ClassVar

from equireann_pyg.datasets.benchmark import BenchmarkDataset, Split
from equireann_pyg.datasets.convert import concatenated
from equireann_pyg.datasets.download import Remote, github

PAIRS = (0, 2, 3, 4, 5, 6)
"""Numbers of the pairs in the files of the LES benchmark."""


class ChargeChargeDimers(BenchmarkDataset):
    """Ten pairs of charged molecules at 13 distances each: long-range extrapolation.

    Source: ``examples/lode-linear/charge-charge.xyz`` of https://github.com/lab-cosmo/atomistic-cookbook. Level of
    theory: DFT, FHI-aims; the functional is not stated. Total energies; ``info["energyA"]`` and ``info["energyB"]`` of
    the file are those of the two molecules alone. Periodic cells of 30 Angstrom, as in the source.

    Splits: ``all`` (130 frames, the public file); ``train`` (the 7 nearest distances of each pair), ``val`` (the 8th) and
    ``test`` (the 9th to 11th) are an own split, not official, and must be put into the root by hand.
    """

    splits: ClassVar = {
        "train": Split(("train",)),
        "val": Split(("val",)),
        "test": Split(("test",)),
        "all": Split(
            ("all", "charge-charge"),
            (
                github(
                    "lab-cosmo/atomistic-cookbook",
                    "d50df7120657b2c8f284bdd7f7632c65af661a42",
                    "examples/lode-linear/charge-charge.xyz",
                ),
            ),
        ),
    }
    citation: ClassVar = "Grisafi, Nigam, Ceriotti, Chem. Sci. 12, 2078 (2021)"
    doi: ClassVar = "10.1039/d0sc04934d"
    licence: ClassVar = "BSD-3-Clause"


def _les(part: str) -> tuple[Remote, ...]:
    commit = "d7bd8c86b70edb15bd8358fe44da89ae77815247"
    return tuple(
        github("BingqingCheng/cace-lr-fit", commit, f"fit-lode/lode-datasets/{part}-id{pair}.xyz") for pair in PAIRS
    )


class LodeDimers(BenchmarkDataset):
    """Six dimers (charged, polar and apolar molecules): train near, test at 12 Angstrom and beyond.

    A short-range model has no forces beyond its cutoff. Source: ``fit-lode/lode-datasets`` of
    https://github.com/BingqingCheng/cace-lr-fit. Level of theory: DFT, FHI-aims. Total energies; ``info["energyA"]`` and
    ``info["energyB"]`` of the file are those of the two molecules alone. Periodic cells of 30 Angstrom.

    Splits, official, of all six dimers together: ``train`` (60 frames) and ``test`` (18).
    """

    splits: ClassVar = {part: Split((part,), _les(part), concatenated) for part in ("train", "test")}
    citation: ClassVar = (
        "Huguenin-Dumittan, Loche, Haoran, Ceriotti, J. Phys. Chem. Lett. (2023); "
        "Cheng, npj Comput. Mater. 11, 80 (2025)"
    )
    licence: ClassVar = "CC BY-NC 4.0"
