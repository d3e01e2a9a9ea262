"""A network that sees a part of a system, as a potential wants to have it."""

from __future__ import annotations

import torch
from torch import Tensor

from equireann_pyg.models.domain import Domain, Whole
from equireann_pyg.models.network import OrbitalNetwork


class PartNetwork(torch.nn.Module):
    """Atomic energies of a domain's nodes, zero for the ghosts, whose energies others count.

    Args:
        network: network, which is told of the domain for the time of a call.

    Attributes:
        domain: part of the system that the graphs are.

    Raises:
        TypeError: for another model: only an :class:`~equireann_pyg.OrbitalNetwork` can be told what others know.
    """

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        if not isinstance(network, OrbitalNetwork):
            raise TypeError(
                f"{type(network).__name__} cannot be evaluated in parts: only an OrbitalNetwork (EANN, REANN, EquiREANN, "
                "EquiREANNPlus) exchanges what its atoms know"
            )
        self.network, self.cutoff, self.elements = network, network.cutoff, network.elements
        self.domain: Whole | Domain = Whole()

    def forward(self, z: Tensor, edge_index: Tensor, edge_vec: Tensor, edge_order: Tensor | None = None) -> Tensor:
        """Atomic energies ``[g + n]``, of the ghosts first."""
        before, self.network.domain = self.network.domain, self.domain
        try:
            energy = self.network(z, edge_index, edge_vec, edge_order)  # -> [n]
        finally:
            self.network.domain = before
        return torch.cat([energy.new_zeros(z.numel() - energy.numel()), energy])
