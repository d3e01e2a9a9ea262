"""Molecules with dipoles, polarizabilities or in an electric field."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

from equireann_pyg.datasets.benchmark import BenchmarkDataset, Split
from equireann_pyg.datasets.convert import concatenated
from equireann_pyg.datasets.download import Remote, github
from equireann_pyg.datasets.fireann import fireann

WITH_DIPOLE = "energy eV, forces eV/Angstrom, dipole e Angstrom"
GROUPS = ("des370k_dimers", "des370k_monomers", "dipeptides", "pubchem", "qmugs", "solvated_amino_acids", "water")


def _spice(group: str) -> Remote:
    commit = "f9937a51f699c506bff91c077f70340e7d1924b2"
    return github("ChengUCB/les_fit", commit, f"data-spice-test-bec/{group}.xyz")


class SPICEDipoles(BenchmarkDataset):
    """Pieces of the SPICE test set of MACE-OFF with dipoles: molecules, dimers, water clusters, ten elements.

    Source: ``data-spice-test-bec`` of https://github.com/ChengUCB/les_fit; its Born charges, part of which are
    predictions, are left out. Level of theory: omegaB97M-D3(BJ)/def2-TZVPPD. Total energies.

    Splits: ``all`` (673 frames, the public files; ``info["group"]`` names the file); ``train`` (460), ``val`` (60) and
    ``test`` (153) are an own random split, not official, and must be put into the root by hand.
    """

    splits: ClassVar = {
        "train": Split(("train",)),
        "val": Split(("val",)),
        "test": Split(("test",)),
        "all": Split(("all",), tuple(_spice(group) for group in GROUPS), concatenated),
    }
    citation: ClassVar = "Eastman et al., Sci. Data 10, 11 (2023); Zhong et al., arXiv:2504.05169"
    doi: ClassVar = "10.1038/s41597-022-01882-6"
    licence: ClassVar = "CC BY-NC 4.0"
    units: ClassVar = WITH_DIPOLE


def _dipeptides(part: str) -> tuple[Remote, ...]:
    commit = "d7bd8c86b70edb15bd8358fe44da89ae77815247"
    return (github("BingqingCheng/cace-lr-fit", commit, f"fit-dipeptides/data/spice-dipep-dipolar_{part}.xyz"),)


class SPICEDipeptides(BenchmarkDataset):
    """Polar dipeptides of SPICE with dipoles: long range, and charges that follow from energies and forces.

    Source: ``fit-dipeptides/data`` of https://github.com/BingqingCheng/cace-lr-fit. Level of theory:
    omegaB97M-D3(BJ)/def2-TZVPPD. Energies of formation; neutral molecules.

    Splits, official: ``train`` (495 frames), ``val`` (55) and ``test`` (50).
    """

    splits: ClassVar = {
        part: Split((part,), _dipeptides(part), partial(concatenated, forces="force"))
        for part in ("train", "val", "test")
    }
    citation: ClassVar = "King, Kim, Zhong, Cheng, Nat. Commun. 16, 8763 (2025)"
    doi: ClassVar = "10.1038/s41467-025-63852-x"
    licence: ClassVar = "CC BY-NC 4.0"
    units: ClassVar = WITH_DIPOLE


def _nma(part: str) -> tuple[Remote, ...]:
    commit = "06d297704abcde3a3c6e3e120c26bde991a829f4"
    name = f"{part}/configuration"
    return (github("zhangylch/FIREANN", commit, f"data/NMA/{name}", name),)


class NMAField(BenchmarkDataset):
    """N-methylacetamide in an electric field: dipole, polarizability and the response to a field.

    Energies and dipoles include the field: a model without it cannot fit them. ``info`` of the file has
    ``external_field`` in V/Angstrom (along x) and ``polarizability`` in e Angstrom^2/V with the sign of the second
    derivative of the energy, as in the source. Source: ``data/NMA`` of https://github.com/zhangylch/FIREANN. Level of
    theory: DFT, Gaussian; the functional is not stated. Total energies.

    Splits: ``official_train``, ``official_validation`` and ``official_test`` are the public files, which share frames;
    ``train`` (1164) and ``val`` (120) of the official validation file and ``test`` (700) of the official test file, without
    repeated frames, are an own split and must be put into the root by hand.
    """

    splits: ClassVar = {
        "train": Split(("train",)),
        "val": Split(("val",)),
        "test": Split(("test",)),
        **{
            f"official_{part}": Split((f"official_{part}",), _nma(part), fireann)
            for part in ("train", "validation", "test")
        },
    }
    citation: ClassVar = "Zhang, Jiang, Nat. Commun. 14, 6424 (2023)"
    doi: ClassVar = "10.1038/s41467-023-42148-y"
    licence: ClassVar = "MIT"
    units: ClassVar = f"{WITH_DIPOLE}, field V/Angstrom, polarizability e Angstrom^2/V"
