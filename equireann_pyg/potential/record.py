"""What a potential remembers of its training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor
from torch_geometric.data import Data

from equireann_pyg.elements import SYMBOLS, describe
from equireann_pyg.graph.known import known, question
from equireann_pyg.nn.exact import ExactBuffers

if TYPE_CHECKING:
    from typing_extensions import Self


@question("z")
def present(z: Tensor) -> frozenset[int]:
    """Atomic numbers that occur among ``z [N]``."""
    return frozenset(z.tolist())


class TrainingRecord(ExactBuffers):
    """Base class of potentials: whether one has been prepared, and for how many atoms of each element.

    Both are buffers, so that they are part of every file. States of earlier versions are of trained potentials, with all of
    their elements.

    Attributes:
        prepared: whether references, scale and statistics of a training set are there.
        training_atoms: number of atoms of each element ``[119]`` that the potential was trained on.
        allow_untrained: evaluate atoms of elements that it was not trained on, too.
    """

    earlier: ClassVar[Mapping[str, float]] = {"prepared": True, "training_atoms": 1}
    prepared: Tensor
    training_atoms: Tensor
    allow_untrained = False

    def __init__(self) -> None:
        super().__init__()
        self._untrained: set[int] = set()
        self.register_buffer("prepared", torch.tensor(False))
        self.register_buffer("training_atoms", torch.zeros(len(SYMBOLS), dtype=torch.int64))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *arguments: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, *arguments)
        self.train(self.training)

    @property
    def elements(self) -> list[int]:
        """Atomic numbers the model knows."""
        raise TypeError(f"{type(self).__name__} must define elements")

    def untrained_elements(self) -> list[int]:
        """Atomic numbers the model knows but, prepared for a training set, has not met there."""
        if not bool(self.prepared):
            return []
        counts = self.training_atoms.tolist()
        return [number for number in self.elements if counts[number] == 0]

    def record_training(self, dataset: Iterable[Data]) -> None:
        """Note that the potential has been prepared for, and is trained on, a set of graphs."""
        counts = sum(
            (torch.bincount(data.z, minlength=len(SYMBOLS)) for data in dataset),
            torch.zeros(len(SYMBOLS), dtype=torch.int64),
        )
        self.prepared.fill_(True)
        self.training_atoms.copy_(torch.maximum(self.training_atoms, counts.to(self.training_atoms)))
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Set training or evaluation mode; the latter looks up which elements are refused."""
        super().train(mode)
        self._untrained = set() if mode else set(self.untrained_elements())
        return self

    def check_trained(self, z: Tensor) -> None:
        """Refuse, in evaluation mode, atoms of elements that were never trained on.

        Args:
            z: atomic number of each atom ``[N]``.

        Raises:
            ValueError: naming them.
        """
        met = known(present, z) & self._untrained if self._untrained and not self.allow_untrained else frozenset()
        if met:
            raise ValueError(
                f"untrained element {describe(met)}: the model knows it, but its training set had no such atom, so its "
                "energies mean nothing; train on frames with it, or allow it (allow_untrained)"
            )
