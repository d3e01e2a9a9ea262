r"""Polynomials of edge vectors on CUDA: some edges in each program, through all monomials :math:`x^a y^b z^c` of degree d."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from equireann_pyg.ops.cuda.launch import blocks, check, on, power
from equireann_pyg.ops.gpu import DEVICE
from equireann_pyg.ops.polynomials import MAX_DEGREE, polynomials, powers_of

EDGES = 64


@triton.jit
def _power(x, N: tl.constexpr):
    """x^N, and zero for a negative N: a factor of N stands before it then."""
    made = x * 0.0 + (1.0 if N >= 0 else 0.0)
    for _ in tl.static_range(N):
        made *= x
    return made


@triton.jit
def _monomial(x, y, z, A: tl.constexpr, B: tl.constexpr, C: tl.constexpr):
    return _power(x, A) * _power(y, B) * _power(z, C)


@triton.jit
def _along(x, y, z, hx, hy, hz, A: tl.constexpr, B: tl.constexpr, C: tl.constexpr):
    """Derivative of a monomial along h."""
    made = hx * A * _monomial(x, y, z, A - 1, B, C) + hy * B * _monomial(x, y, z, A, B - 1, C)
    return made + hz * C * _monomial(x, y, z, A, B, C - 1)


@triton.jit(do_not_specialize=["E"])  # one kernel for all sizes
def value(out, vec, combination, E, m, L: tl.constexpr, EDGES: tl.constexpr, M: tl.constexpr):
    """sum_q C_qm x^i y^j z^k."""
    e, k = tl.program_id(0).to(tl.int64) * EDGES + tl.arange(0, EDGES), tl.arange(0, M)
    x = tl.load(vec + 3 * e, mask=e < E, other=0.0)
    y = tl.load(vec + 3 * e + 1, mask=e < E, other=0.0)
    z = tl.load(vec + 3 * e + 2, mask=e < E, other=0.0)
    made = tl.zeros([EDGES, M], dtype=x.dtype)
    for d in tl.static_range(L + 1):
        for p in tl.static_range(d + 1):
            for q in tl.static_range(p + 1):
                at = (d * (d + 1) * (d + 2) // 6 + p * (p + 1) // 2 + q) * m + k
                weight = tl.load(combination + at, mask=k < m, other=0.0).to(x.dtype)
                made += _monomial(x, y, z, d - p, p - q, q)[:, None] * weight[None, :]
    tl.store(out + e[:, None] * m + k[None, :], made, mask=(e < E)[:, None] & (k < m)[None, :])


@triton.jit(do_not_specialize=["E"])  # one kernel for all sizes
def gradient(
    dvec, dg, h, g, vec, combination, E, m,
    L: tl.constexpr, EDGES: tl.constexpr, M: tl.constexpr, SECOND: tl.constexpr,
):  # fmt: skip
    """Gradient of the scalar product of the polynomials and g; with SECOND of its derivative along h, and that of g."""
    e, k = tl.program_id(0).to(tl.int64) * EDGES + tl.arange(0, EDGES), tl.arange(0, M)
    x = tl.load(vec + 3 * e, mask=e < E, other=0.0)
    y = tl.load(vec + 3 * e + 1, mask=e < E, other=0.0)
    z = tl.load(vec + 3 * e + 2, mask=e < E, other=0.0)
    place, there = e[:, None] * m + k[None, :], (e < E)[:, None] & (k < m)[None, :]
    g_e = tl.load(g + place, mask=there, other=0.0)
    of_x, of_y, of_z = tl.zeros_like(x), tl.zeros_like(x), tl.zeros_like(x)
    if SECOND:
        hx = tl.load(h + 3 * e, mask=e < E, other=0.0)
        hy = tl.load(h + 3 * e + 1, mask=e < E, other=0.0)
        hz = tl.load(h + 3 * e + 2, mask=e < E, other=0.0)
        of_g = tl.zeros([EDGES, M], dtype=x.dtype)
    for d in tl.static_range(L + 1):
        for p in tl.static_range(d + 1):
            for q in tl.static_range(p + 1):
                at = (d * (d + 1) * (d + 2) // 6 + p * (p + 1) // 2 + q) * m + k
                weight = tl.load(combination + at, mask=k < m, other=0.0).to(x.dtype)
                w = tl.sum(g_e * weight[None, :], axis=1)
                if SECOND:
                    of_g += _along(x, y, z, hx, hy, hz, d - p, p - q, q)[:, None] * weight[None, :]
                    of_x += w * (d - p) * _along(x, y, z, hx, hy, hz, d - p - 1, p - q, q)
                    of_y += w * (p - q) * _along(x, y, z, hx, hy, hz, d - p, p - q - 1, q)
                    of_z += w * q * _along(x, y, z, hx, hy, hz, d - p, p - q, q - 1)
                else:
                    of_x += w * (d - p) * _monomial(x, y, z, d - p - 1, p - q, q)
                    of_y += w * (p - q) * _monomial(x, y, z, d - p, p - q - 1, q)
                    of_z += w * q * _monomial(x, y, z, d - p, p - q, q - 1)
    tl.store(dvec + 3 * e, of_x, mask=e < E)
    tl.store(dvec + 3 * e + 1, of_y, mask=e < E)
    tl.store(dvec + 3 * e + 2, of_z, mask=e < E)
    if SECOND:
        tl.store(dg + place, of_g, mask=there)


def _checked(vec: Tensor, combination: Tensor, max_degree: int) -> tuple[Tensor, Tensor]:
    vec = check("vec", vec, vec.size(0), 3)
    return vec, check("combination", combination, len(powers_of(max_degree)), combination.size(1))


def _gradient(h: Tensor | None, grad: Tensor, vec: Tensor, combination: Tensor, max_degree: int) -> list[Tensor]:
    vec, combination = _checked(vec, combination, max_degree)
    grad = check("gradient", grad, vec.size(0), combination.size(1))
    made = [*([] if h is None else [torch.zeros_like(grad)]), torch.zeros_like(vec)]
    if grad.numel():
        E, m = grad.shape
        tangent = vec if h is None else check("tangent", h, E, 3)
        with on(vec):
            gradient[blocks(E, EDGES),](
                *(made[-1], made[0], tangent, grad, vec, combination, E, m),
                *(max_degree, EDGES, power(m), h is not None),
            )
    return made


@polynomials.kernel(DEVICE, limit=lambda vec, combination, max_degree: max_degree <= MAX_DEGREE)
def _value(vec, combination, max_degree):
    vec, combination = _checked(vec, combination, max_degree)
    E, m = vec.size(0), combination.size(1)
    out = vec.new_empty(E, m)
    if out.numel():
        with on(vec):
            value[blocks(E, EDGES),](out, vec, combination, E, m, max_degree, EDGES, power(m))
    return out


@polynomials.kernel(DEVICE, "_backward")
def _first(grad, vec, combination, max_degree):
    return _gradient(None, grad, vec, combination, max_degree)[0]


@polynomials.kernel(DEVICE, "_double_backward")
def _second(h, grad, vec, combination, max_degree):
    return tuple(_gradient(h, grad, vec, combination, max_degree))
