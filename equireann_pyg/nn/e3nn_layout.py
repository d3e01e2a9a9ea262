r"""Orbitals in the layout of e3nn, and back.

Here the components of degree l are the real harmonics :math:`Y_{lm}`, m = -l..l, about the axis z, and the channels come
last: ``[N, lm, n]``. In e3nn the polar axis is y, so that l = 1 is (x, y, z) where it is (y, z, x) here:

.. math:: Y^{\text{e3nn}}_l(x, y, z) = Y_l(z, x, y) = B_l\, Y_l(x, y, z)

with a rotation :math:`B_l` of the components; for l = 1 it only reorders, from l = 2 on it mixes them. There the components
come last, and all channels of one degree stand together: ``[N, n + 3 n + 5 n + ...]``. Parity is that of :math:`Y_l`, even for
even l. Signs agree. :class:`SphericalHarmonics` has e3nn's normalisation ``"component"``, :func:`solid_harmonics` has
``"integral"``; the conversion changes no norm.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from equireann_pyg.nn.angular import Angular, CartesianMoments, solid_harmonics


def e3nn_irreps(angular: Angular, num_channels: int) -> str:
    """What ``e3nn.o3.Irreps`` reads: ``"8x0e+8x1o+8x2e"`` for ``SphericalHarmonics(2)`` and 8 channels.

    Raises:
        ValueError: for Cartesian moments, whose components of one degree belong to several irreducible representations.
    """
    _require_harmonics(angular)
    return "+".join(f"{num_channels}x{degree}{'eo'[degree % 2]}" for degree in range(angular.max_degree + 1))


def to_e3nn(orbital: Tensor, angular: Angular) -> Tensor:
    """Orbitals as features of e3nn, with the irreps of :func:`e3nn_irreps`.

    Args:
        orbital: orbitals ``[N, lm, n]``, of :class:`OrbitalConv` or ``EquiREANN.encode``.
        angular: angular part that they were made with.

    Returns:
        ``[N, lm * n]``

    Raises:
        ValueError: for Cartesian moments, or another number of components than that of ``angular``.
    """
    _require_harmonics(angular)
    if orbital.dim() != 3 or orbital.size(1) != sum(angular.components):
        raise ValueError(
            f"to_e3nn: expected orbitals [N, {sum(angular.components)}, n] for {angular}, got {list(orbital.shape)}"
        )
    blocks = [
        torch.einsum("ab,ibn->ina", _change_of_axes(degree).to(block), block).flatten(1)  # -> [N, n (2l+1)]
        for degree, block in enumerate(orbital.split(angular.components, dim=1))
    ]
    return torch.cat(blocks, dim=1)


def from_e3nn(features: Tensor, angular: Angular) -> Tensor:
    """Orbitals of features of e3nn: the inverse of :func:`to_e3nn`.

    Args:
        features: ``[N, lm * n]`` with the irreps of :func:`e3nn_irreps`.
        angular: angular part of the orbitals.

    Returns:
        ``[N, lm, n]``

    Raises:
        ValueError: for Cartesian moments, or where the features are not a whole number of channels.
    """
    _require_harmonics(angular)
    num_components = sum(angular.components)
    num_channels, rest = divmod(features.size(-1), num_components)
    if features.dim() != 2 or rest:
        raise ValueError(
            f"from_e3nn: expected features [N, {num_components} n] for {angular}, got {list(features.shape)}"
        )
    sizes = [size * num_channels for size in angular.components]
    blocks = [
        torch.einsum("ab,ina->ibn", _change_of_axes(degree).to(block), block.unflatten(1, (num_channels, size)))
        for degree, (size, block) in enumerate(zip(angular.components, features.split(sizes, dim=1), strict=True))
    ]
    return torch.cat(blocks, dim=1)  # -> [N, lm, n]


def _require_harmonics(angular: Angular) -> None:
    if isinstance(angular, CartesianMoments):
        raise ValueError(
            "e3nn has no layout for Cartesian moments, which are reducible: use angular=SphericalHarmonics()"
        )


@cache
def _change_of_axes(degree: int) -> Tensor:
    r""":math:`B_l` ``[2l + 1, 2l + 1]``, float64, from as many general points as determine it."""
    points = torch.randn(8 * degree + 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    points = points / points.norm(dim=1, keepdim=True)
    block = slice(degree**2, (degree + 1) ** 2)
    here, there = (solid_harmonics(p, degree)[:, block] for p in (points, points[:, [2, 0, 1]]))
    matrix = torch.linalg.lstsq(here, there).solution.T  # there = here B^T
    return torch.where(matrix.abs() > 1e-12, matrix, torch.zeros_like(matrix))
