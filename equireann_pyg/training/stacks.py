"""Matrices of many shapes in few stacks: an operation is started once for each stack, not once for each matrix."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor


class Stacks:
    """Matrices of about equal size in one stack, filled up with zeros.

    The sides of a stack are multiples of ``unit``, and tall matrices lie in it transposed. Filling and emptying are one
    concatenation and one selection each, however many matrices and stacks there are. Where they select is worked out on the
    device, so that nothing is waited for.

    Args:
        shapes: of matrices or stacks of them, ``[..., a, b]``.
        device: where they are.
        unit: what divides the sides of the stacks.

    Attributes:
        sizes: of the stacks, [B, d, D] with d <= D.
    """

    def __init__(self, shapes: Sequence[torch.Size], device: torch.device, unit: int) -> None:
        self.shapes, self._counts = shapes, [shape.numel() for shape in shapes]
        zero = sum(self._counts)  # number of the entry that stands for all zeros
        numbers, alike = torch.arange(zero, device=device).split(self._counts), dict[torch.Size, list[Tensor]]()
        for shape, number in zip(shapes, numbers, strict=True):
            matrix = number.view(shape[:-2].numel(), *shape[-2:])
            matrix = matrix.mT if shape[-2] > shape[-1] else matrix
            fill = 0, -matrix.size(-1) % unit, 0, -matrix.size(-2) % unit
            filled = torch.nn.functional.pad(matrix, fill, value=zero)  # -> [b, d, D]
            alike.setdefault(filled.shape[1:], []).append(filled)
        stacks = [torch.cat(members) for members in alike.values()]
        self.sizes = [stack.shape for stack in stacks]
        self._entries = torch.cat([stack.view(-1) for stack in stacks])
        places = torch.arange(self._entries.numel(), device=device)
        self._places = places.new_empty(zero + 1).scatter(0, self._entries, places)[:-1]  # the inverse of the entries

    def filled(self, matrices: Sequence[Tensor]) -> list[Tensor]:
        """The stacks of matrices that have the shapes, in the same order."""
        entries = torch.cat([*(matrix.reshape(-1) for matrix in matrices), matrices[0].new_zeros(1)])
        parts = entries.index_select(0, self._entries).split([size.numel() for size in self.sizes])
        return [part.view(size) for part, size in zip(parts, self.sizes, strict=True)]

    def emptied(self, stacks: Sequence[Tensor]) -> list[Tensor]:
        """The matrices of the stacks, in their own shapes."""
        entries = torch.cat([stack.reshape(-1) for stack in stacks]).index_select(0, self._places)
        return [part.view(shape) for part, shape in zip(entries.split(self._counts), self.shapes, strict=True)]


@lru_cache(maxsize=16)
def stacks_for(shapes: tuple[torch.Size, ...], device: torch.device, unit: int) -> Stacks:
    """Stacks that are kept, as all steps of an optimiser need the same."""
    return Stacks(shapes, device, unit)


def unit_for(device: torch.device) -> int:
    """What the sides of stacks are best multiples of.

    A GPU multiplies by zeros in less time than it takes to start one more operation. For a CPU they are work as all numbers
    are, but for those that fill up its registers.
    """
    return 8 if device.type == "cpu" else 64
