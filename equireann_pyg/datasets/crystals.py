"""Crystals, alloys and glasses, with stress."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from ase import Atoms

from equireann_pyg.datasets.benchmark import BenchmarkDataset, Split
from equireann_pyg.datasets.convert import XY_XZ_YZ, XY_YZ_XZ, base_name, pymatgen
from equireann_pyg.datasets.download import Remote, github

WITH_STRESS = "energy eV, forces eV/Angstrom, stress eV/Angstrom^3 (positive under tension)"


class MLearn(BenchmarkDataset):
    """Six elements: ground states, strained cells, molecular dynamics, vacancies and surfaces, with stress.

    Source: ``data`` of https://github.com/materialsvirtuallab/mlearn, JSON, stress in kbar. The order of its off-diagonal
    numbers differs in the source: xy yz zx for Li and for the strained cells of Si and Ge, xy xz yz for Mo and the rest
    of Si and Ge, as a regression of energies on strains shows (surfaces cannot be decided and follow the molecular
    dynamics). It is not known for Cu and Ni, whose stress is left out. Level of theory: PBE, VASP, 520 eV. Two or three
    strained cells of Si, Ge and Li are in ``train`` and, by symmetry, in ``test``.

    Splits, official: ``train`` (194 to 241 frames of Si, Ge, Mo, Li) and ``test`` (23 to 29). Files are named
    ``Si/train.xyz``.

    Args:
        root: folder of this data set.
        split: ``train`` or ``test``.
        cutoff: cutoff of the graphs in Angstrom.
        element: one of ``elements_known``.
        options: further arguments of :class:`BenchmarkDataset`.
    """

    elements_known: ClassVar = ("Si", "Ge", "Mo", "Li", "Cu", "Ni")
    splits: ClassVar = {"train": Split(()), "test": Split(())}
    citation: ClassVar = "Zuo et al., J. Phys. Chem. A 124, 731 (2020)"
    doi: ClassVar = "10.1021/acs.jpca.9b08723"
    licence: ClassVar = "BSD-3-Clause"
    units: ClassVar = WITH_STRESS

    def __init__(self, root: str | Path, split: str, cutoff: float, *, element: str, **options: Any) -> None:
        if element not in self.elements_known:
            raise ValueError(f"MLearn has no element '{element}'; expected one of {', '.join(self.elements_known)}")
        self.element = element
        super().__init__(root, split, cutoff, **options)

    def resolve(self) -> Split:
        """Files of the element."""
        name = f"{self.element}/{'training' if self.split == 'train' else 'test'}.json"
        commit = "10c427a5480c6281c15c64efaf869b03be04818f"
        source = github("materialsvirtuallab/mlearn", commit, f"data/{name}", name)
        return Split((f"{self.element}/{self.split}",), (source,), partial(pymatgen, order=self._order))

    def _order(self, group: str) -> Sequence[str] | None:
        if self.element in ("Cu", "Ni"):
            return None
        sheared = self.element == "Li" or (self.element in ("Si", "Ge") and group == "Elastic")
        return XY_YZ_XZ if sheared else XY_XZ_YZ


def _alloy(paths: Sequence[Path]) -> Iterator[Atoms]:
    for path in paths:
        for atoms in pymatgen([path], lambda _: XY_YZ_XZ):
            atoms.info["group"] = base_name(path)
            yield atoms


def _tests(*systems: str) -> tuple[Remote, ...]:
    commit = "5fc2251b45c72dea0c9799d7aad3e3261a077a5b"
    return tuple(
        github("materialsvirtuallab/snap", commit, f"NbMoTaW/training/{system}_Test.json") for system in systems
    )


class NbMoTaW(BenchmarkDataset):
    """Nb-Mo-Ta-W alloys: from elements and binaries to the quaternary alloy, with stress.

    Source: ``NbMoTaW/training`` of https://github.com/materialsvirtuallab/snap, JSON. Level of theory: PBE, VASP.
    ``info["group"]`` of the file names the group of structures.

    Splits: ``test_pure`` (120 frames), ``test_binary`` (240) and ``test_quaternary`` (16) are official; ``train`` (628: 60
    of each binary solid solution, 30 of each molecular dynamics, 25 of each set of strained cells, all surfaces) and
    ``val`` (80) are an own selection of the training files and must be put into the root by hand.
    """

    splits: ClassVar = {
        "train": Split(("train",)),
        "val": Split(("val",)),
        "test_pure": Split(("test_pure",), _tests("Mo", "Nb", "Ta", "W"), _alloy),
        "test_binary": Split(("test_binary",), _tests("MoTa", "MoW", "NbMo", "NbTa", "NbW", "TaW"), _alloy),
        "test_quaternary": Split(("test_quaternary",), _tests("Multinary"), _alloy),
    }
    citation: ClassVar = "Li, Chen, Zheng, Zuo, Ong, npj Comput. Mater. 6, 70 (2020)"
    doi: ClassVar = "10.1038/s41524-020-0339-0"
    licence: ClassVar = "BSD-3-Clause"
    units: ClassVar = WITH_STRESS


class LiPS20(BenchmarkDataset):
    """Sixteen compositions of Li, P and S at 3000 K: disordered, with stress from virials.

    Source: ``Datasets/All_LiPS20`` of https://github.com/M3RG-IITD/MDBENCHGNN, deepmd's format. Level of theory: DFT, the
    functional is not stated. Total energies.

    Splits: ``train`` (640 frames, 40 of each composition), ``val`` (64) and ``test`` (160) are an own random split, not
    official, and must be put into the root by hand.
    """

    splits: ClassVar = {part: Split((part,)) for part in ("train", "val", "test")}
    citation: ClassVar = "EGraFFBench; data of Guo et al., Chem. Mater. 34, 6702 (2022)"
    doi: ClassVar = "arXiv:2310.02428"
    licence: ClassVar = "none stated by the source"
    units: ClassVar = WITH_STRESS


class LiPS(BenchmarkDataset):
    """Li6.75P3S11 at 520 K, 83 atoms: a superionic conductor.

    Source: ``Datasets/Data_lips`` of https://github.com/M3RG-IITD/MDBENCHGNN, 1000 of the frames of
    https://doi.org/10.24435/materialscloud:s0-5n. Level of theory: PBE, VASP. Total energies, no stress.

    Splits: ``train`` (500 frames), ``val`` (100) and ``test`` (400) are an own random split, not official, and must be put
    into the root by hand: errors compare only roughly with those of other splits.
    """

    splits: ClassVar = {part: Split((part,)) for part in ("train", "val", "test")}
    citation: ClassVar = "Batzner et al., Nat. Commun. 13, 2453 (2022)"
    doi: ClassVar = "10.1038/s41467-022-29939-5"
    licence: ClassVar = "none stated by the source"


class Li6PS5Cl(BenchmarkDataset):
    """Li6PS5Cl, 416 atoms, at 600 K and 1200 K, with stress: large periodic cells.

    Source: https://github.com/MDIL-SNU/sevennet_tutorial, ``data``. Level of theory: VASP, the functional is not stated.
    Total energies.

    Splits: ``train`` (52 frames, half of either temperature), ``val`` (8), ``test_600K`` (8) and ``test_1200K`` (8) are an
    own selection; ``test_eos`` (11, an equation of state) is the file of the source. All must be put into the root by hand.
    """

    splits: ClassVar = {part: Split((part,)) for part in ("train", "val", "test_600K", "test_1200K", "test_eos")}
    citation: ClassVar = "Park, Kim, Hwang, Han, J. Chem. Theory Comput. 20, 4857 (2024)"
    doi: ClassVar = "10.1021/acs.jctc.4c00190"
    licence: ClassVar = "none stated by the source"
    units: ClassVar = WITH_STRESS
