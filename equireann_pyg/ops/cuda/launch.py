"""What all launches of kernels share."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
import triton
from torch import Tensor


def on(tensor: Tensor) -> AbstractContextManager[object]:
    """The device of a tensor as the current one: Triton launches there, wherever the tensors are."""
    return torch.cuda.device(tensor.device) if tensor.is_cuda else nullcontext()


def power(size: int) -> int:
    """Smallest power of two that is not less: sizes of blocks must be such."""
    return int(triton.next_power_of_2(max(size, 1)))


def channels(count: int, largest: int) -> int:
    """Channels of a block: the largest power of two that divides their number into whole blocks, else one that leaves some."""
    block = min(power(count), largest)
    while block > 16 and count % block and count % (block // 2) == 0:
        block //= 2
    return block


def blocks(count: int, size: int) -> int:
    """Number of blocks of a size that hold so many."""
    return -(-count // size)


def check(name: str, tensor: Tensor, *shape: int) -> Tensor:
    """The tensor, contiguous.

    Raises:
        ValueError: if it has another shape.
    """
    if tensor.shape != shape:
        raise ValueError(f"{name}: expected the shape {list(shape)}, got {list(tensor.shape)}")
    return tensor.contiguous()
