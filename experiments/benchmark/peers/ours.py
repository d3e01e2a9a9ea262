"""The models of this package, as its configurations have them."""

from __future__ import annotations

from experiments.benchmark.peers.peer import Peer
from experiments.runs.models import models

PAPER = "Wu, Xia, Zhang, Jiang, J. Phys. Chem. A 2024, 128, 11061; configs/equireann.yaml"

PEERS = tuple(
    Peer(
        name,
        recipe,
        PAPER if not name.startswith("EquiREANN-plus") else f"configs/{name.lower()}.yaml",
        package=("equireann_pyg",),
        derivatives=2,
        noise=0.6,
    )
    for name, recipe in models().items()
)
