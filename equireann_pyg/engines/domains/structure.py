"""A structure as processes tell it to each other."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import torch
from torch import Tensor
from torch_geometric.data import Data

from equireann_pyg.elements import check_known
from equireann_pyg.graph.radius import check_system
from equireann_pyg.inference.calculator import check_structure
from equireann_pyg.potential.potential import Potential


class Structure(NamedTuple):
    """Atoms and cell, on the CPU."""

    z: Tensor
    """Atomic numbers ``[N]``."""

    pos: Tensor
    """Positions ``[N, 3]`` in Angstrom, float64."""

    cell: Tensor
    """Lattice vectors in rows ``[3, 3]`` in Angstrom, float64."""

    pbc: Tensor
    """Periodic directions ``[3]``."""

    due: bool = True
    """Whether neighbours are to be searched anew."""

    @classmethod
    def of(cls, numbers: Tensor, places: Tensor, due: bool) -> Structure:
        """From what :meth:`numbers` and :meth:`places` give."""
        return cls(numbers[3:], places[3:], places[:3], numbers[:3].bool(), due)

    def numbers(self) -> Tensor:
        """Its integers: periodic directions and atomic numbers ``[3 + N]``."""
        return torch.cat([self.pbc.long(), self.z])

    def places(self) -> Tensor:
        """Its lengths: cell and positions ``[3 + N, 3]``."""
        return torch.cat([self.cell, self.pos])

    def header(self) -> tuple[int, int, int]:
        """Number of atoms, a digest of :meth:`numbers`, and whether neighbours are to be searched."""
        digest = hashlib.blake2b(self.numbers().numpy().tobytes(), digest_size=7).digest()
        return len(self.z), int.from_bytes(digest, "big"), int(self.due)


def structure_of(data: Data) -> Structure:
    """Structure of a graph, whose edges do not matter."""
    pos, cell = (data[name].detach().to("cpu", torch.float64, copy=True) for name in ("pos", "cell"))
    return Structure(data.z.cpu(), pos, cell.reshape(3, 3), data.pbc.reshape(3).cpu())


def check_all(structure: Structure, potential: Potential, cutoff: float) -> None:
    """Refuse a structure that cannot be evaluated.

    Raises:
        ValueError: for elements that the potential does not know, or was not trained on, numbers that are not finite, and for
            whatever has no neighbours that could be found within ``cutoff`` (Angstrom).
    """
    from ase import Atoms

    check_known(structure.z, potential.elements)
    potential.check_trained(structure.z)
    check_structure(Atoms(structure.z.numpy(), structure.pos.numpy(), cell=structure.cell.numpy()))
    check_system(structure.pos, cutoff, structure.cell, structure.pbc)
