"""Sums of rows with the same number on CUDA, without atomic adds: in the same order every time."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from equireann_pyg.ops.cuda.launch import blocks, check, on, power, sums_of_few
from equireann_pyg.ops.gpu import DEVICE
from equireann_pyg.ops.rows import row_sum, rows_of

ROWS, NARROW = 16, 32
"""Rows that are added at a time, and largest number of columns of a block."""

FEW = 128
"""Numbers, of elements or graphs, up to which the sums are a product of matrices."""


@triton.jit
def total(out, rows, start, perm, n, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    """The sum of the rows with one number, some columns of them."""
    i, k = tl.program_id(0).to(tl.int64), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    made = tl.zeros([BLOCK], dtype=out.dtype.element_ty)
    first, end = tl.load(start + i), tl.load(start + i + 1)
    for at in range(first, end, ROWS):
        place = at + tl.arange(0, ROWS)
        r = tl.load(perm + place, mask=place < end, other=0).to(tl.int64)
        there = (place < end)[:, None] & (k < n)[None, :]
        made += tl.sum(tl.load(rows + r[:, None] * n + k[None, :], mask=there, other=0.0), axis=0)
    tl.store(out + i * n + k, made, mask=k < n)


def _order(index: Tensor, size: int) -> Tensor:
    """Where the rows of each number start, and the rows, as in an order of edges."""
    numbers, rows = torch.sort(index, stable=True)
    return torch.cat([torch.searchsorted(numbers, torch.arange(size + 1, device=index.device)), rows]).int()


@row_sum.kernel(DEVICE)
def _row_sum(rows, index, order, size):
    R, n = rows.size(0), rows[:1].numel() if len(rows) else 0
    shape, index = (size, *rows.shape[1:]), check("index", index, R)
    if not (n and size):
        return rows.new_zeros(shape)
    rows = rows.reshape(R, n)
    if order is None and size <= FEW:
        return sums_of_few(rows, index, size).view(shape)
    order = _order(index, size) if order is None else check("order", order, size + 1 + R)
    out, block = rows.new_empty(shape), min(power(n), NARROW)
    with on(rows):
        total[size, blocks(n, block)](
            out, rows.contiguous(), order[: size + 1], order[size + 1 :], n, ROWS, block, num_warps=1
        )
    return out


@rows_of.kernel(DEVICE)
def _rows_of(values, index, order=None):
    return values.index_select(0, index)
