"""Vectors along the edges of a graph, and the cutoff that it was built with."""

from __future__ import annotations

import torch
from torch import Tensor
from torch_geometric.data import Data

from equireann_pyg.graph.known import known, question


def edge_vectors(data: Data) -> Tensor:
    r"""Vectors :math:`\mathbf r_{ij} = \mathbf r_j + S\,\mathrm{cell} - \mathbf r_i` of a graph or a batch, ``[E, 3]``."""
    return edge_differences(data.pos, data.cell, data.edge_index, data.edge_shift, data.batch)


def edge_differences(pos: Tensor, cell: Tensor, edge_index: Tensor, edge_shift: Tensor, batch: Tensor | None) -> Tensor:
    """:func:`edge_vectors` of the bare fields; ``batch`` is None for a single graph."""
    j, i = edge_index
    if batch is None:
        return pos[j] - pos[i] + edge_shift @ cell[0]
    return pos[j] - pos[i] + torch.einsum("ea,eab->eb", edge_shift, cell[batch[i]])


@question("cutoff")
def smallest(cutoff: Tensor) -> float:
    """Smallest of the cutoffs ``[G]`` in Angstrom, infinite without any."""
    return min(cutoff.flatten().tolist(), default=float("inf"))


def check_cutoff(data: Data, cutoff: float) -> None:
    """Refuse a graph that was built with a shorter cutoff than ``cutoff`` (Angstrom).

    Raises:
        ValueError: with both cutoffs.
    """
    built = data.get("cutoff") if hasattr(data, "get") else None
    if built is not None and known(smallest, built) < cutoff - 1e-6:
        raise ValueError(
            f"cutoff mismatch: the graph was built with {known(smallest, built):g} Angstrom, the model needs "
            f"{cutoff:g}; build it with from_ase(atoms, cutoff={cutoff:g})"
        )
