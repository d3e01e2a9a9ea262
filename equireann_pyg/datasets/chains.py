"""Carbon chains: energies that depend on both ends of a chain at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar

from ase import Atoms

from equireann_pyg.datasets.benchmark import BenchmarkDataset, Split
from equireann_pyg.datasets.convert import concatenated, from_npz, runner
from equireann_pyg.datasets.download import Remote, github


def _gnl(path: str) -> tuple[Remote, ...]:
    commit = "7cc3f6bf3fcd9d54248713ce19d7c76fea2abfe0"
    return (github("LarsSchaaf/Guaranteed-Non-Local-Molecular-Dataset", commit, path),)


def _scan(name: str, file: str, config_type: str) -> Split:
    convert = partial(concatenated, energy="orca_vtscf_energy", forces="orca_vtscf_forces", config_type=config_type)
    return Split((name,), _gnl(f"visualise/{file}.xyz"), convert)


class GNLCumulene(BenchmarkDataset):
    """Cumulenes C3H4 to C32H4 (Guaranteed Non-Local): the twist of one end changes the energy of the whole chain.

    A model cannot see the twist from farther away than its receptive field. Source:
    https://github.com/LarsSchaaf/Guaranteed-Non-Local-Molecular-Dataset, version 0.2. Level of theory: DFT, ORCA; the
    functional is not stated. Total energies. All chains have four hydrogen atoms: the reference energies of H and C
    cannot both be fitted.

    Splits, all official: ``train`` (200 frames, C3 to C10, C13 and C14, rattled and twisted), ``val`` (50), ``test``
    (170; ``config_types`` ``in-domain``, ``out-domain-nc-11,12`` and ``out-domain-nc-15,16``), ``scan_length`` (30, C3
    to C32 at 5 degrees) and ``scan_angle`` (23, a scan of the twist of C12).
    """

    splits: ClassVar = {
        **{
            part: Split((part, f"gnl-v0.2-{part}"), _gnl(f"gnl-dataset/GNL-v0.2/gnl-v0.2-{part}.xyz"))
            for part in ("train", "val", "test")
        },
        "scan_length": _scan("scan_length_5deg_C3_C32", "cumulene-length-scan-5deg-30", "length-scan-5deg"),
        "scan_angle": _scan("scan_angle_C12", "cumulene-angle-scan-n12", "angle-scan-n12"),
    }
    citation: ClassVar = "Batatia, Schaaf, Chen, Csanyi, Ortner, Faber, ICLR 2024"
    doi: ClassVar = "arXiv:2310.10434"
    licence: ClassVar = "none stated by the source"


def _profile(paths: Sequence[Path]) -> Iterator[Atoms]:
    for path in paths:
        frame, count = from_npz(path, "positions", "atomic_numbers", "energy", "forces")
        yield from map(frame, range(count))


class CumuleneTorsion(BenchmarkDataset):
    """Rigid torsion of C9H4: only the two hydrogen atoms of one end move, a local model gives a constant.

    A yes-or-no test of non-locality: splits at random of a scan in one dimension interpolate. Source:
    ``datasets/cumulene_profile.npz`` of https://github.com/thorben-frank/euclidean_fast_attention. Level of theory: DFT,
    the functional is not stated. Atomisation energies.

    Splits: ``all`` (1000 frames, the public file); ``train`` (600), ``val`` (100) and ``test`` (150) are an own random
    split, not official, and must be put into the root by hand.
    """

    splits: ClassVar = {
        "train": Split(("train",)),
        "val": Split(("val",)),
        "test": Split(("test",)),
        "all": Split(
            ("all",),
            (
                github(
                    "thorben-frank/euclidean_fast_attention",
                    "93a4f5cd23d8d103845ef783b01458a119b7aa50",
                    "datasets/cumulene_profile.npz",
                ),
            ),
            _profile,
        ),
    }
    citation: ClassVar = "Frank, Chmiela, Mueller, Unke, Euclidean Fast Attention"
    doi: ClassVar = "arXiv:2412.08541"
    licence: ClassVar = "none stated by the source; see also https://doi.org/10.5281/zenodo.14750286"


def n2p2_example(folder: str) -> tuple[Remote, ...]:
    """Training data of an example of n2p2's 4G branch."""
    commit = "5924013632f6dac030783b6d07b29262335d091c"
    return (github("CompPhysVienna/n2p2", commit, f"examples/nnp-train/{folder}/input.data"),)


class CarbonChains4G(BenchmarkDataset):
    """C10H2 and C10H3+: a proton at one end moves charge along the whole chain.

    ``info["charge"]`` of the file is the total charge in e, 0 or 1. Source: the example ``Carbon_chain_4G`` of n2p2,
    branch 4G-HDNNP-training, which has 128 of the 10019 frames of the paper (doi:10.24435/materialscloud:f3-yh): errors
    on the whole set do not compare. Level of theory: all-electron DFT, FHI-aims. Total energies.

    Splits: ``all`` (128 frames, the public file, with Hirshfeld charges of the atoms as ``atomic_charges``); ``train``
    (96), ``val`` (12) and ``test`` (20) are an own random split, not official, and must be put into the root by hand.
    """

    splits: ClassVar = {
        "train": Split(("train",)),
        "val": Split(("val",)),
        "test": Split(("test",)),
        "all": Split(("all",), n2p2_example("Carbon_chain_4G"), runner),
    }
    citation: ClassVar = "Ko, Finkler, Goedecker, Behler, Nat. Commun. 12, 398 (2021)"
    doi: ClassVar = "10.1038/s41467-020-20427-2"
    licence: ClassVar = "GPL-3.0 (the repository)"


class Alkanes(BenchmarkDataset):
    """Linear alkanes C4H10 to C15H32: trained on short chains, tested on long ones.

    Energies count from the straight minimum of each molecule, so that their zero differs from length to length; it is nearly
    linear in the length. ``info["nC"]`` of the file is the number of carbon atoms. Source: ``C14H30/testing`` of
    https://github.com/jmbowma/QM-22. Level of theory: B3LYP/cc-pVDZ.

    Splits: ``train`` (900 frames of C4 to C8 and C10), ``val`` (90) and ``test`` (540, the same lengths, C9 and C11 to C15)
    are an own selection, and must be put into the root by hand.
    """

    splits: ClassVar = {part: Split((part,)) for part in ("train", "val", "test")}
    citation: ClassVar = "Qu, Houston, Allison, Schneider, Bowman, J. Chem. Theory Comput. (2024)"
    licence: ClassVar = "Apache-2.0"
