"""EquiREANN: non-local, equivariant and cheap interatomic potentials as PyTorch Geometric layers."""

from equireann_pyg import nn
from equireann_pyg.checkpoint import load_potential, save_potential
from equireann_pyg.graph import LabelKeys, edge_vectors, from_ase, radius_graph, to_ase
from equireann_pyg.models import EANN, REANN, EquiREANN
from equireann_pyg.potential import Potential

__version__ = "0.1.0"

__all__ = [
    "EANN",
    "REANN",
    "EquiREANN",
    "LabelKeys",
    "Potential",
    "edge_vectors",
    "from_ase",
    "load_potential",
    "nn",
    "radius_graph",
    "save_potential",
    "to_ase",
]
