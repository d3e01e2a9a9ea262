"""Other ways to evaluate a potential: what they have from it."""

from __future__ import annotations

import torch

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
