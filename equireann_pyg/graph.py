r"""Graphs of atomic structures: ``ase.Atoms`` to PyG ``Data`` and back.

Fields of every graph:

=============  ===============  ============================================================================
``z``          ``[N]`` int64    atomic numbers
``pos``        ``[N, 3]``       positions in Angstrom
``cell``       ``[1, 3, 3]``    lattice vectors in rows, zeros for open systems
``pbc``        ``[1, 3]`` bool  periodic directions
``edge_index`` ``[2, E]`` int64 row 0 = neighbour j, row 1 = centre i, sorted by i
``edge_shift`` ``[E, 3]``       integer lattice translations S: r_ij = pos_j + S cell - pos_i
``energy``     ``[1]``          eV
``forces``     ``[N, 3]``       eV/Angstrom
``stress``     ``[1, 3, 3]``    eV/Angstrom^3, ASE's sign (positive under tension)
``cutoff``     ``[1]``          cutoff the graph was built with, in Angstrom
``config_type`` str             label of the kind of configuration
=============  ===============  ============================================================================

All numbers are float64; unknown labels are NaN.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data

from equireann_pyg.neighbors import torch_cluster_available, torch_cluster_edges, vesin_edges

if TYPE_CHECKING:
    from ase import Atoms

COINCIDENT = 1e-3
"""Atoms closer than this, in Angstrom, are an error."""


@dataclass(frozen=True)
class LabelKeys:
    """Names under which a file keeps its labels.

    The default names also stand for the results of an attached ASE calculator, which is where ASE's readers put them.

    Args:
        energy: total energy in eV.
        forces: forces in eV/Angstrom.
        stress: stress in eV/Angstrom^3, ASE's sign; 6 (Voigt), 9 or 3 x 3 numbers.
    """

    energy: str = "energy"
    forces: str = "forces"
    stress: str = "stress"


def radius_graph(
    pos: Tensor, cutoff: float, cell: Tensor | None = None, pbc: Tensor | None = None, batch: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Every pair of atoms, and of an atom with a periodic image, closer than ``cutoff``; no limit on neighbours.

    Open systems go through torch_cluster when it is installed, all others through vesin.

    Args:
        pos: ``[N, 3]`` in Angstrom.
        cutoff: in Angstrom.
        cell: ``[3, 3]`` lattice vectors in rows, or None.
        pbc: ``[3]`` periodic directions, or None for an open system.
        batch: graph of each atom ``[N]``, sorted, for a batch of open systems.

    Returns:
        ``edge_index [2, E]`` and ``edge_shift [E, 3]``, sorted by centre, neighbour and shift.

    Raises:
        ValueError: for a non-positive cutoff, non-finite positions, a cell without volume in a periodic direction,
            coincident atoms, or a batch of periodic systems.
    """
    if not cutoff > 0:
        raise ValueError(f"cutoff: expected a positive length in Angstrom, got {cutoff}")
    if not bool(torch.isfinite(pos).all()):
        raise ValueError("positions are not finite: remove the frame or repair it")
    pbc = torch.zeros(3, dtype=torch.bool) if pbc is None else pbc.reshape(3).bool()
    cell = pos.new_zeros(3, 3) if cell is None else cell.reshape(3, 3)
    periodic = bool(pbc.any())
    if periodic and batch is not None:
        raise ValueError("batch: periodic systems need one call each; build each graph with from_ase")
    if periodic:
        _check_cell(cell, pbc)
        edge_index, shift = vesin_edges(pos, cutoff, cell, pbc)
    elif torch_cluster_available() or batch is not None:
        edge_index, shift = torch_cluster_edges(pos, cutoff, batch)
    else:
        edge_index, shift = vesin_edges(pos, cutoff, cell, pbc)
    edge_index, shift = _sorted(edge_index, shift)
    r = (pos[edge_index[0]] - pos[edge_index[1]] + shift.to(pos.dtype) @ cell.to(pos.dtype)).norm(dim=-1)
    if bool((r < COINCIDENT).any()):
        j, i = edge_index[:, int(r.argmin())].tolist()
        raise ValueError(f"atoms {i} and {j} coincide ({float(r.min()):g} Angstrom apart): remove one")
    inside = r < cutoff
    return edge_index[:, inside], shift[inside]


def _check_cell(cell: Tensor, pbc: Tensor) -> None:
    vectors = cell[pbc].double()  # -> [P, 3]
    if float(torch.linalg.det(vectors @ vectors.T)) < 1e-12:
        raise ValueError(
            f"pbc is {pbc.tolist()} but the cell {cell.tolist()} has no volume there: set the cell or pbc=False"
        )


def _sorted(edge_index: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    keys = [shift[:, 2], shift[:, 1], shift[:, 0], edge_index[0], edge_index[1]]
    order = torch.from_numpy(np.lexsort([key.cpu().numpy() for key in keys])).to(edge_index.device)
    return edge_index[:, order], shift[order]


def edge_vectors(data: Data) -> Tensor:
    r"""Vectors :math:`\mathbf r_{ij} = \mathbf r_j + S\,\mathrm{cell} - \mathbf r_i` of a graph or a batch, ``[E, 3]``."""
    j, i = data.edge_index
    batch = data.batch
    cell = data.cell[0] if batch is None else data.cell[batch[i]]  # -> [3, 3] or [E, 3, 3]
    shift = data.edge_shift @ cell if batch is None else torch.einsum("ea,eab->eb", data.edge_shift, cell)
    return data.pos[j] - data.pos[i] + shift


def from_ase(atoms: Atoms, cutoff: float, *, keys: LabelKeys | None = None) -> Data:
    """Graph of a structure with its labels.

    Args:
        atoms: structure; labels from ``info``, ``arrays`` or the calculator.
        cutoff: in Angstrom.
        keys: names of the labels.

    Returns:
        ``Data`` with the fields of this module.

    Raises:
        ValueError: see :func:`radius_graph`; also for labels that are not finite or of the wrong shape.
    """
    pos = torch.tensor(atoms.get_positions(), dtype=torch.float64)
    pbc = torch.tensor(atoms.get_pbc())
    cell = torch.tensor(np.asarray(atoms.get_cell()), dtype=torch.float64)
    edge_index, edge_shift = radius_graph(pos, cutoff, cell, pbc)
    labels = _labels(atoms, LabelKeys() if keys is None else keys)
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


def _labels(atoms: Atoms, keys: LabelKeys) -> dict[str, Any]:
    shapes = {"energy": (1,), "forces": (len(atoms), 3), "stress": (1, 3, 3)}
    labels = {}
    for name, shape in shapes.items():
        key = getattr(keys, name)
        value = find_label(atoms, key)
        if value is None:
            labels[name] = np.full(shape, np.nan)
            continue
        value = np.asarray(value, dtype=np.float64)
        if name == "stress" and value.size == 6:
            value = value.ravel()[[0, 5, 4, 5, 1, 3, 4, 3, 2]]
        if value.size != np.prod(shape):
            raise ValueError(f"label '{key}': expected {name} of shape {list(shape)}, got {list(value.shape)}")
        if not np.isfinite(value).all():
            raise ValueError(f"label '{key}' is not finite: remove the label or the frame")
        labels[name] = value.reshape(shape).copy()
    return labels


def find_label(atoms: Atoms, key: str) -> Any:
    """The label ``key`` from ``info``, ``arrays`` or the calculator's results; None where there is none."""
    for place in (atoms.info, atoms.arrays, getattr(atoms.calc, "results", {})):
        if key in place:
            return place[key]
    return None


def to_ase(data: Data) -> Atoms:
    """Structure of one graph, with its finite labels in a ``SinglePointCalculator``."""
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator

    atoms = Atoms(data.z.numpy(), data.pos.numpy(), cell=data.cell[0].numpy(), pbc=data.pbc[0].numpy())
    atoms.info["config_type"] = data.config_type
    results = {}
    if bool(torch.isfinite(data.energy).all()):
        results["energy"] = float(data.energy)
    if bool(torch.isfinite(data.forces).all()):
        results["forces"] = data.forces.numpy()
    if bool(torch.isfinite(data.stress).all()):
        results["stress"] = data.stress[0].numpy().ravel()[[0, 4, 8, 5, 2, 1]]
    if results:
        atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms
