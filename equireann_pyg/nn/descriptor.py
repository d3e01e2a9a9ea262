r"""Invariant descriptors of an atom's orbitals."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from equireann_pyg.ops import density, kernels_for
from equireann_pyg.ops.nodes import MAX_RADIAL


class OrbitalDensity(torch.nn.Module):
    r"""Embedded electron density of contracted orbitals.

    .. math:: \rho_{ik} = \sum_{l} \sum_{m} \Bigl( \sum_n \psi_{i,lm,n} W_{lnk} \Bigr)^2

    Each density k has its own contraction for every l. Source: Zhang, Xia, Jiang, Phys. Rev. Lett. 2021, 127,
    156002 (REANN), eq. 3; the root of the multinomial weight is in the angular part.

    Args:
        components: number of angular components of each l = 0..L.
        num_radial: number of radial channels n.
        num_density: number of densities k.

    Shapes:
        - input: orbital ``[N, lm, n]``
        - output: density ``[N, k]``
    """

    def __init__(self, components: Sequence[int], num_radial: int, num_density: int) -> None:
        super().__init__()
        self.components = list(components)
        self.weight = torch.nn.Parameter(torch.empty(len(self.components), num_radial, num_density))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Normal weights that keep the variance of the orbitals."""
        torch.nn.init.normal_(self.weight, std=self.weight.size(1) ** -0.5)

    def forward(self, orbital: Tensor) -> Tensor:
        """Contract and square."""
        if self.weight.size(1) <= MAX_RADIAL and kernels_for(orbital, self.weight):
            return density(orbital, self.weight, self.components)
        per_degree = orbital.split(self.components, dim=1)
        squares = [
            (psi @ weight).square().sum(dim=1) for psi, weight in zip(per_degree, self.weight, strict=True)
        ]  # -> (L + 1) x [N, k]
        return torch.stack(squares).sum(dim=0)

    def extra_repr(self) -> str:
        _, num_radial, num_density = self.weight.shape
        return f"components={self.components}, num_radial={num_radial}, num_density={num_density}"
