"""Single molecules: 3BPA, acetylacetone and rMD17."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from ase import Atoms, units

from equireann_pyg.datasets.benchmark import BenchmarkDataset, Split
from equireann_pyg.datasets.convert import from_npz
from equireann_pyg.datasets.download import Remote, github
from equireann_pyg.files import replacing


def _botnet(folder: str, name: str, size: int | None = None) -> tuple[Remote, ...]:
    commit = "29e6d467317e4b5967b7ea5cbee54de953fa0d45"
    return (github("davkovacs/BOTNet-datasets", commit, f"{folder}/{name}.xyz", size=size),)


class ThreeBPA(BenchmarkDataset):
    """3BPA, 3-(benzyloxy)pyridin-2-amine: extrapolation in temperature of a flexible molecule.

    Source: ``dataset_3BPA`` of https://github.com/davkovacs/BOTNet-datasets. Level of theory: omegaB97X/6-31G(d), ORCA.
    Total energies; isolated atoms at the same level: H -13.587222780835477, C -1029.4889999855063, N
    -1484.9814568572233, O -2041.9816003861047 eV. The cells of the files are not periodic.

    Splits, all official: ``train_300K`` and ``train_mixedT`` (500 frames each), ``test_300K`` (1669), ``test_600K``
    (2138), ``test_1200K``, and the torsion scans ``test_dih_beta120``, ``test_dih_beta150`` and ``test_dih_beta180``,
    which must be put into the root by hand.
    """

    splits: ClassVar = {
        "train_300K": Split(("train_300K",), _botnet("dataset_3BPA", "train_300K")),
        "train_mixedT": Split(("train_mixedT",), _botnet("dataset_3BPA", "train_mixedT")),
        "test_300K": Split(("test_300K",), _botnet("dataset_3BPA", "test_300K", 5023260)),
        "test_600K": Split(("test_600K",), _botnet("dataset_3BPA", "test_600K", 6434399)),
        "test_1200K": Split(("test_1200K",), _botnet("dataset_3BPA", "test_1200K")),
        **{f"test_dih_beta{beta}": Split((f"test_dih_beta{beta}",)) for beta in (120, 150, 180)},
    }
    citation: ClassVar = "Kovacs, van der Oord, Kucera, Allen, Cole, Ortner, Csanyi, JCTC 17, 7696 (2021)"
    doi: ClassVar = "10.1021/acs.jctc.1c00647"
    licence: ClassVar = "MIT"


class Acetylacetone(BenchmarkDataset):
    """Acetylacetone: extrapolation in temperature, a torsion and the transfer of a proton.

    Source: ``dataset_acac`` of https://github.com/davkovacs/BOTNet-datasets. Level of theory: UHF PBE+D3/def2-SVP, ORCA
    5.0. Total energies; isolated atoms at the same level: H -13.568422178253735, C -1026.8538996116154, O
    -2037.796869412825 eV.

    Splits, all official: ``train_300K`` and ``train_600K`` (500 frames each), ``test_MD_300K`` and ``test_MD_600K`` (650
    each), ``test_dihedral`` (45) and ``test_H_transfer`` (15); the last two have energies only, their forces are NaN.
    """

    splits: ClassVar = {
        **{
            name: Split((name,), _botnet("dataset_acac", name))
            for name in ("train_300K", "train_600K", "test_MD_300K", "test_MD_600K")
        },
        **{
            name: Split((name, f"{name}_energy_only"), _botnet("dataset_acac", name), energy_only=True)
            for name in ("test_dihedral", "test_H_transfer")
        },
    }
    citation: ClassVar = "Batatia et al., The design space of E(3)-equivariant atom-centred interatomic potentials"
    doi: ClassVar = "arXiv:2205.06643"
    licence: ClassVar = "MIT"


class RMD17(BenchmarkDataset):
    """Revised MD17: small molecules, 1000 frames to train on and 1000 to test.

    Source: ``rmd17.tar.bz2`` (about 1 GB) of https://doi.org/10.6084/m9.figshare.12672038; one molecule at a time is
    unpacked and its units turned from kcal/mol to eV. Level of theory: PBE/def2-SVP, ORCA, tight convergence. Total
    energies.

    Splits, official: ``train`` and ``test`` of folds 1 to 5. Papers mostly train on 950 frames of ``train`` and validate
    on the other 50: ``frames="0:950"`` and ``frames="950:"``. Files are named ``aspirin/train_01.xyz``.

    Args:
        root: folder of this data set.
        split: ``train`` or ``test``.
        cutoff: cutoff of the graphs in Angstrom.
        molecule: one of ``molecules``.
        fold: number of the official split, 1 to 5.
        options: further arguments of :class:`BenchmarkDataset`.
    """

    molecules: ClassVar = (
        *("aspirin", "azobenzene", "benzene", "ethanol", "malonaldehyde"),
        *("naphthalene", "paracetamol", "salicylic", "toluene", "uracil"),
    )
    splits: ClassVar = {"train": Split(()), "test": Split(())}
    citation: ClassVar = "Christensen, von Lilienfeld, Mach. Learn.: Sci. Technol. 1, 045018 (2020)"
    doi: ClassVar = "10.1088/2632-2153/abba6f"
    licence: ClassVar = "see https://doi.org/10.6084/m9.figshare.12672038"
    archive: ClassVar = Remote("https://figshare.com/ndownloader/files/23950376", "rmd17.tar.bz2", "cddeea2ec2c4")

    def __init__(
        self, root: str | Path, split: str, cutoff: float, *, molecule: str, fold: int = 1, **options: Any
    ) -> None:
        if molecule not in self.molecules:
            raise ValueError(f"RMD17 has no molecule '{molecule}'; expected one of {', '.join(self.molecules)}")
        if fold not in range(1, 6):
            raise ValueError(f"RMD17 has the folds 1 to 5, not {fold}")
        self.molecule, self.fold = molecule, fold
        super().__init__(root, split, cutoff, **options)

    def resolve(self) -> Split:
        """File of the molecule and fold."""
        return Split((f"{self.molecule}/{self.split}_{self.fold:02d}",))

    def download(self) -> Path:
        """Fetch the archive if it is not there, unpack what is needed of it, and return the extended-XYZ file."""
        members = [f"rmd17/npz_data/rmd17_{self.molecule}.npz", f"rmd17/splits/index_{self.split}_{self.fold:02d}.csv"]
        if not all((self.raw_dir / member).is_file() for member in members):
            _unpack(self.raw(self.archive), members, self.raw_dir)
        return self.write(self._frames(*(self.raw_dir / member for member in members)))

    def _frames(self, archive: Path, indices: Path) -> Iterator[Atoms]:
        frame, count = from_npz(archive, "coords", "nuclear_charges", "energies", "forces", units.kcal / units.mol)
        for index in np.loadtxt(indices, dtype=int, ndmin=1):
            if not 0 <= index < count:
                raise ValueError(f"{indices}: frame {index} of {count}; unpack {archive} and this file anew")
            atoms = frame(index)
            atoms.info["index"] = int(index)
            yield atoms


def _unpack(archive: Path, members: list[str], folder: Path) -> None:
    """Unpack the named members only: an archive may hold paths that lead elsewhere."""
    missing = set(members)
    with tarfile.open(archive, "r:*") as tar:
        for member in tar:
            content = tar.extractfile(member) if member.name in missing else None
            if content is not None:
                with replacing(folder / member.name) as partial:
                    partial.write_bytes(content.read())
                missing.remove(member.name)
            if not missing:
                return
    raise ValueError(f"{archive} has no {', '.join(sorted(missing))}: fetch it anew")
