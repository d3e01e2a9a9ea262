r"""Properties beside energy and forces: charges, dipole moment, polarizability, response to an electric field.

A property is a head on the features of the atoms that the energy is made from. Give a list of them to
:class:`~equireann_pyg.Potential` or to the training task; every property is trained on the labels of the same name.
"""

from equireann_pyg.properties.base import Features, GraphTensors, Property, per_graph
from equireann_pyg.properties.dipole import Charges, Dipole, LocalDipole
from equireann_pyg.properties.polarizability import FieldResponse, Polarizability

__all__ = [
    "Charges",
    "Dipole",
    "Features",
    "FieldResponse",
    "GraphTensors",
    "LocalDipole",
    "Polarizability",
    "Property",
    "per_graph",
]
