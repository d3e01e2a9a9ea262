"""EquiREANN: non-local, equivariant and cheap interatomic potentials as PyTorch Geometric layers."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from equireann_pyg import moved
from equireann_pyg.lazy import lazy_names

if TYPE_CHECKING:
    from equireann_pyg import nn
    from equireann_pyg.graph.convert import from_ase, to_ase
    from equireann_pyg.graph.edges import edge_vectors
    from equireann_pyg.graph.labels import LabelKeys
    from equireann_pyg.graph.radius import radius_graph
    from equireann_pyg.inference.blocks import BlockPotential
    from equireann_pyg.inference.calculator import EquiREANNCalculator
    from equireann_pyg.inference.committee import CommitteeCalculator
    from equireann_pyg.inference.compiled import compile_potential
    from equireann_pyg.models.equireann import EANN, REANN, EquiREANN
    from equireann_pyg.models.network import OrbitalNetwork
    from equireann_pyg.models.plus import EquiREANNPlus
    from equireann_pyg.potential.checkpoint import load_potential, save_potential
    from equireann_pyg.potential.potential import Potential

__version__ = "0.1.0"

__all__ = [
    "EANN",
    "REANN",
    "BlockPotential",
    "CommitteeCalculator",
    "EquiREANN",
    "EquiREANNCalculator",
    "EquiREANNPlus",
    "LabelKeys",
    "OrbitalNetwork",
    "Potential",
    "compile_potential",
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
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "graph": ("LabelKeys", "edge_vectors", "from_ase", "radius_graph", "to_ase"),
        "inference": ("BlockPotential", "CommitteeCalculator", "EquiREANNCalculator", "compile_potential"),
        "models": ("EANN", "REANN", "EquiREANN", "EquiREANNPlus", "OrbitalNetwork"),
        "nn": (),
        "potential": ("Potential", "load_potential", "save_potential"),
    },
)
moved.install()
