"""Which atoms are neighbours: every pair within the cutoff, checked and sorted."""

from __future__ import annotations

import torch
from torch import Tensor

from equireann_pyg.graph.neighbors import torch_cluster_available, torch_cluster_edges, vesin_edges

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
    check_system(pos, cutoff, cell, pbc, batch)
    if pos.size(0) == 0:
        return torch.empty(2, 0, dtype=torch.int64, device=pos.device), pos.new_empty(0, 3)
    if not bool(pbc.any()) and torch_cluster_available(pos.device.type):
        edge_index, shift = torch_cluster_edges(pos, cutoff, batch)
    elif batch is None:
        edge_index, shift = vesin_edges(pos, cutoff, cell, pbc)
    else:
        edge_index, shift = _one_by_one(pos, cutoff, cell, pbc, batch)
    shift = shift.to(pos.dtype)
    r = (pos[edge_index[0]] - pos[edge_index[1]] + shift @ cell).norm(dim=-1)
    if bool((r < COINCIDENT).any()):
        j, i = sorted(edge_index[:, int(r.argmin())].tolist())
        raise ValueError(f"atoms {j} and {i} coincide ({float(r.min()):g} Angstrom apart): remove one")
    inside = r < cutoff
    return _sorted(edge_index[:, inside], shift[inside])


def check_system(pos: Tensor, cutoff: float, cell: Tensor, pbc: Tensor, batch: Tensor | None = None) -> None:
    """Refuse what has no neighbours that could be found; arguments and errors as of :func:`radius_graph`."""
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
    """Edges by centre, neighbour and shift."""
    if not shift.numel():
        return edge_index, shift
    order = torch.argsort(_numbered([edge_index[1], edge_index[0], *shift.long().unbind(1)]))
    return edge_index[:, order], shift[order]


def _numbered(keys: list[Tensor]) -> Tensor:
    """One number for several keys ``[E]``, the first of which counts most."""
    number = torch.zeros_like(keys[0])
    for key in keys:
        low, high = int(key.min()), int(key.max())
        if int(number.max()) >= 2**62 // (high - low + 1):  # too many: only the order of what there is counts
            number = torch.unique(number, return_inverse=True)[1]
        number = number * (high - low + 1) + (key - low)
    return number
