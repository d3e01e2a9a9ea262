"""Batches of a fixed size: a ghost graph fills up what is missing, and nobody sees it.

Ghost atoms stand beside the batch in a graph of their own. Ghost edges join each of them to an image of itself two cutoffs
away. So nothing of the batch has another neighbour than before, and what is computed for the ghosts is cut off afterwards.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from equireann_pyg.properties.base import GraphTensors

GROWTH = 1.1
"""Next capacity over the last."""

SPARE = 0.25
"""Part of the atoms or edges that may be ghosts where a larger capacity than the next one is there already."""

PER_GHOST = 64
"""Most ghost edges of a ghost atom, about as many as real atoms have: kernels work atom by atom, and wait for the longest."""


class Sizes(NamedTuple):
    """Numbers of atoms N, edges E and graphs G."""

    atoms: int
    edges: int
    graphs: int


SMALLEST = Sizes(atoms=16, edges=64, graphs=8)
"""Least capacities."""

ROWS: dict[str, tuple[str, int]] = {
    "z": ("atoms", 0),
    "pos": ("atoms", 0),
    "cell": ("graphs", 0),
    "edge_index": ("edges", 1),
    "edge_shift": ("edges", 0),
    "batch": ("atoms", 0),
    "pbc": ("graphs", 0),
    "total_charge": ("graphs", 0),
    "field": ("graphs", 0),
}
"""What the rows of each field of a graph are, and the dimension that counts them."""


def sizes_of(graph: GraphTensors) -> Sizes:
    """Numbers of atoms, edges and graphs of a batch."""
    return Sizes(graph.z.numel(), graph.edge_index.size(1), graph.cell.size(0))


def capacity(number: int, smallest: int) -> int:
    """Smallest number that holds ``number`` in a series from ``smallest`` on, each about a tenth larger than the last."""
    size = smallest
    while size < number:
        size = math.ceil(GROWTH * size)
    return size


def room_for(sizes: Sizes) -> Sizes:
    """Capacities for batches of about these sizes, with a graph and at least one atom for the ghosts."""
    edges = capacity(sizes.edges, SMALLEST.edges)
    atoms = capacity(sizes.atoms + _ghosts(edges - sizes.edges), SMALLEST.atoms)
    return Sizes(atoms, edges, capacity(sizes.graphs + 1, SMALLEST.graphs))


def fits(sizes: Sizes, room: Sizes) -> bool:
    """Whether a batch of these sizes has room, and would not leave too much of it to ghosts."""
    atoms, edges = room.atoms - sizes.atoms, room.edges - sizes.edges
    return (
        room.graphs > sizes.graphs
        and 0 <= edges <= SMALLEST.edges + SPARE * sizes.edges
        and 0 <= atoms - _ghosts(edges) <= SMALLEST.atoms + SPARE * sizes.atoms
    )


def _ghosts(edges: int) -> int:
    """Least number of ghost atoms for so many ghost edges."""
    return max(1, math.ceil(edges / PER_GHOST))


def padded(graph: GraphTensors, room: Sizes, cutoff: float) -> GraphTensors:
    """A batch with ghosts: the first N atoms, E edges and G graphs are those of the batch, the rest changes nothing of them.

    Args:
        graph: fields of one graph or of a batch, with at least one atom.
        room: numbers of atoms, edges and graphs wanted: at least one atom and one graph more than there are.
        cutoff: of the model in Angstrom.

    Returns:
        fields of ``room`` sizes, always with a ``batch``; edges stay sorted by their centres.

    Raises:
        ValueError: if the batch has no atom, or no room.
    """
    made = empty_like(graph, room)
    fill(made, graph)
    fill_ghosts(made, sizes_of(graph), cutoff)
    return made


def empty_like(graph: GraphTensors, room: Sizes) -> GraphTensors:
    """Memory for a batch of these sizes, with the optional fields that ``graph`` has, and a ``batch``."""
    fields: dict[str, Tensor | None] = {}
    for name, tensor in graph._replace(batch=graph.z)._asdict().items():
        if tensor is None:
            fields[name] = None
            continue
        rows, dim = ROWS[name]
        fields[name] = tensor.new_zeros(*tensor.shape[:dim], getattr(room, rows), *tensor.shape[dim + 1 :])
    return GraphTensors(**fields)  # type: ignore[arg-type]


def fill(into: GraphTensors, graph: GraphTensors) -> None:
    """Write a batch in front of the ghosts.

    Raises:
        ValueError: if the batch has no atom, or no room.
    """
    sizes, room = sizes_of(graph), sizes_of(into)
    if not sizes.atoms or room.atoms <= sizes.atoms or room.edges < sizes.edges or room.graphs <= sizes.graphs:
        raise ValueError(
            f"padding: expected at least one atom and room for a ghost beside the batch, got {sizes} for {room}; evaluate "
            "this batch by the potential itself"
        )
    for name, place, tensor in zip(GraphTensors._fields, into, graph, strict=True):
        if place is not None:
            rows, dim = ROWS[name]
            part = place.narrow(dim, 0, getattr(sizes, rows))
            if tensor is None:
                part.zero_()  # a single graph has no batch
            else:
                part.copy_(tensor)


def fill_ghosts(into: GraphTensors, sizes: Sizes, cutoff: float) -> None:
    """Write the ghosts behind a batch that is there.

    Args:
        into: memory of the batch and the ghosts.
        sizes: of the batch alone.
        cutoff: of the model in Angstrom.
    """
    room = sizes_of(into)
    behind: dict[str, Tensor] = {}
    for name, place in into._asdict().items():
        if place is not None:
            rows, dim = ROWS[name]
            at = getattr(sizes, rows)
            behind[name] = place.narrow(dim, at, getattr(room, rows) - at).zero_()
    behind["z"].copy_(into.z[:1].expand_as(behind["z"]))  # an element that the model knows
    behind["batch"].fill_(room.graphs - 1)
    behind["cell"].diagonal(dim1=1, dim2=2).fill_(2 * cutoff)
    behind["edge_shift"].narrow(1, 0, 1).fill_(1)
    missing, ghosts = room.edges - sizes.edges, room.atoms - sizes.atoms
    if missing:
        number = torch.arange(missing, device=into.z.device)
        centre = torch.div(number * ghosts, missing, rounding_mode="floor") + sizes.atoms  # each has its share
        behind["edge_index"].copy_(centre.expand(2, -1))
