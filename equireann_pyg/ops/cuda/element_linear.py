"""Linear maps by element on CUDA: blocks of rows in their own order; each takes the matrices of the elements that it meets."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from equireann_pyg.ops.cuda.launch import blocks, check, on, power
from equireann_pyg.ops.element_linear import element_linear, element_outer
from equireann_pyg.ops.gpu import DEVICE

ROWS, INNER, WIDE = 32, 32, 64
"""Rows of a block, numbers that are summed at a time, and columns of a block."""

LARGEST = 2**26
"""Numbers that are placed by elements; more rows are taken one part after the other."""


@triton.jit(do_not_specialize=["N"])  # one kernel for all sizes
def linear(
    y, x, species, weight, N, num_in, num_out, num_species, stride_s, stride_in, stride_out,
    ROWS: tl.constexpr, INNER: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """y_a = x_a W_s(a) for some rows and columns."""
    a, k = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    kind = tl.load(species + a, mask=a < N, other=-1)
    made = tl.zeros([ROWS, BLOCK], dtype=y.dtype.element_ty)
    for s in range(num_species):
        mine = kind == s
        if tl.max(mine.to(tl.int32), axis=0) > 0:
            for first in range(0, num_in, INNER):
                c = first + tl.arange(0, INNER)
                rows = tl.load(
                    x + a[:, None] * num_in + c[None, :], mask=mine[:, None] & (c < num_in)[None, :], other=0.0
                )
                at = weight + s * stride_s + c[:, None] * stride_in + k[None, :] * stride_out
                W = tl.load(at, mask=(c < num_in)[:, None] & (k < num_out)[None, :], other=0.0)
                made += tl.dot(rows, W, input_precision="ieee", out_dtype=made.dtype)
    tl.store(y + a[:, None] * num_out + k[None, :], made, mask=(a < N)[:, None] & (k < num_out)[None, :])


@element_linear.kernel(DEVICE)
def _linear(x, species, weight):
    num_species, num_in, num_out = weight.shape
    N = x.size(0)
    x, species = check("x", x, N, num_in), check("species", species, N)
    if num_species == 1:
        return x @ weight[0]
    y = x.new_empty(N, num_out)
    if y.numel():
        block = max(16, min(power(num_out), WIDE))
        with on(x):
            linear[blocks(N, ROWS), blocks(num_out, block)](
                *(y, x, species, weight, N, num_in, num_out, num_species, *weight.stride()), *(ROWS, INNER, block)
            )
    return y


@element_outer.kernel(DEVICE)
def _outer(x, y, species, num_species):
    N, num_out = x.size(0), y.size(1)
    y, species = check("y", y, N, num_out), check("species", species, N)
    made, kinds = x.new_zeros(x.size(1), num_species * num_out), torch.arange(num_species, device=x.device)
    some = max(1, LARGEST // max(1, num_species * num_out))
    for left, right, kind in zip(x.split(some), y.split(some), species.split(some), strict=True):
        placed = (kind.unsqueeze(1) == kinds).to(y.dtype).unsqueeze(2) * right.unsqueeze(1)  # -> [rows, S, out]
        made += left.T @ placed.flatten(1)  # one product of matrices for all elements
    return made.unflatten(1, (num_species, num_out)).transpose(0, 1)
