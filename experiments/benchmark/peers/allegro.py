"""Allegro (nequip-allegro), https://github.com/mir-group/allegro: many-body and strictly local."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from experiments.benchmark.peers.nequip import ENVIRONMENT, PRECISION, Framework
from experiments.benchmark.peers.peer import Peer, published


class Allegro(Framework):
    """Atomic energies of Allegro in the size of its tutorial.

    Args:
        elements: chemical symbols or atomic numbers.
        cutoff: in Angstrom.
    """

    def __init__(self, elements: list[str], cutoff: float = 5.0) -> None:
        super().__init__(elements, cutoff)

    def builder(self) -> tuple[Callable[..., nn.Module], dict[str, Any]]:
        """Allegro's builder."""
        from allegro.model import AllegroModel

        return AllegroModel, TUTORIAL


TUTORIAL = {
    "radial_chemical_embed": {"_target_": "allegro.nn.TwoBodyBesselScalarEmbed", "num_bessels": 8},
    "radial_chemical_embed_dim": 64,
    "scalar_embed_mlp_hidden_layers_depth": 1,
    "scalar_embed_mlp_hidden_layers_width": 64,
    "l_max": 1,
    "parity": True,
    "num_layers": 2,
    "num_scalar_features": 64,
    "num_tensor_features": 32,
    "allegro_mlp_hidden_layers_depth": 1,
    "allegro_mlp_hidden_layers_width": 64,
    "readout_mlp_hidden_layers_depth": 1,
    "readout_mlp_hidden_layers_width": 64,
}
"""configs/tutorial.yaml of Allegro."""

PEERS = (
    Peer(
        "Allegro (tutorial)",
        published("experiments.benchmark.peers.allegro.Allegro", lr=1e-3, batch_size=1),
        "configs/tutorial.yaml without its ZBL: 2 layers, l = 1, 64 scalars, 32 tensors; batches of 1, Adam at 0.001",
        ENVIRONMENT,
        package=("nequip-allegro", "nequip", "e3nn"),
        derivatives=2,
        remark=PRECISION,
    ),
)
