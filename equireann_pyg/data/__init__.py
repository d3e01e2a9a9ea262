"""Data sets of atomic structures, and the Lightning module that serves them."""

from __future__ import annotations

from equireann_pyg.data.batches import Batches
from equireann_pyg.data.dataset import AtomsDataset, check_elements, elements_of
from equireann_pyg.data.module import AtomsDataModule
from equireann_pyg.data.reading import read_frames
from equireann_pyg.data.report import LabelReport, print_report
from equireann_pyg.data.sampling import OrderedSizeBatchSampler, ShardSampler, SizeBatchSampler, SizeBounds
from equireann_pyg.data.split import ValidationSplit

__all__ = [
    "AtomsDataModule",
    "AtomsDataset",
    "Batches",
    "LabelReport",
    "OrderedSizeBatchSampler",
    "ShardSampler",
    "SizeBatchSampler",
    "SizeBounds",
    "ValidationSplit",
    "check_elements",
    "elements_of",
    "print_report",
    "read_frames",
]
