r"""Gaussian radial orbitals on CUDA: some edges by some channels in each program.

With :math:`d = r - s`, :math:`u = e^{-a d^2}`, tangents h and :math:`q = -2 a d (h_r - h_s) - d^2 h_a`, the derivative of
:math:`f u` along the tangents is :math:`D = u (h_f + f q)`.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from equireann_pyg.ops.cuda.launch import blocks, check, on, power
from equireann_pyg.ops.gaussians import gaussians
from equireann_pyg.ops.gpu import DEVICE

EDGES, NARROW = 32, 32
"""Edges and channels of a block."""

LARGEST = 2**26
"""Numbers of a matrix that tells which edges belong to which rows; more edges are taken one part after the other."""


@triton.jit
def _block(r, row, centre, exponent, e, k, E, n):
    """d, a and u of some edges and channels, where they are, and their places in the tables."""
    there = (e < E)[:, None] & (k < n)[None, :]
    table = tl.load(row + e, mask=e < E, other=0)[:, None] * n + k[None, :]
    d = tl.load(r + e, mask=e < E, other=0.0)[:, None] - tl.load(centre + table, mask=there, other=0.0)
    a = tl.load(exponent + table, mask=there, other=0.0)
    return d, a, tl.exp(-a * d * d), there, table


@triton.jit(do_not_specialize=["E"])  # one kernel for all sizes
def value(out, r, f, row, centre, exponent, E, n, EDGES: tl.constexpr, BLOCK: tl.constexpr):
    """The value f u."""
    e = tl.program_id(0).to(tl.int64) * EDGES + tl.arange(0, EDGES)
    k = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    _, _, u, there, _ = _block(r, row, centre, exponent, e, k, E, n)
    tl.store(out + e[:, None] * n + k[None, :], tl.load(f + e, mask=e < E, other=0.0)[:, None] * u, mask=there)


@triton.jit(do_not_specialize=["E"])  # one kernel for all sizes
def gradient(
    dr,
    df,
    ds,
    da,
    g,
    r,
    f,
    row,
    centre,
    exponent,
    E,
    n,
    EDGES: tl.constexpr,
    BLOCK: tl.constexpr,
    WEIGHTS: tl.constexpr,
):
    """Gradients of r and f, and with WEIGHTS what every edge gives to those of s and a."""
    e = tl.program_id(0).to(tl.int64) * EDGES + tl.arange(0, EDGES)
    f_e = tl.load(f + e, mask=e < E, other=0.0)
    of_r, of_f = tl.zeros([EDGES], dtype=f_e.dtype), tl.zeros([EDGES], dtype=f_e.dtype)
    for first in range(0, n, BLOCK):
        k = first + tl.arange(0, BLOCK)
        d, a, u, there, _ = _block(r, row, centre, exponent, e, k, E, n)
        place = e[:, None] * n + k[None, :]
        gu = tl.load(g + place, mask=there, other=0.0) * u
        slope = -2 * a * d * gu * f_e[:, None]
        of_r += tl.sum(slope, axis=1)
        of_f += tl.sum(gu, axis=1)
        if WEIGHTS:
            tl.store(ds + place, -slope, mask=there)
            tl.store(da + place, -d * d * gu * f_e[:, None], mask=there)
    tl.store(dr + e, of_r, mask=e < E)
    tl.store(df + e, of_f, mask=e < E)


@triton.jit(do_not_specialize=["E"])  # one kernel for all sizes
def second_gradient(
    dg, dr, df, ds, da, hr, hf, hs, ha, g, r, f, row, centre, exponent, E, n, EDGES: tl.constexpr, BLOCK: tl.constexpr
):
    """D, and gradients of the scalar product of D and g; ds and da for every edge."""
    e = tl.program_id(0).to(tl.int64) * EDGES + tl.arange(0, EDGES)
    f_e, h_f = tl.load(f + e, mask=e < E, other=0.0), tl.load(hf + e, mask=e < E, other=0.0)
    h_r = tl.load(hr + e, mask=e < E, other=0.0)
    of_r, of_f = tl.zeros([EDGES], dtype=f_e.dtype), tl.zeros([EDGES], dtype=f_e.dtype)
    for first in range(0, n, BLOCK):
        k = first + tl.arange(0, BLOCK)
        d, a, u, there, table = _block(r, row, centre, exponent, e, k, E, n)
        place = e[:, None] * n + k[None, :]
        h_d = h_r[:, None] - tl.load(hs + table, mask=there, other=0.0)
        h_a = tl.load(ha + table, mask=there, other=0.0)
        q, fu = -2 * a * d * h_d - d * d * h_a, f_e[:, None] * u
        along = u * h_f[:, None] + fu * q
        g_e = tl.load(g + place, mask=there, other=0.0)
        of_d = g_e * (-2 * a * d * along + fu * (-2 * a * h_d - 2 * d * h_a))
        of_r += tl.sum(of_d, axis=1)
        of_f += tl.sum(g_e * u * q, axis=1)
        tl.store(dg + place, along, mask=there)
        tl.store(ds + place, -of_d, mask=there)
        tl.store(da + place, g_e * (-d * d * along - 2 * d * h_d * fu), mask=there)
    tl.store(dr + e, of_r, mask=e < E)
    tl.store(df + e, of_f, mask=e < E)


def _checked(r: Tensor, f: Tensor, row: Tensor, s: Tensor, a: Tensor) -> tuple[Tensor, ...]:
    E = r.size(0)
    names = ("r", r, E), ("envelope", f, E), ("row", row, E), ("centre", s, *s.shape), ("exponent", a, *s.shape)
    return tuple(check(name, tensor, *shape) for name, tensor, *shape in names)


def _by_row(parts: tuple[Tensor, Tensor], row: Tensor, num_rows: int) -> tuple[Tensor, ...]:
    """Sums of what edges give to the rows of both tables, in a fixed order and with bounded memory."""
    both, rows = torch.cat(parts, dim=1), torch.arange(num_rows, device=row.device).unsqueeze(1)  # -> [E, 2 n]
    some = max(1, LARGEST // max(1, num_rows))
    made = both.new_zeros(num_rows, both.size(1))
    for numbers, part in zip(row.split(some), both.split(some), strict=True):
        made += (rows == numbers).to(part.dtype) @ part  # -> [rows, 2 n]
    return made.chunk(2, dim=1)


@gaussians.kernel(DEVICE)
def _value(r, envelope, row, centre, exponent):
    inputs = _checked(r, envelope, row, centre, exponent)
    E, n = r.size(0), centre.size(1)
    out = r.new_empty(E, n)
    if out.numel():
        block = min(power(n), NARROW)
        with on(r):
            value[blocks(E, EDGES), blocks(n, block)](out, *inputs, E, n, EDGES, block)
    return out


@gaussians.kernel(DEVICE, "_backward")
def _first(grad, r, envelope, row, centre, exponent, with_weights):
    inputs, (E, n) = _checked(r, envelope, row, centre, exponent), grad.shape
    dr, df = torch.zeros_like(r), torch.zeros_like(envelope)
    ds, da = (torch.zeros_like(grad) if with_weights else grad.new_empty(0) for _ in range(2))
    if grad.numel():
        with on(r):
            gradient[blocks(E, EDGES),](
                dr, df, ds, da, grad.contiguous(), *inputs, E, n, EDGES, min(power(n), NARROW), with_weights
            )
    if not with_weights:
        return dr, df, ds, da
    return dr, df, *_by_row((ds, da), row, centre.size(0))


@gaussians.kernel(DEVICE, "_double_backward")
def _second(h_r, h_f, h_s, h_a, grad, r, envelope, row, centre, exponent):
    inputs, (E, n) = _checked(r, envelope, row, centre, exponent), grad.shape
    tangents = _checked(h_r, h_f, row, h_s, h_a)
    dr, df = torch.zeros_like(r), torch.zeros_like(envelope)
    dg, ds, da = (torch.zeros(E, n, dtype=r.dtype, device=r.device) for _ in range(3))
    if grad.numel():
        with on(r):
            second_gradient[blocks(E, EDGES),](
                *(dg, dr, df, ds, da, tangents[0], tangents[1], tangents[3], tangents[4], grad.contiguous(), *inputs),
                *(E, n, EDGES, min(power(n), NARROW)),
            )
    return dg, dr, df, *_by_row((ds, da), row, centre.size(0))
