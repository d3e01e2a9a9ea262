"""Validation frames that are split off a training set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

import torch
from torch_geometric.data import Data


@dataclass(frozen=True)
class ValidationSplit:
    """Validation frames drawn at random from a training set, where no file of them is given.

    Args:
        fraction: share of the training frames to validate on.
        seed: of the draw.
    """

    fraction: float = 0.1
    seed: int = 0

    def __call__(self, frames: Sequence[Data]) -> tuple[list[Data], list[Data]]:
        """Training and validation frames, each in the order of the set; isolated atoms are for training if possible.

        Raises:
            ValueError: if one of both would be empty.
        """
        count = round(self.fraction * len(frames))
        if not 0 < count < len(frames):
            raise ValueError(
                f"data.split.fraction {self.fraction} of {len(frames)} frames leaves an empty set: set data.val or more frames"
            )
        order = torch.randperm(len(frames), generator=torch.Generator().manual_seed(self.seed)).tolist()
        order.sort(key=lambda index: bool(frames[index].edge_index.numel() == 0))
        train, val = sorted(order[count:]), sorted(order[:count])
        return [frames[index] for index in train], [frames[index] for index in val]


def repeated_frames(first: Sequence[Data], second: Sequence[Data]) -> int:
    """Number of frames of the second set whose structure is in the first one, too, to the last digit."""
    known = {_structure(data) for data in first} if len(second) else set()
    return sum(_structure(data) in known for data in second)


def _structure(data: Data) -> bytes:
    parts = (data.z, data.pos, data.cell)
    return sha256(b"".join(part.contiguous().numpy().tobytes() for part in parts)).digest()
