"""Operators on CUDA that are made of other operators, with fewer and larger steps than their references."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from equireann_pyg.ops.coupled import coupled, degree_dot
from equireann_pyg.ops.density import density
from equireann_pyg.ops.element_linear import degree_linear
from equireann_pyg.ops.gpu import DEVICE
from equireann_pyg.ops.operator import Operator, tracing
from equireann_pyg.ops.products import invariants, product_invariants, self_coupled


@cache
def _squares(components: tuple[int, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """Entries and values of the products of equal components, by degree."""
    degrees = [degree for degree, count in enumerate(components) for _ in range(count)]
    with torch.inference_mode(False):  # they outlive the call, and serve training too
        entries = torch.tensor(
            [[m, m, degree, 0] for m, degree in enumerate(degrees)], dtype=torch.int32, device=device
        )
        return entries, torch.ones(len(degrees), dtype=torch.float64, device=device)


def _fits(orbital: Tensor, weight: Tensor, components: Sequence[int]) -> bool:
    return (sum(components), len(components)) == (orbital.size(1), weight.size(0))


def _serves(a: Tensor, b: Tensor, components: Sequence[int]) -> bool:
    """Not in a graph, which would hold a table as a constant that every call copies: the compiler fuses the plain sums."""
    return sum(components) == a.size(1) and not tracing()


@degree_dot.kernel(DEVICE, limit=_serves)
def _degree_dot(a: Tensor, b: Tensor, components: Sequence[int]) -> Tensor:
    table = _squares(tuple(components), a.device)
    return coupled(a, b, a.new_ones(1, 1, a.size(2)), None, *table, len(components))


@degree_linear.kernel(DEVICE, limit=_fits)
def _degree_linear(orbital: Tensor, weight: Tensor, components: Sequence[int]) -> Tensor:
    matrices = [W.expand(count, -1, -1) for W, count in zip(weight.split(1), components, strict=True)]
    return torch.bmm(orbital.transpose(0, 1), torch.cat(matrices)).transpose(0, 1)  # -> [N, lm, k]


def _self_coupled(orbital: Tensor, *rest: Any) -> Tensor:
    return coupled(orbital, orbital, *rest)


def _product_invariants(
    orbital: Tensor,
    weight: Tensor,
    species: Tensor | None,
    entries: Tensor,
    values: Tensor,
    components: Sequence[int],
    fourth: bool,
) -> Tensor:
    product = coupled(orbital, orbital, weight, species, entries, values, orbital.size(1))  # -> [N, lm, n]
    return invariants(orbital, product, components, fourth, degree_dot)


def _density(orbital: Tensor, weight: Tensor, components: Sequence[int]) -> Tensor:
    return degree_linear(orbital, weight, components).square().sum(1)


Operator.kernel(self_coupled, DEVICE)(_self_coupled)
Operator.kernel(product_invariants, DEVICE)(_product_invariants)
Operator.kernel(density, DEVICE, limit=_fits)(_density)
