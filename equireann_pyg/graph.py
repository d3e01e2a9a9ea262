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
Where labels are found in a structure is told by :mod:`equireann_pyg.labels`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data

from equireann_pyg.labels import CONDITIONS, LABELS, PER_ATOM, Label, LabelKeys, label_places, read_labels
from equireann_pyg.neighbors import torch_cluster_available, torch_cluster_edges, vesin_edges

if TYPE_CHECKING:
    from ase import Atoms

__all__ = [
    "CONDITIONS",
    "LABELS",
    "PER_ATOM",
    "Label",
    "LabelKeys",
    "ase_results",
    "edge_differences",
    "edge_vectors",
    "from_ase",
    "label_of",
    "label_places",
    "labelled_graph",
    "radius_graph",
    "to_ase",
]

COINCIDENT = 1e-3
"""Atoms closer than this, in Angstrom, are an error."""

FLAT = 1e-12
"""A cell is an error if the squared volume that unit vectors along its periodic directions span is below this."""

CELLS, ROW = 1e6, 5e3
"""Number of cells, in all and in a row, that the search for neighbours can divide space into."""


def radius_graph(
    pos: Tensor, cutoff: float, cell: Tensor | None = None, pbc: Tensor | None = None, batch: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Every pair of atoms, and of an atom with a periodic image, closer than ``cutoff``; no limit on neighbours.

    Open systems go through torch_cluster when it is installed, all others through vesin.

    Args:
        pos: ``[N, 3]`` in Angstrom; atoms may lie outside of the cell.
        cutoff: in Angstrom; pairs at exactly this distance are left out.
        cell: ``[3, 3]`` lattice vectors in rows, or None.
        pbc: ``[3]`` periodic directions, or None for an open system.
        batch: graph of each atom ``[N]``, sorted, for a batch of open systems.

    Returns:
        ``edge_index [2, E]`` and ``edge_shift [E, 3]``, sorted by centre, neighbour and shift.

    Raises:
        ValueError: for a cutoff that is not positive, positions that are not finite, a cell without volume in a
            periodic direction, coincident atoms, an unsorted batch, or a batch of periodic systems.
    """
    pbc = torch.zeros(3, dtype=torch.bool) if pbc is None else pbc.reshape(3).bool().cpu()
    cell = pos.new_zeros(3, 3) if cell is None else cell.detach().reshape(3, 3).to(pos)
    pos = pos.detach()
    _check(pos, cutoff, cell, pbc, batch)
    if pos.size(0) == 0:
        return torch.empty(2, 0, dtype=torch.int64, device=pos.device), pos.new_empty(0, 3)
    if not bool(pbc.any()) and torch_cluster_available():
        edge_index, shift = torch_cluster_edges(pos, cutoff, batch)
    elif batch is None:
        edge_index, shift = vesin_edges(pos, cutoff, cell, pbc)
    else:
        edge_index, shift = _one_by_one(pos, cutoff, cell, pbc, batch)
    r = (pos[edge_index[0]] - pos[edge_index[1]] + shift @ cell).norm(dim=-1)
    if bool((r < COINCIDENT).any()):
        j, i = sorted(edge_index[:, int(r.argmin())].tolist())
        raise ValueError(f"atoms {j} and {i} coincide ({float(r.min()):g} Angstrom apart): remove one")
    inside = r < cutoff
    return _sorted(edge_index[:, inside], shift[inside])


def _check(pos: Tensor, cutoff: float, cell: Tensor, pbc: Tensor, batch: Tensor | None) -> None:
    if not 0 < cutoff < float("inf"):
        raise ValueError(f"cutoff: expected a positive length in Angstrom, got {cutoff}")
    if pos.dim() != 2 or pos.size(1) != 3:
        raise ValueError(f"positions: expected the shape [N, 3], got {list(pos.shape)}")
    if not bool(torch.isfinite(pos).all()):
        atom = int((~torch.isfinite(pos)).any(1).nonzero()[0])
        raise ValueError(f"positions of atom {atom} are not finite ({pos[atom].tolist()}): repair or remove the frame")
    if batch is not None and bool(pbc.any()):
        raise ValueError("batch: periodic systems need one call each; build each graph with from_ase")
    if batch is not None and bool((batch.diff() < 0).any()):
        raise ValueError("batch: expected graphs one after the other, got unsorted numbers; sort the atoms by graph")
    vectors = cell[pbc.to(cell.device)].double()  # -> [P, 3]
    unit = vectors / vectors.norm(dim=1, keepdim=True)
    if len(unit) and not float(torch.linalg.det(unit @ unit.T)) > FLAT:  # also false for NaN: a vector of length zero
        raise ValueError(
            f"pbc is {pbc.tolist()} but the cell {cell.tolist()} has no volume there: set the cell or pbc=False"
        )
    if len(unit) and float(vectors.norm(dim=1).min()) < COINCIDENT:
        raise ValueError(f"a lattice vector is {float(vectors.norm(dim=1).min()):g} Angstrom long: check the units")
    if len(pos) and (batch is None or bool((batch == batch[0]).all())):
        _check_extent(pos.double(), cutoff, vectors, unit)


def _check_extent(pos: Tensor, cutoff: float, vectors: Tensor, unit: Tensor) -> None:
    """Refuse what vesin cannot divide into at most ``CELLS`` cells of the size of the cutoff: it would crash or hang."""
    across = (
        pos - pos @ torch.linalg.pinv(unit) @ unit if len(unit) else pos
    )  # -> [N, 3], normal to periodic directions
    span = (across.amax(0) - across.amin(0)).sort(descending=True).values[: 3 - len(vectors)]
    extent = torch.cat([vectors.norm(dim=1), span])  # -> [3]
    cells = (extent / cutoff).clamp(min=1)
    if not float(cells.max()) < ROW or float(cells.min()) < (float(cells.prod()) / CELLS) ** (1 / 3):
        raise ValueError(
            f"atoms and cell reach over {float(extent.max()):g} Angstrom, too far to search for neighbours within {cutoff:g}: "
            "check the units, or remove atoms that are far away"
        )


def _one_by_one(pos: Tensor, cutoff: float, cell: Tensor, pbc: Tensor, batch: Tensor) -> tuple[Tensor, Tensor]:
    sizes, start, edges = torch.bincount(batch).tolist(), 0, []
    for part in pos.split(sizes):
        if len(part):
            edge_index, shift = vesin_edges(part, cutoff, cell, pbc)
            edges.append((edge_index + start, shift))
        start += len(part)
    return torch.cat([edge_index for edge_index, _ in edges], dim=1), torch.cat([shift for _, shift in edges])


def _sorted(edge_index: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    keys = [shift[:, 2], shift[:, 1], shift[:, 0], edge_index[0], edge_index[1]]
    order = torch.from_numpy(np.lexsort([key.cpu().numpy() for key in keys])).to(edge_index.device)
    return edge_index[:, order], shift[order]


def edge_vectors(data: Data) -> Tensor:
    r"""Vectors :math:`\mathbf r_{ij} = \mathbf r_j + S\,\mathrm{cell} - \mathbf r_i` of a graph or a batch, ``[E, 3]``."""
    return edge_differences(data.pos, data.cell, data.edge_index, data.edge_shift, data.batch)


def edge_differences(pos: Tensor, cell: Tensor, edge_index: Tensor, edge_shift: Tensor, batch: Tensor | None) -> Tensor:
    """:func:`edge_vectors` of the bare fields; ``batch`` is None for a single graph."""
    j, i = edge_index
    if batch is None:
        return pos[j] - pos[i] + edge_shift @ cell[0]
    return pos[j] - pos[i] + torch.einsum("ea,eab->eb", edge_shift, cell[batch[i]])


def from_ase(
    atoms: Atoms, cutoff: float, *, keys: LabelKeys | None = None, labels: Collection[str] | None = None
) -> Data:
    """Graph of a structure with its labels.

    Args:
        atoms: structure; labels from ``info``, ``arrays`` or the calculator. Results that a calculator computed for
            another structure than the present one are left out, as ASE does.
        cutoff: in Angstrom.
        keys: names of the labels.
        labels: labels and conditions to read; None for all.

    Returns:
        ``Data`` with the fields of this module.

    Raises:
        ValueError: see :func:`radius_graph` and :func:`equireann_pyg.labels.read_labels`.
    """
    return labelled_graph(atoms, cutoff, read_labels(atoms, keys, labels).values)


def labelled_graph(atoms: Atoms, cutoff: float, labels: Mapping[str, Any]) -> Data:
    """Graph of a structure with the labels that are given as arrays.

    Args:
        atoms: structure.
        cutoff: in Angstrom.
        labels: float64 array of every label and condition, ``[1, ...]`` or ``[N, ...]``.

    Raises:
        ValueError: see :func:`radius_graph`.
    """
    pos = torch.tensor(atoms.get_positions(), dtype=torch.float64)
    pbc = torch.tensor(atoms.get_pbc())
    cell = torch.tensor(np.asarray(atoms.get_cell()), dtype=torch.float64)
    edge_index, edge_shift = radius_graph(pos, cutoff, cell, pbc)
    return Data(
        z=torch.tensor(atoms.get_atomic_numbers(), dtype=torch.int64),
        pos=pos,
        cell=cell.unsqueeze(0),
        pbc=pbc.unsqueeze(0),
        edge_index=edge_index,
        edge_shift=edge_shift,
        cutoff=torch.tensor([cutoff], dtype=torch.float64),
        config_type=str(atoms.info.get("config_type", "default")),
        **{name: torch.from_numpy(value) for name, value in labels.items()},
    )


def label_of(data: Data, name: str) -> Tensor:
    """Label of a graph or a batch, all NaN where a graph from elsewhere has no such field."""
    value = data.get(name)
    if value is not None:
        return value
    label = LABELS[name]
    return data.pos.new_full((data.z.numel() if label.per_atom else data.cell.size(0), *label.shape), torch.nan)


def to_ase(data: Data) -> Atoms:
    """Structure of one graph, with its finite labels in a ``SinglePointCalculator`` (the polarizability in ``info``)."""
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator

    z, pos, cell, pbc = (data[name].detach().cpu().numpy() for name in ("z", "pos", "cell", "pbc"))
    atoms = Atoms(z, pos, cell=cell[0], pbc=pbc[0])
    atoms.info["config_type"] = data.config_type
    keys = LabelKeys()
    for name in CONDITIONS:
        if name in data and bool(data[name].any()):
            atoms.info[getattr(keys, name)] = np.squeeze(data[name].detach().cpu().numpy())[()]
    labels = {name: label_of(data, name).detach().cpu().double() for name in LABELS}
    results, info = ase_results({name: value for name, value in labels.items() if bool(torch.isfinite(value).all())})
    atoms.info |= info
    if results:
        atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def ase_results(values: Mapping[str, Tensor]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Labels or predictions of one graph as results of an ASE calculator, and (without a place there) for ``info``."""
    arrays = {key: values[key].detach().cpu().numpy() for key in LABELS if key in values}
    results: dict[str, Any] = {
        key: array if LABELS[key].per_atom else array.reshape(LABELS[key].shape)[()] for key, array in arrays.items()
    }
    if "energy" in results:
        results["energy"] = float(results["energy"])  # of Python, as other calculators give it
    if "stress" in results:
        results["stress"] = results["stress"].ravel()[[0, 4, 8, 5, 2, 1]]  # Voigt: xx yy zz yz xz xy
    return results, {name: results.pop(name) for name in ("polarizability",) if name in results}


def check_cutoff(data: Data, cutoff: float) -> None:
    """Refuse a graph that was built with a shorter cutoff than ``cutoff`` (Angstrom).

    Raises:
        ValueError: with both cutoffs.
    """
    built = data.get("cutoff") if hasattr(data, "get") else None
    if built is not None and bool((built < cutoff - 1e-6).any()):
        raise ValueError(
            f"cutoff mismatch: the graph was built with {float(built.min()):g} Angstrom, the model needs "
            f"{cutoff:g}; build it with from_ase(atoms, cutoff={cutoff:g})"
        )
