"""Systems that are timed: one molecule, batches of it, and periodic copper."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from io import StringIO

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk
from ase.io.zmatrix import parse_zmatrix
from torch_geometric.data import Batch, Data

from equireann_pyg import OrbitalNetwork, Potential, edge_vectors, from_ase
from equireann_pyg.nn import ZBL
from equireann_pyg.testing import randomize

ELEMENTS = ["H", "C", "N", "O", "Cu"]
CUTOFF = 5.0  # Angstrom

ASPIRIN = """\
C
C 1 1.40
C 2 1.40 1 120
C 3 1.40 2 120 1 0
C 4 1.40 3 120 2 0
C 5 1.40 4 120 3 0
H 3 1.08 2 120 1 180
H 4 1.08 3 120 2 180
H 5 1.08 4 120 3 180
H 6 1.08 5 120 4 180
C 1 1.48 2 122 3 180
O 11 1.21 1 124 2 180
O 11 1.35 1 113 2 0
H 13 0.97 11 106 1 180
O 2 1.39 1 118 6 180
C 15 1.37 2 117 1 80
O 16 1.20 15 123 2 0
C 16 1.50 15 110 2 180
H 18 1.09 16 110 15 60
H 18 1.09 16 110 15 180
H 18 1.09 16 110 15 300
"""
"""Z-matrix of acetylsalicylic acid with textbook bond lengths (Angstrom) and angles (degrees): 21 atoms C, H, O."""


def molecules(count: int, cutoff: float = CUTOFF) -> Data:
    """Rattled copies of aspirin: a graph, or a batch of graphs."""
    return _join([_rattled(parse_zmatrix(StringIO(ASPIRIN).readlines()), seed, 0.05) for seed in range(count)], cutoff)


def copper(repeat: tuple[int, int, int], cutoff: float = CUTOFF) -> Data:
    """Rattled periodic fcc copper, four atoms for each cubic cell."""
    return _join([_rattled(bulk("Cu", "fcc", a=3.61, cubic=True).repeat(repeat), 0, 0.1)], cutoff)


def _rattled(atoms: Atoms, seed: int, width: float) -> Atoms:
    atoms.positions += width * np.random.default_rng(seed).normal(size=(len(atoms), 3))
    return atoms


def _join(frames: list[Atoms], cutoff: float) -> Data:
    graphs = [from_ase(atoms, cutoff) for atoms in frames]
    return graphs[0] if len(graphs) == 1 else Batch.from_data_list(graphs)


CASES: dict[str, Callable[[], Data]] = {
    "mol1": partial(molecules, 1),
    "train8": partial(molecules, 8),
    "mol64": partial(molecules, 64),
    "cu108": partial(copper, (3, 3, 3)),
    "cu864": partial(copper, (6, 6, 6)),
    "cu4000": partial(copper, (10, 10, 10)),
    "cu1008": partial(copper, (6, 6, 7)),
    "cu10192": partial(copper, (13, 14, 14)),
    "cu100920": partial(copper, (29, 29, 30)),
}


def potential(kind: Callable[..., OrbitalNetwork], cutoff: float = CUTOFF) -> Potential:
    """A model of the package's default size with random parameters and the statistics of small cases, float32.

    Like the shipped ones it has a repulsion of nuclei that are closer than bonds.
    """
    torch.manual_seed(0)
    model = kind(ELEMENTS, cutoff)
    randomize(model)
    batch = Batch.from_data_list([molecules(1), copper((2, 2, 2))])
    model.fit_statistics(batch.z, batch.edge_index, edge_vectors(batch).to(model.coefficient.dtype))
    return Potential(model, repulsion=ZBL())
