"""Sums of rows with the same number on CUDA, without atomic adds: in the same order every time.

No product of matrices makes them: what is not finite in one graph would be so in all.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from equireann_pyg.ops.cuda.launch import blocks, check, on, power
from equireann_pyg.ops.gpu import DEVICE
from equireann_pyg.ops.rows import row_sum, rows_of

ROWS, MANY, NARROW = 16, 64, 32
"""Rows that are added at a time, of atoms and of what has more, and largest number of columns of a block."""


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


def _sorted(index: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Where the rows of each number start, and the rows."""
    numbers, rows = torch.sort(index, stable=True)
    return torch.searchsorted(numbers, torch.arange(size + 1, device=index.device)), rows


@row_sum.kernel(DEVICE)
def _row_sum(rows, index, order, size):
    R, n = rows.size(0), rows[:1].numel() if len(rows) else 0
    shape, index = (size, *rows.shape[1:]), check("index", index, R)
    if not (n and size):
        return rows.new_zeros(shape)
    known = order is not None
    start, perm = check("order", order, size + 1 + R).tensor_split([size + 1]) if known else _sorted(index, size)
    out, some, block = rows.new_empty(shape), ROWS if known else MANY, min(power(n), NARROW)
    with on(rows):
        total[size, blocks(n, block)](out, rows.contiguous(), start, perm, n, some, block, num_warps=1 if known else 4)
    return out


@rows_of.kernel(DEVICE)
def _rows_of(values, index, order=None):
    return values.index_select(0, index)
