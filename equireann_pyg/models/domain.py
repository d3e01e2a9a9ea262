"""What a network knows of a system that is divided among processes: which atoms are its own, and what brings it the rest."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from equireann_pyg.ops.exchange import exchange


class Whole(NamedTuple):
    """A system that is not divided: all nodes are its own."""

    def own(self, rows: Tensor) -> Tensor:
        """Rows of the own atoms: all of them."""
        return rows

    def everywhere(self, *fields: Tensor) -> list[Tensor]:
        """Rows of all nodes from those of the own atoms: the same."""
        return list(fields)


class Domain(NamedTuple):
    """A part of a system. Of its nodes the ghosts come first, then its own atoms, in which all edges end."""

    ghosts: int
    """Number of ghosts g: atoms that other domains own, or images of atoms."""

    halo: int
    """Number of the :class:`~equireann_pyg.ops.exchange.Halo`."""

    def own(self, rows: Tensor) -> Tensor:
        """Rows of the own atoms, ``[g + n, ...]`` -> ``[n, ...]``."""
        return rows.narrow(0, self.ghosts, rows.size(0) - self.ghosts)

    def everywhere(self, *fields: Tensor) -> list[Tensor]:
        """Rows of all nodes from those of the own atoms, ``[n, ...]`` -> ``[g + n, ...]``: of all fields at once."""
        size = self.ghosts + fields[0].size(0)
        rows = exchange(torch.cat([field.flatten(1) for field in fields], dim=1), size, self.halo)
        parts = rows.split([field.shape[1:].numel() for field in fields], dim=1)
        return [part.reshape(size, *field.shape[1:]) for part, field in zip(parts, fields, strict=True)]
