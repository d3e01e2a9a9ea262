"""Adsorbates on surfaces."""

from __future__ import annotations

from typing import ClassVar

from equireann_pyg.datasets.benchmark import BenchmarkDataset, Split
from equireann_pyg.datasets.chains import n2p2_example
from equireann_pyg.datasets.convert import fractional_reann, runner
from equireann_pyg.datasets.download import Remote, github


class Au2MgO4G(BenchmarkDataset):
    """Au2 on MgO(001), pure and doped with Al below the surface: the dopant changes the adsorption from afar.

    Source: the example ``AlAuMgO_4G`` of n2p2, branch 4G-HDNNP-training, 18 of the 5000 frames of the paper: enough to
    evaluate, not to train. Level of theory: all-electron DFT, FHI-aims. Total energies, periodic cells.

    Splits: ``all`` (18 frames, the public file, with charges of the atoms as ``atomic_charges``).
    """

    splits: ClassVar = {"all": Split(("all",), n2p2_example("AlAuMgO_4G"), runner)}
    citation: ClassVar = "Ko, Finkler, Goedecker, Behler, Nat. Commun. 12, 398 (2021)"
    doi: ClassVar = "10.1038/s41467-020-20427-2"
    licence: ClassVar = "GPL-3.0 (the repository)"


def _co2(part: str) -> tuple[Remote, ...]:
    commit = "6ca3928aa6903dbc4c71a41fcd524ba0e9b4cfd7"
    name = f"{part}/configuration"
    return (github("zhangylch/REANN", commit, f"data/co2+Ni100/{name}", name),)


class CO2Ni100(BenchmarkDataset):
    """CO2 scattering from and dissociating on Ni(100): the data that REANN comes with.

    Source: ``data/co2+Ni100`` of https://github.com/zhangylch/REANN, fractional coordinates. Level of theory: DFT, VASP.
    Cells periodic in three directions, as in the file.

    Splits: ``official_train`` and ``official_val`` (991 points) are the public files; ``train`` (640), ``val`` (80) and
    ``test`` (150) are an own random split of ``official_val``, and must be put into the root by hand.
    """

    splits: ClassVar = {
        "train": Split(("train",)),
        "val": Split(("val",)),
        "test": Split(("test",)),
        **{f"official_{part}": Split((f"official_{part}",), _co2(part), fractional_reann) for part in ("train", "val")},
    }
    citation: ClassVar = "Zhang, Xia, Jiang, Phys. Rev. Lett. 127, 156002 (2021)"
    doi: ClassVar = "10.1103/PhysRevLett.127.156002"
    licence: ClassVar = "MIT"
