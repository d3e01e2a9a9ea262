"""Models: from a graph to energies of atoms, and to the features that properties are made from."""

from equireann_pyg.models.equireann import EANN, REANN, EquiREANN
from equireann_pyg.models.network import OrbitalNetwork
from equireann_pyg.models.plus import EquiREANNPlus

__all__ = ["EANN", "REANN", "EquiREANN", "EquiREANNPlus", "OrbitalNetwork"]
