"""The graph of one part of a structure: its own atoms, the edges that end in them, and the ghosts where these begin."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from equireann_pyg.engines.domains.partition import Frame
from equireann_pyg.graph.neighbors import vesin_edges
from equireann_pyg.graph.radius import COINCIDENT


class Part(NamedTuple):
    """What one process evaluates. Nodes are the ghosts, then the own atoms, each atom once."""

    own: Tensor
    """Numbers of the own atoms in the structure, ascending ``[n]``."""

    ghosts: Tensor
    """Numbers of the ghosts, sorted by owner and then ascending ``[g]``."""

    edge_index: Tensor
    """``[2, E]``, row 0 any nodes, row 1 own atoms, sorted."""

    edge_shift: Tensor
    """Lattice translations of the positions as they are ``[E, 3]``."""

    @property
    def nodes(self) -> Tensor:
        """Numbers of all nodes ``[g + n]``."""
        return torch.cat([self.ghosts, self.own])


def part_of(frame: Frame, cell: Tensor, owner: Tensor, rank: int, cutoff: float) -> Part:
    """Search the neighbours of the atoms of one process, among those and what is near them.

    Args:
        frame: all atoms of the structure.
        cell: lattice vectors in rows ``[3, 3]``.
        owner: process of each atom ``[N]``.
        rank: the process.
        cutoff: in Angstrom.

    Raises:
        ValueError: if two atoms coincide.
    """
    own = (owner == rank).nonzero().squeeze(1)
    atoms, shifts = near(frame, own, owner == rank, cutoff)
    points = torch.cat([own, atoms])  # atom of each candidate
    shifts = torch.cat([shifts.new_zeros(len(own), 3), shifts])
    j, i, r = _pairs(frame.pos[points] + shifts @ cell, len(own), cutoff)
    if bool((r < COINCIDENT).any()):
        closest = int(r.argmin())
        first, second = sorted([int(points[j[closest]]), int(points[i[closest]])])
        raise ValueError(f"atoms {first} and {second} coincide ({float(r.min()):g} Angstrom apart): remove one")
    neighbours = points[j]
    foreign = neighbours[owner[neighbours] != rank].unique()
    ghosts = foreign[owner[foreign].argsort(stable=True)]
    node = torch.empty_like(owner)
    node[torch.cat([ghosts, own])] = torch.arange(len(ghosts) + len(own))
    shift = shifts[j] - frame.wraps[neighbours] + frame.wraps[own[i]]
    return Part(own, ghosts, torch.stack([node[neighbours], i + len(ghosts)]), shift)


def _pairs(pos: Tensor, own: int, cutoff: float) -> tuple[Tensor, Tensor, Tensor]:
    """Candidates j, own atoms i, which are the first candidates, and distances of the pairs, sorted by i and j."""
    if not own:
        return torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.int64), pos.new_empty(0)
    j, i = vesin_edges(pos, cutoff, pos.new_zeros(3, 3), torch.zeros(3, dtype=torch.bool))[0]
    ours = i < own
    j, i = j[ours], i[ours]
    r = (pos[j] - pos[i]).norm(dim=1)
    inside = r < cutoff
    j, i, r = j[inside], i[inside], r[inside]
    order = (i * len(pos) + j).argsort()
    return j[order], i[order], r[order]


def near(frame: Frame, own: Tensor, mine: Tensor, reach: float) -> tuple[Tensor, Tensor]:
    """Atoms, and images of atoms, that may be within reach of the own atoms, without these themselves.

    Args:
        frame: all atoms of the structure.
        own: numbers of the own atoms ``[n]``.
        mine: whether each atom of the structure is one of them ``[N]``.
        reach: in Angstrom.

    Returns:
        numbers of the atoms ``[m]`` and lattice vectors to add to their places within the cell ``[m, 3]``, integers.
    """
    atoms, shifts = torch.arange(len(frame.pos)), frame.pos.new_zeros(len(frame.pos), 3)
    if not len(own):
        return atoms[:0], shifts[:0]
    box = frame.place[own]
    low, high = (box.amin(0) - reach).tolist(), (box.amax(0) + reach).tolist()
    for k, height in enumerate(frame.heights.tolist()):
        found = []
        for image in _images(low[k], high[k], height):
            offset = image * height if image else 0.0  # an open direction has an infinite height, and image 0 only
            found.append((_between(frame.place[atoms, k], offset, low[k], high[k]), image))
        shifts = torch.cat([shifts[kept].index_fill(1, torch.tensor([k]), image) for kept, image in found])
        atoms = torch.cat([atoms[kept] for kept, _ in found])
    other = ~mine[atoms] | (shifts != 0).any(1)
    return atoms[other], shifts[other]


def _images(low: float, high: float, height: float) -> range:
    """Images of the cell that may reach into an interval; the cell itself in open directions."""
    return range(1) if math.isinf(height) else range(math.floor(low / height) - 1, math.floor(high / height) + 2)


def _between(place: Tensor, offset: float, low: float, high: float) -> Tensor:
    return ((place + offset >= low) & (place + offset <= high)).nonzero().squeeze(1)
