"""Per-element networks: one residual MLP for each chemical element, evaluated together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn.functional import silu

from equireann_pyg.ops import element_linear, rows_of

SILU_GAIN = math.sqrt(2.8)
"""Inverse root mean square of SiLU for a unit normal argument."""


class ElementLinear(torch.nn.Module):
    r"""One linear map per element, stored as one tensor so that absent elements get a zero gradient.

    .. math:: y = n_{in}^{-1/2}\, x W_s + b_s

    The weights start with unit variance and the root of the width is apart, so that one learning rate suits every width.

    Args:
        num_species: number of elements S.
        in_channels: input width.
        out_channels: output width.

    Shapes:
        - input: ``x [N, in_channels]``, ``species [N]`` element index
        - output: ``[N, out_channels]``
    """

    def __init__(self, num_species: int, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.empty(num_species, in_channels, out_channels))
        self.bias = torch.nn.Parameter(torch.empty(num_species, 1, out_channels))
        self.reset_parameters()

    def reset_parameters(self, gain: float = 1.0) -> None:
        """Normal weights of variance gain^2, zero bias."""
        torch.nn.init.normal_(self.weight, std=gain)
        torch.nn.init.zeros_(self.bias)

    def forward(self, x: Tensor, species: Tensor) -> Tensor:
        """Apply to every row the map of its element."""
        bias = self.bias.squeeze(1)  # -> [S, out]
        weight = self.weight * self.weight.size(1) ** -0.5
        return element_linear(x, species, weight) + (bias if len(bias) == 1 else rows_of(bias, species))

    def extra_repr(self) -> str:
        num_species, in_channels, out_channels = self.weight.shape
        return f"{in_channels}, {out_channels}, num_species={num_species}"


class ElementMLP(torch.nn.Module):
    r"""Residual multilayer perceptron with separate weights for each element.

    .. math:: h = W_1 x,\quad h \leftarrow h + W_p\,\sigma(\cdots W_2\,\sigma(h)),\quad y = W_{out}\,\sigma(h)

    with SiLU activations. The last map of the residual block and the output map start at zero, so the block is the
    identity and the output vanishes at the start (as in REANN).

    Args:
        num_species: number of elements.
        in_channels: input width.
        hidden_channels: widths h1..hp of the hidden layers; the residual block leads h1 -> h2 ... -> hp -> h1.
        out_channels: output width.

    Shapes:
        - input: ``x [N, in_channels]``, ``species [N]`` element index
        - output: ``[N, out_channels]``

    Raises:
        ValueError: if ``hidden_channels`` is empty.
    """

    def __init__(self, num_species: int, in_channels: int, hidden_channels: Sequence[int], out_channels: int) -> None:
        super().__init__()
        if not hidden_channels:
            raise ValueError("hidden_channels is empty: give at least one width, for example [64, 64]")
        first, widths = hidden_channels[0], [*hidden_channels, hidden_channels[0]]
        self.num_species = num_species
        self.embed = ElementLinear(num_species, in_channels, first)
        self.block = torch.nn.ModuleList(ElementLinear(num_species, a, b) for a, b in pairwise(widths))
        self.out = ElementLinear(num_species, first, out_channels)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Variance-preserving weights; identity block and zero output."""
        self.embed.reset_parameters()
        for layer in self.block:
            layer.reset_parameters(SILU_GAIN)  # type: ignore[operator]
        self.block[-1].reset_parameters(gain=0.0)  # type: ignore[operator]
        self.out.reset_parameters(gain=0.0)

    def forward(self, x: Tensor, species: Tensor) -> Tensor:
        """Evaluate every atom with the network of its element."""
        h = self.embed(x, species)
        g = h
        for layer in self.block:
            g = layer(silu(g), species)
        return self.out(silu(h + g), species)
