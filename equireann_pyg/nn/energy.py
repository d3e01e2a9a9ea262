r"""From the features of all iterations to atomic energies."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from equireann_pyg.nn.mlp import ElementLinear, ElementMLP
from equireann_pyg.nn.plan import Plan


class EnergyReadout(Plan):
    """Base class of energy readouts; a plan that the network builds.

    Args:
        hidden_channels: hidden widths of the output network.

    Shapes:
        - input: features of all iterations, T + 1 times ``[N, k]``; species ``[N]``
        - output: ``[N]``
    """

    def __init__(self, hidden_channels: Sequence[int] = (64, 64)) -> None:
        super().__init__()
        self.hidden_channels = list(hidden_channels)

    def build(self, num_species: int, num_features: int, num_iterations: int) -> None:
        """Make the networks."""
        raise TypeError(f"{type(self).__name__} must define build(num_species, num_features, num_iterations)")

    def linear_weights(self) -> list[Tensor]:
        """Parameters in which the energies are linear, see :class:`~equireann_pyg.training.warm_start.RidgeWarmStart`."""
        return []

    def forward(self, features: Sequence[Tensor], species: Tensor) -> Tensor:
        """Atomic energies."""
        raise TypeError(f"{type(self).__name__} must define forward(features, species)")


class LastReadout(EnergyReadout):
    r"""The paper's readout: a network of the last features, :math:`E_i = \mathrm{Out}_{z_i}(B_i^T)`."""

    def build(self, num_species: int, num_features: int, num_iterations: int) -> None:
        """Make the network of the last features."""
        self.network = ElementMLP(num_species, num_features, self.hidden_channels, 1)

    def forward(self, features: Sequence[Tensor], species: Tensor) -> Tensor:
        """Energies from the last features."""
        return self.network(features[-1], species).squeeze(-1)


class AllReadout(LastReadout):
    r"""A linear part for every iteration, and the network of the last one.

    .. math:: E_i = \sum_t w^t_{z_i} \cdot B_i^t + \mathrm{Out}_{z_i}(B_i^T)
    """

    def build(self, num_species: int, num_features: int, num_iterations: int) -> None:
        """Make the network and the linear part."""
        super().build(num_species, num_features, num_iterations)
        self.linear = ElementLinear(num_species, num_features * (num_iterations + 1), 1)
        self.linear.reset_parameters(gain=0.0)

    def reset_parameters(self) -> None:
        """Draw a new network; the linear part starts at zero."""
        super().reset_parameters()
        self.linear.reset_parameters(gain=0.0)

    def linear_weights(self) -> list[Tensor]:
        """Those of the linear part."""
        return [self.linear.weight, self.linear.bias]

    def forward(self, features: Sequence[Tensor], species: Tensor) -> Tensor:
        """Energies from the features of all iterations."""
        return super().forward(features, species) + self.linear(torch.cat(list(features), dim=1), species).squeeze(-1)
