"""A descriptor of your own: one class, that every message rule makes a message-passing model of."""

import torch
from torch import Tensor

from equireann_pyg import OrbitalNetwork, Potential, nn
from equireann_pyg.testing import assert_equivariant, randomize, sample_graphs


class Spectrum(nn.Descriptor):
    r"""Squared norm of every degree and channel, :math:`\sum_m \phi_{lm,k}^2 / (2l + 1)`, after mixing the channels.

    Args:
        num_channels: number of channels k.
    """

    def __init__(self, num_channels: int = 8) -> None:
        super().__init__()
        self.num_channels = num_channels  # an attribute for each argument: files and copies follow from it

    def build(self, layout: nn.Layout) -> None:
        """Parts for orbitals of this layout; the network builds a copy for each iteration."""
        layout.require_harmonics("Spectrum")
        self.mix = nn.DegreeLinear(layout.components, layout.num_channels, self.num_channels)
        self.dot = nn.DegreeDot(layout.components)
        self.num_features = (layout.max_degree + 1) * self.num_channels

    def forward(self, orbital: Tensor, species: Tensor) -> Tensor:
        """Orbitals ``[N, lm, n]`` to invariants ``[N, (L + 1) k]``."""
        mixed = self.mix(orbital)  # -> [N, lm, k]
        squares = self.dot(mixed, mixed).split(self.num_channels, dim=1)  # -> (L + 1) x [N, k]
        return torch.cat([square / (2 * degree + 1) for degree, square in enumerate(squares)], dim=1)


for rule in (nn.Invariant(), nn.Equivariant(), nn.Directed()):
    torch.manual_seed(0)
    network = OrbitalNetwork(["H", "C"], 4.0, Spectrum(), rule, num_iterations=2)
    potential = Potential(network).double()
    randomize(potential)  # a fresh potential gives zero
    for graph in sample_graphs(potential.elements, potential.cutoff)[:3]:
        assert_equivariant(potential, graph)  # rotated structures: the same energy, rotated forces
    count = sum(parameter.numel() for parameter in network.parameters())
    print(f"{type(rule).__name__}: {network.num_features} features, {count} parameters, equivariant")
