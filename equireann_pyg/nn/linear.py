r"""Degree by degree: mixing of channels and scalar products of orbitals; the components keep their meaning."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from equireann_pyg.moved import renamed
from equireann_pyg.ops import degree_dot, degree_linear


class DegreeLinear(torch.nn.Module):
    r"""Channel mixing, :math:`\phi_{lm,k} = n^{-1/2} \sum_n W_{l,nk}\, \psi_{lm,n}`; equivariant, since m is untouched.

    The weights are unit normal and the root of the width is apart, so that one learning rate suits every width.

    Args:
        components: number of angular components of each degree l = 0..L.
        in_channels: number of channels n.
        out_channels: number of channels k.

    Shapes:
        - input: ``[N, lm, n]``
        - output: ``[N, lm, k]``
    """

    def __init__(self, components: tuple[int, ...], in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.components = tuple(components)
        self.weight = torch.nn.Parameter(torch.empty(len(components), in_channels, out_channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Unit normal weights, which keep the variance."""
        torch.nn.init.normal_(self.weight)

    def matrices(self) -> Tensor:
        """What the channels of each degree are multiplied by, ``[L + 1, n, k]``."""
        return self.weight * self.weight.size(1) ** -0.5

    def forward(self, orbital: Tensor) -> Tensor:
        """Mix the channels."""
        return degree_linear(orbital, self.matrices(), self.components)

    def extra_repr(self) -> str:
        _, in_channels, out_channels = self.weight.shape
        return f"{list(self.components)}, {in_channels}, {out_channels}"


class DegreeDot(torch.nn.Module):
    r"""Scalar products of two orbitals, :math:`\sum_m a_{lm,n} b_{lm,n}` for every degree: invariants.

    Args:
        components: number of angular components of each degree l = 0..L.

    Shapes:
        - input: ``a [N, lm, n]``, ``b [N, lm, n]``
        - output: ``[N, (L + 1) n]``
    """

    def __init__(self, components: tuple[int, ...]) -> None:
        super().__init__()
        self.components = tuple(components)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Multiply and sum over the components."""
        return degree_dot(a, b, self.components).flatten(1)

    def extra_repr(self) -> str:
        return f"{list(self.components)}"


def __getattr__(name: str) -> Any:
    return renamed(__name__, name)
