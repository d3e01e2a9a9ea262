"""Data sets of atomic structures, and the Lightning module that serves them."""

from __future__ import annotations

from equireann_pyg.data.dataset import AtomsDataset, check_elements
from equireann_pyg.data.module import AtomsDataModule, ShardSampler
from equireann_pyg.data.reading import read_frames

__all__ = ["AtomsDataModule", "AtomsDataset", "ShardSampler", "check_elements", "read_frames"]
