"""Row-wise functions in blocks of rows: exact, and with the memory of one block."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

RowFunction = Callable[..., tuple[Tensor, ...]]

WIDTH = 64
"""Numbers in a row that counts as one; of narrower rows, such as those of edges, a block takes more."""


def in_blocks(block_size: int, function: RowFunction, *rows: Tensor) -> tuple[Tensor, ...]:
    """Evaluate a function whose outputs depend row by row on its inputs, some rows at a time, for inference.

    Nothing inside of the function is kept for its derivative: the blocks are evaluated again. Parameters of the function get no
    gradients, and there are no second derivatives.

    Args:
        block_size: rows of 64 numbers at a time.
        function: from tensors ``[R, ...]`` to a tuple of tensors ``[R, ...]``.
        *rows: its arguments ``[R, ...]``.
    """
    width = max(row[:1].numel() for row in rows)
    count = max(1, block_size * WIDTH // max(1, width))
    return function(*rows) if len(rows[0]) <= count else _InBlocks.apply(function, count, *rows)


class _InBlocks(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, function: RowFunction, size: int, *rows: Tensor) -> tuple[Tensor, ...]:
        ctx.function, ctx.size = function, size
        ctx.save_for_backward(*rows)
        outputs: tuple[Tensor, ...] = ()
        for start in range(0, rows[0].size(0), size):
            block = function(*(row[start : start + size] for row in rows))
            if not outputs:
                outputs = tuple(part.new_empty(rows[0].size(0), *part.shape[1:]) for part in block)
            for output, part in zip(outputs, block, strict=True):
                output[start : start + size] = part
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        rows, needed = ctx.saved_tensors, ctx.needs_input_grad[2:]
        gradients = [torch.empty_like(row) if need else None for row, need in zip(rows, needed, strict=True)]
        for start in range(0, rows[0].size(0), ctx.size):
            here = slice(start, start + ctx.size)
            block = [row[here].detach().requires_grad_(need) for row, need in zip(rows, needed, strict=True)]
            with torch.enable_grad():
                outputs = ctx.function(*block)
            wanted = [row for row, need in zip(block, needed, strict=True) if need]
            varying = [
                (output, grad[here]) for output, grad in zip(outputs, grads, strict=True) if output.requires_grad
            ]
            ends, upstream = zip(*varying, strict=True)
            parts = iter(torch.autograd.grad(ends, wanted, upstream, materialize_grads=True))
            for gradient in gradients:
                if gradient is not None:
                    gradient[here] = next(parts)
        return None, None, *gradients
