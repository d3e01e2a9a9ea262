"""A message rule of your own: vectors travel, orbitals of higher degree stay at home."""

import torch
from torch import Tensor

from equireann_pyg import OrbitalNetwork, Potential, nn
from equireann_pyg.testing import assert_equivariant, randomize, sample_graphs


class UpToDegree(nn.MessageRule):
    """New coefficients, and the orbitals gathered so far up to a degree.

    Args:
        max_degree: highest degree that travels.
        hidden_channels: hidden widths of the coefficient network.
    """

    def __init__(self, max_degree: int = 1, hidden_channels: tuple[int, ...] = (32,)) -> None:
        super().__init__(hidden_channels)
        self.max_degree = max_degree

    def build(self, layout: nn.Layout, num_features: int) -> None:
        """The coefficient network ``update`` of the base class, and what is kept."""
        super().build(layout, num_features)
        self.kept = sum(layout.components[: self.max_degree + 1])

    def forward(
        self, features: Tensor, coefficient: Tensor, orbital: Tensor, orbital_sum: Tensor, species: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Coefficients ``[N, n]`` and message ``[N, lm, n]``."""
        coefficient = coefficient + self.update(features, species)
        message = coefficient.unsqueeze(1) * orbital_sum
        return coefficient, torch.cat([message[:, : self.kept], torch.zeros_like(message[:, self.kept :])], dim=1)


torch.manual_seed(0)
potential = Potential(OrbitalNetwork(["H", "C"], 4.0, nn.Density(16), UpToDegree(1), num_iterations=2)).double()
randomize(potential)  # a fresh potential gives zero
for graph in sample_graphs(potential.elements, potential.cutoff)[:3]:
    assert_equivariant(potential, graph)
rule, layout = potential.model.rules[0], potential.model.layout
print(f"{type(rule).__name__} passes on {rule.kept} of {sum(layout.components)} components; equivariant")
