"""Other ways to evaluate a potential: what they have from it."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor

from equireann_pyg.potential.potential import Potential


class Form:
    """A potential that is evaluated in another way.

    Attributes:
        potential: the potential; it stays as it is.
    """

    potential: Potential

    @property
    def cutoff(self) -> float:
        """Cutoff of the potential in Angstrom."""
        return self.potential.cutoff

    @property
    def elements(self) -> list[int]:
        """Atomic numbers the potential knows."""
        return self.potential.elements

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of the arithmetic."""
        return self.potential.dtype


def sharing_copy(potential: Potential) -> Potential:
    """A copy that is evaluated, not trained, and whose parameters and buffers are those of the potential."""
    return deepcopy(potential, {id(tensor): tensor for tensor in _tensors(potential)}).eval()


def shares(copy: Potential, potential: Potential) -> bool:
    """Whether a :func:`sharing_copy` still has the tensors of its potential, which loses them when it is moved or converted."""
    return all(mine is theirs for mine, theirs in zip(_tensors(copy), _tensors(potential), strict=True))


def _tensors(potential: Potential) -> list[Tensor]:
    return [*potential.parameters(), *potential.buffers()]
