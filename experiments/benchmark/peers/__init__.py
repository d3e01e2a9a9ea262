"""The models that take part, one small file for each package; a package is imported only when its model is made."""

from __future__ import annotations

import importlib

from experiments.benchmark.peers.peer import Peer, of_user, published

MODULES = (
    "ours",
    "pyg",
    "mace",
    "reann",
    "nep",
    "pace",
    "schnetpack",
    "matgl",
    "nequip",
    "allegro",
    "sevennet",
    "pet",
    "torchmdnet",
    "cace",
)
"""Files of this folder, in the order of the tables."""

REFERENCE = "SchNet (PyG)"
"""The model that every other one is timed beside, in the same process."""


def peers() -> dict[str, Peer]:
    """All models by name."""
    found = [importlib.import_module(f"experiments.benchmark.peers.{name}").PEERS for name in MODULES]
    return {peer.name: peer for some in found for peer in some}


def peer_of(name: str) -> Peer:
    """A model by its name, or a user's by ``my_module:MyModel``.

    Raises:
        ValueError: if there is none.
    """
    if ":" in name:
        return of_user(name)
    known = peers()
    if name not in known:
        raise ValueError(f"{name}: no such model; there are {', '.join(known)}")
    return known[name]


__all__ = ["MODULES", "REFERENCE", "Peer", "of_user", "peer_of", "peers", "published"]
