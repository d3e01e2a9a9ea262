"""The descriptor of the neuroevolution potential (NEP), as an example of a descriptor from somewhere else.

python -m experiments.descriptors.nep
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from equireann_pyg import OrbitalNetwork, edge_vectors, nn
from equireann_pyg.testing import make_graph


class NEP(nn.Descriptor):
    r"""Radial and angular descriptors of NEP, with learned radial functions :math:`g_k(r) = \sum_n c_{nk} R_n(r)`.

    .. math:: q_{ik} = \sum_j g_k(r_{ij}), \qquad q_{ikl} = \sum_{jj'} g_k(r_{ij})\, g_k(r_{ij'})\, P_l(\cos\theta_{jij'})

    for l = 1..L, j = j' included. By the addition theorem of our harmonics, :math:`(2l + 1) P_l = \sum_m Y_{lm} Y_{lm}`, the
    double sum is one of squared orbitals. Source: Fan et al., Phys. Rev. B 2021, 104, 104309.

    Args:
        num_channels: number of radial functions k.
    """

    def __init__(self, num_channels: int = 8) -> None:
        super().__init__()
        self.num_channels = num_channels

    def build(self, layout: nn.Layout) -> None:
        """Radial functions for these orbitals."""
        layout.require_harmonics("NEP")
        self.mix = nn.DegreeLinear(layout.components, layout.num_channels, self.num_channels)
        self.dot = nn.DegreeDot(layout.components)
        self.num_features = (layout.max_degree + 1) * self.num_channels

    def forward(self, orbital: Tensor, species: Tensor) -> Tensor:
        """Radial and angular descriptors ``[N, (L + 1) k]``."""
        mixed = self.mix(orbital)  # -> [N, lm, k]
        squares = self.dot(mixed, mixed).split(self.num_channels, dim=1)  # -> (L + 1) x [N, k]
        angular = [square / (2 * degree + 1) for degree, square in enumerate(squares)]
        return torch.cat([mixed[:, 0], *angular[1:]], dim=1)


def twist_signal(rule: nn.MessageRule, num_carbons: int = 9, cutoff: float = 4.0) -> float:
    """Largest change of an untrained network's features as one end of a cumulene is turned by a right angle."""
    torch.manual_seed(0)
    network = OrbitalNetwork(["H", "C"], cutoff, NEP(), rule).double()
    features = []
    for angle in (0.0, math.pi / 2):
        carbon = [[0.0, 0.0, 1.3 * k] for k in range(num_carbons)]
        near = [[sign * 0.93, 0.0, -0.57] for sign in (1, -1)]
        end = carbon[-1][2] + 0.57
        far = [[sign * 0.93 * math.cos(angle), sign * 0.93 * math.sin(angle), end] for sign in (1, -1)]
        pos = torch.tensor(carbon + near + far, dtype=torch.float64)
        data = make_graph(torch.tensor([6] * num_carbons + [1] * 4), pos, cutoff)
        if not features:
            network.fit_statistics(data.z, data.edge_index, edge_vectors(data))
        features.append(network.encode(data.z, data.edge_index, edge_vectors(data))[0])
    return float((features[1] - features[0]).detach().abs().max())


def main() -> None:
    """Print what each rule makes of the descriptor."""
    for rule in (nn.Invariant(), nn.Equivariant(), nn.Filtered(), nn.Coupled(), nn.Separate(), nn.Directed()):
        print(f"{type(rule).__name__:12s} {twist_signal(rule):.1e}")


if __name__ == "__main__":
    main()
