"""Large systems: exact energy, forces and stress with a memory that is bounded per atom."""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor
from torch_geometric.data import Data

from equireann_pyg.inference.form import Form, shares, sharing_copy
from equireann_pyg.inference.memory import expected_bytes
from equireann_pyg.models.network import OrbitalNetwork
from equireann_pyg.ops.values import waiting
from equireann_pyg.potential.potential import Potential


class BlockPotential(Form):
    """A potential that works through a large system block by block; the results are those of the potential.

    Message passing needs all atoms of one iteration before the next, so an evaluation is several sweeps over the system,
    forward through the iterations and back again. Each sweep keeps what links the sweeps: orbitals, coefficients, messages
    and features of the atoms, and of the edges their vectors and numbers. Everything in between, the functions of the
    edges among it, exists for one block of atoms and the edges that end in them, and is made again on the way back. Edges in
    any order are sorted once. For inference only.

    Sums over the neighbours of an atom keep their order, and so do energies and features but for products of matrices, which
    may round otherwise for fewer rows. Forces and stress are sums over blocks and iterations in another order than without
    blocks; in float64 they agree to a relative 1e-12.

    Args:
        potential: potential of an :class:`~equireann_pyg.OrbitalNetwork`; it stays as it is, and every call
            uses its weights as they are then.
        block_size: atoms at a time, or about twenty times as many edges.

    Raises:
        TypeError: if the model knows no blocks.
        ValueError: if ``block_size`` is not positive.
    """

    def __init__(self, potential: Potential, block_size: int = 2048) -> None:
        if block_size < 1:
            raise ValueError(f"block_size: expected 1 or more atoms, got {block_size}")
        if not hasattr(potential.model, "block_size"):
            raise TypeError(
                f"{type(potential.model).__name__} cannot be evaluated in blocks: only an OrbitalNetwork can"
            )
        self.potential, self.block_size = potential, block_size
        self._in_blocks = self._copy()

    def _copy(self) -> Potential:
        """The potential in blocks, with the same weights and statistics."""
        made = sharing_copy(self.potential)
        cast(Any, made.model).block_size = self.block_size
        return made

    def __call__(self, data: Data, forces: bool = True, stress: bool | None = None) -> dict[str, Tensor]:
        """Energy, forces and stress; arguments, results and errors as of :meth:`equireann_pyg.Potential.forward`."""
        if not shares(self._in_blocks, self.potential):
            self._in_blocks = self._copy()
        self._in_blocks.allow_untrained = self.potential.allow_untrained
        with waiting():
            return self._in_blocks(data, forces, stress)

    def expected_bytes(self, atoms: int, edges: int) -> int:
        """Memory of energy and forces of so many atoms and edges, the graph included, the temporary tensors of a block not."""
        return expected_bytes(cast(OrbitalNetwork, self.potential.model), atoms, edges)
