"""Large systems: exact energy, forces and stress with a memory that is bounded per atom."""

from __future__ import annotations

import torch
from torch import Tensor
from torch_geometric.data import Data

from equireann_pyg.nn.blocks import row_blocks
from equireann_pyg.potential.potential import Potential


class BlockPotential:
    """A potential that works through a large system block by block; the results are those of the potential, bit for bit.

    Message passing needs all atoms of one iteration before the next, so an evaluation is several sweeps over the system,
    forward through the iterations and back again. Each sweep keeps what links the sweeps, the orbitals and coefficients of
    the atoms and the basis functions of the edges; everything in between exists for one block at a time and is made again
    on the way back. For inference only.

    Args:
        potential: potential; it is put into evaluation mode.
        block_size: atoms at a time, or about twenty times as many edges.

    Raises:
        ValueError: if ``block_size`` is not positive.
    """

    def __init__(self, potential: Potential, block_size: int = 2048) -> None:
        if block_size < 1:
            raise ValueError(f"block_size: expected 1 or more atoms, got {block_size}")
        self.potential = potential.eval()
        self.block_size = block_size

    @property
    def cutoff(self) -> float:
        """Cutoff of the potential in Angstrom."""
        return self.potential.cutoff

    @property
    def elements(self) -> list[int]:
        """Atomic numbers the potential knows."""
        return self.potential.elements

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of the arithmetic."""
        return self.potential.dtype

    def __call__(self, data: Data, forces: bool = True, stress: bool | None = None) -> dict[str, Tensor]:
        """See :meth:`equireann_pyg.Potential.forward`."""
        with row_blocks(self.block_size):
            return self.potential(data, forces, stress)
