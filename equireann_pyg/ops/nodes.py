r"""Functions of single atoms with analytic derivatives: density of contracted orbitals, bent standardised features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from equireann_pyg.ops.library import fake, ops, refuse_transforms, register_twice

MAX_RADIAL = 128
"""Largest number of radial channels that :func:`density` takes."""


def density(orbital: Tensor, weight: Tensor, components: Sequence[int]) -> Tensor:
    r""":math:`\rho_k = \sum_l \sum_m (\sum_n \psi_{lm,n} W_{lnk})^2`.

    Args:
        orbital: ``[N, lm, n]``.
        weight: ``[L + 1, n, k]``.
        components: number of components of each l.

    Returns:
        ``[N, k]``
    """
    refuse_transforms()
    return ops.density(orbital, weight, components)


def bent(x: Tensor, species: Tensor, mean: Tensor, scale: Tensor, limit: float) -> Tensor:
    r""":math:`a \operatorname{asinh}(u / a)` of standardised features :math:`u = (x - \mu_s) / \sigma_s`.

    Args:
        x: ``[N, k]``.
        species: element index ``[N]``.
        mean: ``[S, k]``, a constant.
        scale: ``[S, k]``, a constant.
        limit: a.

    Returns:
        ``[N, k]``
    """
    refuse_transforms()
    return ops.bent(x, species, mean, scale, limit)


@fake("density")
def _(orbital: Tensor, weight: Tensor, components: Sequence[int]) -> Tensor:
    return orbital.new_empty(orbital.size(0), weight.size(2))


@fake("density_backward")
def _(
    grad: Tensor, orbital: Tensor, weight: Tensor, components: Sequence[int], with_weight: bool
) -> tuple[Tensor, Tensor]:
    return orbital.new_empty(orbital.shape), weight.new_empty(weight.shape if with_weight else (0,))


@fake("density_double_backward")
def _(
    h_orbital: Tensor, h_weight: Tensor, grad: Tensor, orbital: Tensor, weight: Tensor, components: Sequence[int]
) -> tuple[Tensor, Tensor, Tensor]:
    return grad.new_empty(grad.shape), orbital.new_empty(orbital.shape), weight.new_empty(weight.shape)


@fake("bent")
def _(x: Tensor, species: Tensor, mean: Tensor, scale: Tensor, limit: float) -> Tensor:
    return x.new_empty(x.shape)


@fake("bent_backward")
def _(grad: Tensor, x: Tensor, species: Tensor, mean: Tensor, scale: Tensor, limit: float) -> Tensor:
    return x.new_empty(x.shape)


@fake("bent_double_backward")
def _(
    tangent: Tensor, grad: Tensor, x: Tensor, species: Tensor, mean: Tensor, scale: Tensor, limit: float
) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), x.new_empty(x.shape)


def _density_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    with_weight = ctx.needs_input_grad[1]
    d_orbital, d_weight = ops.density_backward(grad, *ctx.saved_tensors, *ctx.constants, with_weight)
    return d_orbital, d_weight if with_weight else None, None


def _density_double_backward(ctx: Any, h_orbital: Tensor, h_weight: Tensor) -> tuple[Tensor | None, ...]:
    components, with_weight = ctx.constants
    h_weight = h_weight if with_weight else torch.zeros_like(ctx.saved_tensors[2])
    return *ops.density_double_backward(h_orbital, h_weight, *ctx.saved_tensors, components), None, None


def _bent_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    return ops.bent_backward(grad, *ctx.saved_tensors, *ctx.constants), None, None, None, None


def _bent_double_backward(ctx: Any, tangent: Tensor) -> tuple[Tensor | None, ...]:
    return *ops.bent_double_backward(tangent, *ctx.saved_tensors, *ctx.constants), None, None, None, None


register_twice("density", _density_backward, _density_double_backward)
register_twice("bent", _bent_backward, _bent_double_backward)
