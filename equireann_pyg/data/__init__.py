"""Data sets of atomic structures, and the Lightning module that serves them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from equireann_pyg.lazy import lazy_names

if TYPE_CHECKING:
    from equireann_pyg.data.batches import Batches
    from equireann_pyg.data.dataset import AtomsDataset, check_elements, elements_of
    from equireann_pyg.data.module import AtomsDataModule
    from equireann_pyg.data.reading import read_frames
    from equireann_pyg.data.reann import read_reann_configuration, write_reann_configuration
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
    "read_reann_configuration",
    "write_reann_configuration",
]

# Imported at first use, so that a module of this package brings no more than it needs.
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "batches": ("Batches",),
        "dataset": ("AtomsDataset", "check_elements", "elements_of"),
        "module": ("AtomsDataModule",),
        "reading": ("read_frames",),
        "reann": ("read_reann_configuration", "write_reann_configuration"),
        "report": ("LabelReport", "print_report"),
        "sampling": ("OrderedSizeBatchSampler", "ShardSampler", "SizeBatchSampler", "SizeBounds"),
        "split": ("ValidationSplit",),
    },
)
