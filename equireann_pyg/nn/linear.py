r"""Degree by degree: mixing of channels and scalar products of orbitals; the components keep their meaning."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from equireann_pyg.moved import renamed
from equireann_pyg.nn.layout import degree_of
from equireann_pyg.ops import coupled, element_linear, kernels_for


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
        self.register_buffer("_degree", degree_of(self.components), persistent=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Unit normal weights, which keep the variance."""
        torch.nn.init.normal_(self.weight)

    def matrices(self) -> Tensor:
        """What the channels of each degree are multiplied by, ``[L + 1, n, k]``."""
        return self.weight * self.weight.size(1) ** -0.5

    def forward(self, orbital: Tensor) -> Tensor:
        """Mix the channels."""
        weight = self.matrices()
        if kernels_for(orbital, weight):
            degree = self._degree.repeat(orbital.size(0))  # type: ignore[operator]
            return element_linear(orbital.flatten(0, 1), degree, weight).unflatten(0, orbital.shape[:2])
        parts = orbital.split(self.components, dim=1)
        return torch.cat([part @ matrix for part, matrix in zip(parts, weight, strict=True)], dim=1)

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

    entries: Tensor

    def __init__(self, components: tuple[int, ...]) -> None:
        super().__init__()
        self.components = tuple(components)
        component, degree = torch.arange(sum(components)), degree_of(self.components)
        entries = torch.stack([component, component, degree, torch.zeros_like(degree)], dim=1)
        self.register_buffer("entries", entries.int(), persistent=False)

    def reset_parameters(self) -> None:
        """Nothing to reset."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Multiply and sum over the components."""
        if kernels_for(a, b):
            ones, weight = torch.ones(len(self.entries), dtype=torch.float64), a.new_ones(1, 1, a.size(2))
            return coupled(a, b, weight, None, self.entries, ones, len(self.components)).flatten(1)
        return torch.cat([part.sum(1) for part in (a * b).split(self.components, dim=1)], dim=1)

    def extra_repr(self) -> str:
        return f"{list(self.components)}"


def __getattr__(name: str) -> Any:
    return renamed(__name__, name)
