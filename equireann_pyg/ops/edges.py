r"""Functions of single edges with analytic derivatives: Gaussian orbitals :math:`f e^{-a (r-s)^2}` and polynomials."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from equireann_pyg.ops.library import fake, ops, refuse_transforms, register_twice

MAX_DEGREE = 8
"""Highest degree of :func:`polynomials`."""


def gaussians(r: Tensor, envelope: Tensor, row: Tensor, centre: Tensor, exponent: Tensor) -> Tensor:
    r"""Radial orbitals :math:`f\,e^{-a_n (r - s_n)^2}`.

    Args:
        r: ``[E]`` in Angstrom.
        envelope: f ``[E]``.
        row: row of the tables for each edge ``[E]``.
        centre: s ``[rows, n]`` in Angstrom.
        exponent: a ``[rows, n]`` in 1/Angstrom^2, not negative.

    Returns:
        ``[E, n]``
    """
    refuse_transforms()
    return ops.gaussians(r, envelope, row, centre, exponent)


def polynomials(vec: Tensor, combination: Tensor, max_degree: int) -> Tensor:
    """Linear combinations of the monomials :math:`x^i y^j z^k`, i + j + k = 0..L.

    Args:
        vec: ``[E, 3]``.
        combination: weights ``[(L+1)(L+2)(L+3)/6, m]``, float64 and constant, of the monomials in this order: degree by
            degree, and within a degree i falls slowest, then j.
        max_degree: L, inclusive, at most 8.

    Returns:
        ``[E, m]``
    """
    refuse_transforms()
    return ops.polynomials(vec, combination, max_degree)


@fake("gaussians")
def _(r: Tensor, f: Tensor, row: Tensor, s: Tensor, a: Tensor) -> Tensor:
    return r.new_empty(r.size(0), s.size(1))


@fake("gaussians_backward")
def _(
    grad: Tensor, r: Tensor, f: Tensor, row: Tensor, s: Tensor, a: Tensor, tables: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    shape = s.shape if tables else (0,)
    return r.new_empty(r.shape), r.new_empty(r.shape), s.new_empty(shape), s.new_empty(shape)


@fake("gaussians_double_backward")
def _(hr: Tensor, hf: Tensor, hs: Tensor, ha: Tensor, grad: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
    r, _, _, s, a = inputs
    return tuple(like.new_empty(like.shape) for like in (grad, r, r, s, a))


@fake("polynomials")
def _(vec: Tensor, combination: Tensor, max_degree: int) -> Tensor:
    return vec.new_empty(vec.size(0), combination.size(1))


@fake("polynomials_backward")
def _(grad: Tensor, vec: Tensor, combination: Tensor, max_degree: int) -> Tensor:
    return vec.new_empty(vec.shape)


@fake("polynomials_double_backward")
def _(tangent: Tensor, grad: Tensor, vec: Tensor, combination: Tensor, max_degree: int) -> tuple[Tensor, Tensor]:
    return grad.new_empty(grad.shape), vec.new_empty(vec.shape)


def _gaussians_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    tables = ctx.needs_input_grad[3] or ctx.needs_input_grad[4]
    r, f, s, a = ops.gaussians_backward(grad, *ctx.saved_tensors, tables)
    return (r, f, None, s, a) if tables else (r, f, None, None, None)


def _gaussians_double_backward(ctx: Any, *tangents: Tensor) -> tuple[Tensor | None, ...]:
    grad, *inputs = ctx.saved_tensors
    (tables,) = ctx.constants
    hr, hf, hs, ha = tangents
    if not tables:
        hs, ha = torch.zeros_like(inputs[3]), torch.zeros_like(inputs[4])
    g, r, f, s, a = ops.gaussians_double_backward(hr, hf, hs, ha, grad, *inputs)
    return g, r, f, None, s, a, None


def _polynomials_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    return ops.polynomials_backward(grad, *ctx.saved_tensors, *ctx.constants), None, None


def _polynomials_double_backward(ctx: Any, tangent: Tensor) -> tuple[Tensor | None, ...]:
    d_grad, d_vec = ops.polynomials_double_backward(tangent, *ctx.saved_tensors, *ctx.constants)
    return d_grad, d_vec, None, None


register_twice("gaussians", _gaussians_backward, _gaussians_double_backward)
register_twice("polynomials", _polynomials_backward, _polynomials_double_backward)
