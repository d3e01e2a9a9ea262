"""Liquids."""

from __future__ import annotations

from typing import ClassVar

from equireann_pyg.datasets.benchmark import BenchmarkDataset, Split
from equireann_pyg.datasets.convert import runner
from equireann_pyg.datasets.download import github

GENERATIONS = ("gen1a", "gen1b", "gen1c", "gen1d", "gen1e", "gen3")


class AqueousNaCl(BenchmarkDataset):
    """NaCl in water, 1 to 8 ion pairs, 160 to 194 atoms: electrostatics and pairing of ions.

    Source: ``data-sets/revPBE0-D3/BP-NNP`` of https://github.com/niamhon/nacl-water, Hartree and Bohr. Level of theory:
    revPBE0-D3, CP2K. Total energies. The forces of a frame sum to as much as 0.8 eV/Angstrom.

    Splits: ``all`` (the public files, repeated frames kept; ``info["group"]`` names the file); ``train`` (500), ``val``
    (60) and ``test`` (100) are an own random split of the 949 different frames, not official, and must be put into the
    root by hand.
    """

    splits: ClassVar = {
        "train": Split(("train",)),
        "val": Split(("val",)),
        "test": Split(("test",)),
        "all": Split(
            ("all",),
            tuple(
                github(
                    "niamhon/nacl-water",
                    "459f90fdce1e68647f1acfa9ef43f4e8b00e69e3",
                    f"data-sets/revPBE0-D3/BP-NNP/{generation}.data",
                )
                for generation in GENERATIONS
            ),
            runner,
        ),
    }
    citation: ClassVar = "O'Neill, Shi, Fong, Michaelides, Schran, J. Phys. Chem. Lett. (2024)"
    doi: ClassVar = "arXiv:2311.01527"
    licence: ClassVar = "CC BY-SA 4.0"


class Water(BenchmarkDataset):
    """Liquid water, 64 molecules at many densities, with large forces.

    Source: the example and its history of https://github.com/zhangylch/Equivariant-MPNN, 162 of the 1593 frames of
    https://github.com/BingqingCheng/ab-initio-thermodynamics-of-water. Level of theory: revPBE0-D3, CP2K. Total energies.

    Splits: ``train`` (110 frames), ``val`` (16) and ``test`` (36) are an own random split, not official, and must be put
    into the root by hand.
    """

    splits: ClassVar = {part: Split((part,)) for part in ("train", "val", "test")}
    citation: ClassVar = "Cheng, Engel, Behler, Dellago, Ceriotti, PNAS 116, 1110 (2019)"
    doi: ClassVar = "10.1073/pnas.1815117116"
    licence: ClassVar = "none stated by the source"
