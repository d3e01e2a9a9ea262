"""The Lightning module that serves training, validation, test and prediction sets."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from typing import Any

import lightning
import torch
from ase import Atoms
from torch_geometric.data import Batch, Data
from torch_geometric.loader import DataLoader

from equireann_pyg.data.batches import Batches
from equireann_pyg.data.dataset import AtomsDataset, file_list
from equireann_pyg.data.reading import read_frames
from equireann_pyg.data.report import LabelReport, keys_found, print_report
from equireann_pyg.data.split import ValidationSplit, repeated_frames
from equireann_pyg.graph.known import to_device
from equireann_pyg.graph.labels import CONDITIONS, LabelKeys
from equireann_pyg.moved import renamed

LOGGER = logging.getLogger(__name__)


class AtomsDataModule(lightning.LightningDataModule):
    """Training, validation, test and prediction sets for the Lightning trainer.

    Args:
        cutoff: cutoff of the graphs in Angstrom; the command line takes it from the model.
        train: training file or files.
        val: validation files; without them a part of the training set is split off.
        test: test files.
        predict: files to predict.
        split: how validation frames are split off where ``val`` is not given.
        batches: size of the batches, and who puts them together.
        keys: names of the labels; null switches one off.
        labels: labels to read; the command line takes them from the model. None reads all.
        references: energies of isolated atoms in eV by chemical symbol; by default those of isolated-atom frames, else fitted.

    Raises:
        ValueError: if a needed set is missing, too small or without energies, or if a frame alone has more atoms or edges than
            a batch may have.
    """

    def __init__(
        self,
        cutoff: float,
        train: str | list[str] | None = None,
        val: str | list[str] | None = None,
        test: str | list[str] | None = None,
        predict: str | list[str] | None = None,
        split: ValidationSplit = ValidationSplit(),
        batches: Batches = Batches(),
        keys: LabelKeys | None = None,
        labels: list[str] | None = None,
        references: dict[str, float] | None = None,
    ) -> None:
        super().__init__()
        self.cutoff = cutoff
        self.files = {"train": train, "val": val, "test": test, "predict": predict}
        self.split, self.batches = split, batches
        self.keys = keys
        self.labels = labels
        self.references = references
        self.datasets: dict[str, Sequence[Data]] = {}
        self.reports: dict[str, list[LabelReport]] = {}

    def setup(self, stage: str) -> None:
        """Load what ``stage`` needs: fit, validate, test or predict; a table tells which labels were found."""
        before = set(self.reports)
        self._load(stage)
        new = [report for name in self.reports if name not in before for report in self.reports[name]]
        if new and self._processes()[1] == 0:
            print_report(new)
            if number := repeated_frames(self.datasets.get("train", ()), self.datasets.get("val", ())):
                LOGGER.warning(
                    f"{number} of the validation frames are in the training set, too: validation errors are too small"
                )
        for name, dataset in self.datasets.items():
            self.batches.check(dataset, f"{name} set, frame")
        if stage == "fit" and self._processes()[1] == 0:
            atoms, edges = self.largest_batch("train")
            LOGGER.info(f"a training batch has at most {atoms} atoms and {edges} edges")

    def _load(self, stage: str) -> None:
        if stage in ("test", "predict"):
            name = "test" if stage == "test" else "predict"  # Lightning's stage is no plain word
            if name not in self.datasets:
                self.datasets[name] = self._read(name, labelled=name == "test")
            return
        if self.files["val"]:
            if stage == "fit" and "train" not in self.datasets:
                self.datasets["train"] = self._read("train", labelled=True)
            if "val" not in self.datasets:
                self.datasets["val"] = self._read("val", labelled=True)
        elif "train" not in self.datasets:
            self.datasets["train"], self.datasets["val"] = self.split(self._read("train", labelled=True))

    def _read(self, name: str, labelled: bool) -> Sequence[Data]:
        files = self.files[name]
        if not files:
            raise ValueError(f"data.{name} is not set: name a file, for example --data.{name}=frames.extxyz")
        labels = self.labels
        if not labelled:  # conditions only: a structure to predict needs no labels
            labels = [name for name in CONDITIONS if labels is None or name in labels]
        dataset = AtomsDataset(files, self.cutoff, self.keys, labels=labels)
        if not labelled:
            for name in sorted(set(labels or ()) - {name for report in dataset.reports for name in report.sources}):
                LOGGER.info(f"{name}: zero, for no frame has '{getattr(self.keys or LabelKeys(), name)}'")
            return dataset.graphs
        self.reports[name] = dataset.reports
        if not any(report.count("energy") for report in dataset.reports):
            found = keys_found(read_frames(dataset.files[0])[0])
            raise ValueError(f"{dataset.files[0]}: no frame has an energy; set data.keys.energy ({found})")
        return dataset.graphs

    def structures(self, name: str) -> list[Atoms]:
        """Structures of a set as they are in its files, which are read again for them.

        Args:
            name: train, val, test or predict.
        """
        return [atoms for file in file_list(self.files[name] or []) for atoms in read_frames(file)]

    def largest_batch(self, name: str) -> tuple[int, int]:
        """Numbers of atoms and edges that no batch of a loaded set exceeds, in whatever epoch and process.

        Args:
            name: train, val, test or predict.
        """
        return self.batches.largest(self.datasets[name])

    def train_dataloader(self) -> DataLoader:
        """Shuffled anew each epoch, as a function of seed and epoch alone."""
        return self.batches.shuffled(self.datasets["train"], *self._processes())

    def val_dataloader(self) -> DataLoader:
        """Validation frames in order."""
        return self._ordered("val")

    def test_dataloader(self) -> DataLoader:
        """Test frames in order."""
        return self._ordered("test")

    def predict_dataloader(self) -> DataLoader:
        """Frames to predict, in order."""
        # Lightning cannot know that this sampler leaves no frame out, and warns of it.
        warnings.filterwarnings("ignore", "You are using a custom batch sampler `OrderedSizeBatchSampler`")
        return self._ordered("predict")

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Send a batch to the device, from pinned memory to a GPU without waiting for it, and with what is known of it."""
        return to_device(batch, device, non_blocking=device.type == "cuda")

    def _ordered(self, name: str) -> DataLoader:
        return self.batches.ordered(self.datasets[name], *self._processes())

    def _processes(self) -> tuple[int, int]:
        return (self.trainer.world_size, self.trainer.global_rank) if self.trainer is not None else (1, 0)


def __getattr__(name: str) -> Any:
    return renamed(__name__, name)
