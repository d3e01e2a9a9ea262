"""Neighbour lists: two engines, one signature, the same edges.

Each engine may return a few pairs beyond the cutoff and returns them in its own order:
:func:`~equireann_pyg.graph.radius_graph` makes the final cut and sorts, so that a pair right at the cutoff does not depend on
the engine.
"""

from __future__ import annotations

import torch
from torch import Tensor

Edges = tuple[Tensor, Tensor]
"""``edge_index [2, E]`` (row 0 = neighbour j, row 1 = centre i) and ``edge_shift [E, 3]`` (integers)."""

MARGIN = 1e-5
"""Relative excess of the radius that is searched, above the rounding of float32."""


def vesin_edges(pos: Tensor, cutoff: float, cell: Tensor, pbc: Tensor) -> Edges:
    """All pairs closer than ``cutoff`` by the cell lists of vesin; any cell, any mixture of periodic directions.

    Positions on a GPU are searched there where :func:`searchable_on_gpu` says so, else on the CPU.

    Args:
        pos: ``[N, 3]`` in Angstrom.
        cutoff: in Angstrom.
        cell: ``[3, 3]``, lattice vectors in rows; vesin ignores those of open directions.
        pbc: ``[3]``, periodic directions.
    """
    from vesin import NeighborList

    radius, device = (1 + MARGIN) * cutoff, pos.device
    where = device if pos.is_cuda and searchable_on_gpu(cell, pbc, radius) else torch.device("cpu")
    system = pos.detach().double().to(where), cell.detach().double().to(where), pbc.to(where)
    if where.type == "cuda":
        torch.cuda.current_stream(where).synchronize()  # vesin has a stream of its own
    found = NeighborList(cutoff=radius, full_list=True).compute(*system, quantities="ijS")
    i, j, shift = (part.to(device) for part in found)
    return torch.stack([j, i]).long(), shift


def searchable_on_gpu(cell: Tensor, pbc: Tensor, radius: float) -> bool:
    """Whether a GPU finds all pairs: of a crystal whose cell is two radii high in every direction. That was checked on one.

    Args:
        cell: ``[3, 3]`` lattice vectors in rows, in Angstrom.
        pbc: ``[3]`` periodic directions.
        radius: that is searched, in Angstrom.
    """
    heights = 1 / torch.linalg.pinv(cell.detach().double().cpu()).norm(dim=0)  # -> [3]
    return bool(pbc.all()) and bool((heights >= 2 * radius).all())


def torch_cluster_edges(pos: Tensor, cutoff: float, batch: Tensor | None = None) -> Edges:
    """All pairs of open systems closer than ``cutoff``, for many graphs at once and on the device of ``pos``.

    Calls ``torch_cluster`` itself with room for every neighbour: the usual limit of 32 would drop pairs silently.

    Args:
        pos: ``[N, 3]`` in Angstrom.
        cutoff: in Angstrom.
        batch: graph of each atom ``[N]``, sorted; one graph if None.
    """
    from torch_cluster import radius_graph

    largest = pos.size(0) if batch is None else int(torch.bincount(batch).max())
    edge_index = radius_graph(
        pos.detach(), (1 + MARGIN) * cutoff, batch, loop=False, max_num_neighbors=largest, flow="source_to_target"
    )  # row 0 = neighbour (source), row 1 = centre (target)
    return edge_index, pos.new_zeros(edge_index.size(1), 3)


def torch_cluster_available(device: str = "cpu") -> bool:
    """Whether torch_cluster can be imported and was built for a kind of device."""
    try:
        import torch_cluster  # noqa: F401
    except (ImportError, OSError):
        return False
    return device == "cpu" or (device == "cuda" and torch.ops.torch_cluster.cuda_version() != -1)
