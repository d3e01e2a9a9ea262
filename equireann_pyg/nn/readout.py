r"""Heads on an atom's density (invariant) and orbital (equivariant): scalars, vectors and symmetric tensors of every atom.

Vectors and tensors are linear in the orbital, with weights that the density sets, so they turn and reflect with the system.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from equireann_pyg.nn.layout import Layout
from equireann_pyg.nn.mlp import ElementMLP
from equireann_pyg.nn.scaling import SoftStandardize


def first_moment(orbital: Tensor, layout: Layout) -> Tensor:
    """Components x, y, z of the l = 1 part of an orbital, as of a vector r: ``[N, lm, n] -> [N, 3, n]``.

    Args:
        orbital: orbital of every atom.
        layout: meaning of its components.
    """
    part = orbital[:, 1:4]
    return part if layout.cartesian else part.roll(1, dims=1) / math.sqrt(3)  # (y, z, x) -> (x, y, z)


def second_moment(orbital: Tensor, layout: Layout) -> Tensor:
    r"""Traceless l = 2 part of an orbital ``[N, lm, n]``, as :math:`\mathbf r \otimes \mathbf r - \frac13 r^2`.

    Args:
        orbital: orbital of every atom.
        layout: meaning of its components.

    Returns:
        xx, yy, zz, yz, xz, xy, ``[N, 6, n]``
    """
    if layout.cartesian:
        xx, xy, xz, yy, yz, zz = orbital[:, 4:10].unbind(1)
        third = (xx + yy + zz) / 3
        mixed = [part / math.sqrt(2) for part in (yz, xz, xy)]
        return torch.stack([xx - third, yy - third, zz - third, *mixed], dim=1)
    xy, yz, axial, xz, planar = (part / math.sqrt(15) for part in orbital[:, 4:9].unbind(1))  # m = -2..2
    third = axial / math.sqrt(3)
    return torch.stack([planar - third, -planar - third, 2 * third, yz, xz, xy], dim=1)


class ScalarReadout(torch.nn.Module):
    """Invariants of every atom: one network per element on the standardised density.

    All readouts give zero at the start, as the energy does.

    Args:
        layout: shape of the orbitals, for the number of elements.
        num_features: number of densities k.
        hidden_channels: hidden widths of the network.
        out_channels: number of invariants.

    Shapes:
        - input: density ``[N, k]``, orbital ``[N, lm, n]`` (not read), ``species [N]`` element index
        - output: ``[N, out_channels]``
    """

    def __init__(
        self, layout: Layout, num_features: int, hidden_channels: Sequence[int] = (32, 32), out_channels: int = 1
    ) -> None:
        super().__init__()
        self.scaling = SoftStandardize(layout.num_species, num_features)
        self.network = ElementMLP(layout.num_species, num_features, hidden_channels, out_channels)

    def reset_parameters(self) -> None:
        """Draw new parameters and forget the statistics."""
        self.scaling.reset_parameters()
        self.network.reset_parameters()

    def fit(self, density: Tensor, orbital: Tensor, species: Tensor) -> None:
        """Take the statistics of the density."""
        self.scaling.fit(density, species)

    def forward(self, density: Tensor, orbital: Tensor, species: Tensor) -> Tensor:
        """Evaluate the network of every atom's element."""
        return self.network(self.scaling(density, species), species)


class _EquivariantReadout(torch.nn.Module):
    degree: int
    invariants = 0
    size: Tensor

    def __init__(self, layout: Layout, num_features: int, hidden_channels: Sequence[int] = (32, 32)) -> None:
        super().__init__()
        if layout.max_degree < self.degree:
            raise ValueError(
                f"{type(self).__name__} reads degree {self.degree} of the orbitals, which end at {layout.max_degree}: "
                f"use a model with max_degree >= {self.degree}"
            )
        self.layout = layout
        self.gate = ScalarReadout(layout, num_features, hidden_channels, layout.num_channels + self.invariants)
        self.register_buffer("size", torch.ones(layout.num_channels))

    def reset_parameters(self) -> None:
        """Draw new parameters and forget the statistics."""
        self.gate.reset_parameters()
        self.size.fill_(1.0)

    def moment(self, orbital: Tensor) -> Tensor:
        """Part of the orbital that is read, ``[N, components, n]``."""
        raise TypeError(f"{type(self).__name__} must define moment(orbital)")

    @torch.no_grad()
    def fit(self, density: Tensor, orbital: Tensor, species: Tensor) -> None:
        """Take the statistics of the density and the size of every channel."""
        self.gate.fit(density, orbital, species)
        size = self.moment(orbital).square().mean((0, 1)).sqrt()  # -> [n]
        self.size.copy_(torch.where(size > 0, size, torch.ones_like(size)))

    def _weighted(self, orbital: Tensor, weight: Tensor) -> Tensor:
        """Sum over the channels with weights ``[N, n]``."""
        return (self.moment(orbital) * (weight / self.size).unsqueeze(1)).sum(-1)


class VectorReadout(_EquivariantReadout):
    r"""A polar vector of every atom, :math:`\mathbf v_i = \sum_n w_n(\rho_i)\, \psi_{i,1,n}`.

    Args:
        layout: shape of the orbitals, of degree 1 or more.
        num_features: number of densities k.
        hidden_channels: hidden widths of the network for the weights w.

    Shapes:
        - input: density ``[N, k]``, orbital ``[N, lm, n]``, ``species [N]`` element index
        - output: x, y, z, ``[N, 3]``

    Raises:
        ValueError: if the orbitals end at a lower degree.
    """

    degree = 1

    def moment(self, orbital: Tensor) -> Tensor:
        """The l = 1 part as a vector, ``[N, 3, n]``."""
        return first_moment(orbital, self.layout)

    def forward(self, density: Tensor, orbital: Tensor, species: Tensor) -> Tensor:
        """Weighted sum of the l = 1 channels."""
        return self._weighted(orbital, self.gate(density, orbital, species))


class TensorReadout(_EquivariantReadout):
    r"""A symmetric tensor of every atom ``[N, 3, 3]``, :math:`w_0(\rho_i)\, 1 + \sum_n w_n(\rho_i)\, \psi_{i,2,n}`.

    Arguments and input as for :class:`VectorReadout`, but the orbitals must be of degree 2 or more.
    """

    degree, invariants = 2, 1

    def moment(self, orbital: Tensor) -> Tensor:
        """The traceless l = 2 part as xx, yy, zz, yz, xz, xy, ``[N, 6, n]``."""
        return second_moment(orbital, self.layout)

    def forward(self, density: Tensor, orbital: Tensor, species: Tensor) -> Tensor:
        """Isotropic part and weighted sum of the l = 2 channels."""
        weight = self.gate(density, orbital, species)  # -> [N, 1 + n]
        voigt = self._weighted(orbital, weight[:, 1:])  # -> [N, 6]
        isotropic = torch.eye(3, dtype=voigt.dtype, device=voigt.device) * weight[:, :1, None]
        return isotropic + voigt[:, [0, 5, 4, 5, 1, 3, 4, 3, 2]].view(-1, 3, 3)
