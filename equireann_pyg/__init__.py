"""EquiREANN: non-local, equivariant and cheap interatomic potentials as PyTorch Geometric layers."""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from equireann_pyg import nn
    from equireann_pyg.checkpoint import load_potential, save_potential
    from equireann_pyg.graph import LabelKeys, edge_vectors, from_ase, radius_graph, to_ase
    from equireann_pyg.models import EANN, REANN, EquiREANN
    from equireann_pyg.network import OrbitalNetwork
    from equireann_pyg.potential import Potential

__version__ = "0.1.0"

__all__ = [
    "EANN",
    "REANN",
    "EquiREANN",
    "LabelKeys",
    "OrbitalNetwork",
    "Potential",
    "edge_vectors",
    "from_ase",
    "load_potential",
    "nn",
    "radius_graph",
    "save_potential",
    "to_ase",
]

# Of torch 2.15 about the import of torch_geometric 2.8: nobody but its authors can do anything about it.
warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated", FutureWarning)

# Imported at first use: ASE looks at this package whenever ase.io is imported, and torch takes seconds.
_HOMES = {
    "checkpoint": ("load_potential", "save_potential"),
    "graph": ("LabelKeys", "edge_vectors", "from_ase", "radius_graph", "to_ase"),
    "models": ("EANN", "REANN", "EquiREANN"),
    "network": ("OrbitalNetwork",),
    "potential": ("Potential",),
}


def __getattr__(name: str) -> Any:
    if name == "nn":
        return import_module("equireann_pyg.nn")
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"equireann_pyg.{module}"), name)
    raise AttributeError(f"module 'equireann_pyg' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
