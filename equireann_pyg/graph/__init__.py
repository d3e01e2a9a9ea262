r"""Graphs of atomic structures: ``ase.Atoms`` to PyG ``Data`` and back.

Fields of every graph:

==================  =================  ============================================================================
``z``               ``[N]`` int64      atomic numbers
``pos``             ``[N, 3]``         positions in Angstrom
``cell``            ``[1, 3, 3]``      lattice vectors in rows, zeros for open systems
``pbc``             ``[1, 3]`` bool    periodic directions
``edge_index``      ``[2, E]`` int64   row 0 = neighbour j, row 1 = centre i, sorted by i
``edge_shift``      ``[E, 3]``         integer lattice translations S: r_ij = pos_j + S cell - pos_i
``energy``          ``[1]``            eV
``forces``          ``[N, 3]``         eV/Angstrom
``stress``          ``[1, 3, 3]``      eV/Angstrom^3, ASE's sign (positive under tension)
``dipole``          ``[1, 3]``         e Angstrom, from minus to plus; of an ion, about the origin of the coordinates
``polarizability``  ``[1, 3, 3]``      e Angstrom^2/V, :math:`d\mu/dF`: positive for ordinary matter (1 = 14.4 Angstrom^3)
``charges``         ``[N]``            partial charges in e
``total_charge``    ``[1]``            e, zero where the file says nothing
``field``           ``[1, 3]``         electric field in V/Angstrom (E falls by mu.F), zero where the file says nothing
``cutoff``          ``[1]``            cutoff the graph was built with, in Angstrom
``config_type``     str                label of the kind of configuration
==================  =================  ============================================================================

All numbers are float64; unknown labels are NaN. Graphs from elsewhere may lack any label, the charge and the field.
Where labels are found in a structure is told by :mod:`equireann_pyg.graph.labels`.
"""

from equireann_pyg.graph.convert import ase_results, from_ase, label_of, labelled_graph, to_ase
from equireann_pyg.graph.edges import check_cutoff, edge_differences, edge_vectors
from equireann_pyg.graph.known import known, question, to_device
from equireann_pyg.graph.labels import (
    CONDITIONS,
    KINDS,
    LABELS,
    PER_ATOM,
    Label,
    LabelKeys,
    label_places,
    read_labels,
)
from equireann_pyg.graph.radius import COINCIDENT, radius_graph

__all__ = [
    "COINCIDENT",
    "CONDITIONS",
    "KINDS",
    "LABELS",
    "PER_ATOM",
    "Label",
    "LabelKeys",
    "ase_results",
    "check_cutoff",
    "edge_differences",
    "edge_vectors",
    "from_ase",
    "known",
    "label_of",
    "label_places",
    "labelled_graph",
    "question",
    "radius_graph",
    "read_labels",
    "to_ase",
    "to_device",
]
