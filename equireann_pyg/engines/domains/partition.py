r"""Space divided among processes: recursive bisection into parts with equal numbers of atoms.

Coordinates are distances from the faces of the cell, :math:`h_k = \mathbf r \cdot \mathbf n_k`, with the unit normals of the
faces: a distance between two atoms is never shorter than the difference of one of these. Moving by the lattice vector k
changes :math:`h_k` by the height :math:`H_k` of the cell, and no other. In open directions the normals stand on the periodic
ones.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Frame(NamedTuple):
    """Atoms within the cell, in its coordinates."""

    pos: Tensor
    """Positions within the cell ``[N, 3]`` in Angstrom."""

    place: Tensor
    """Coordinates h ``[N, 3]`` in Angstrom."""

    wraps: Tensor
    """Lattice vectors that were taken off the positions, integers ``[N, 3]``."""

    heights: Tensor
    """H ``[3]`` in Angstrom; infinite in open directions."""


def frame_of(pos: Tensor, cell: Tensor, pbc: Tensor) -> Frame:
    """Atoms within the cell.

    Args:
        pos: ``[N, 3]`` in Angstrom.
        cell: lattice vectors in rows ``[3, 3]``; those of open directions count nothing.
        pbc: periodic directions ``[3]``.
    """
    basis = torch.zeros(3, 3, dtype=pos.dtype)
    basis[pbc] = cell[pbc]
    if not bool(pbc.all()):
        basis[~pbc] = torch.linalg.svd(basis[pbc])[2][int(pbc.sum()) :]  # orthogonal to the periodic ones
    inverse = torch.linalg.inv(basis)
    heights = 1 / inverse.norm(dim=0)
    scaled = pos @ inverse
    wraps = torch.where(pbc, scaled.floor(), 0.0)
    return Frame(pos - wraps @ basis, (scaled - wraps) * heights, wraps, torch.where(pbc, heights, torch.inf))


def divided(place: Tensor, parts: int) -> Tensor:
    """Part of each atom ``[N]``: the longest direction is cut in two, and so on, until there are as many parts as wanted.

    Parts differ by few atoms; where there are fewer atoms than parts, some have none.

    Args:
        place: coordinates ``[N, 3]``.
        parts: their number, any.
    """
    owner = torch.zeros(len(place), dtype=torch.int64)
    _divide(place, torch.arange(len(place)), 0, parts, owner)
    return owner


def _divide(place: Tensor, atoms: Tensor, first: int, parts: int, owner: Tensor) -> None:
    if parts == 1 or not len(atoms):
        owner[atoms] = first
        return
    here, low = place[atoms], parts // 2
    direction = int((here.amax(0) - here.amin(0)).argmax())
    order = here[:, direction].argsort(stable=True)
    cut = (2 * len(atoms) * low + parts) // (2 * parts)  # rounded
    _divide(place, atoms[order[:cut]], first, low, owner)
    _divide(place, atoms[order[cut:]], first + low, parts - low, owner)
