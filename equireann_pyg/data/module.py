"""The Lightning module that serves training, validation, test and prediction sets."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import lightning
import torch
from ase import Atoms
from torch.utils.data import DistributedSampler
from torch_geometric.data import Batch, Data
from torch_geometric.loader import DataLoader

from equireann_pyg.data.dataset import AtomsDataset, file_list
from equireann_pyg.data.reading import read_frames
from equireann_pyg.data.report import LabelReport, keys_found, print_report
from equireann_pyg.data.sampling import (
    OrderedSizeBatchSampler,
    ShardSampler,
    SizeBatchSampler,
    SizeBounds,
    frame_sizes,
)
from equireann_pyg.graph.labels import CONDITIONS, LabelKeys

LOGGER = logging.getLogger(__name__)

PREFETCH = 4
"""Batches that each worker keeps ready: more than the two of torch, because steps take different times."""


class EpochLoader(DataLoader):
    """Draws nothing before its first batch is asked for.

    Of a resumed run, Lightning makes the iterator first and tells the sampler its epoch afterwards: by then workers would
    already have drawn batches of epoch 0.
    """

    def __iter__(self) -> Iterator[Batch]:
        yield from super().__iter__()


class AtomsDataModule(lightning.LightningDataModule):
    """Training, validation, test and prediction sets for the Lightning trainer.

    Args:
        cutoff: cutoff of the graphs in Angstrom; the command line takes it from the model.
        train: training file or files.
        val: validation files; without them a part of the training set is split off.
        test: test files.
        predict: files to predict.
        batch_size: frames per process and step; without effect where ``max_atoms`` or ``max_edges`` is given.
        val_fraction: share of the training frames to validate on when ``val`` is not given.
        seed: seed of that split and of the shuffling.
        keys: names of the labels; null switches one off.
        num_workers: processes that collate the next batches while the model works on this one; 0 collates in between.
        max_atoms: largest number of atoms per process and step, in place of ``batch_size``: as many frames as fit.
        max_edges: largest number of edges per process and step, likewise; both may be given.
        labels: labels to read; the command line takes them from the model. None reads all.
        references: energies of isolated atoms in eV by chemical symbol; by default those of isolated-atom frames, else fitted.

    Raises:
        ValueError: if a number is out of range, if a needed set is missing, too small or without energies, or if a frame
            alone has more atoms or edges than a batch may have.
    """

    def __init__(
        self,
        cutoff: float,
        train: str | list[str] | None = None,
        val: str | list[str] | None = None,
        test: str | list[str] | None = None,
        predict: str | list[str] | None = None,
        batch_size: int = 16,
        val_fraction: float = 0.1,
        seed: int = 0,
        keys: LabelKeys | None = None,
        num_workers: int = 0,
        max_atoms: int | None = None,
        max_edges: int | None = None,
        labels: list[str] | None = None,
        references: dict[str, float] | None = None,
    ) -> None:
        super().__init__()
        if batch_size < 1:
            raise ValueError(f"batch_size: expected at least 1, got {batch_size}")
        if num_workers < 0:
            raise ValueError(f"num_workers: expected at least 0, got {num_workers}")
        self.cutoff = cutoff
        self.files = {"train": train, "val": val, "test": test, "predict": predict}
        self.batch_size = batch_size
        self.val_fraction = val_fraction
        self.seed = seed
        self.keys = keys
        self.num_workers = num_workers
        self.bounds = None if max_atoms is None and max_edges is None else SizeBounds(max_atoms, max_edges)
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
        if self.bounds is not None:
            for name, dataset in self.datasets.items():
                self.bounds.check(frame_sizes(dataset), f"{name} set, frame")
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
            self.datasets["train"], self.datasets["val"] = self._split(self._read("train", labelled=True))

    def _read(self, name: str, labelled: bool) -> Sequence[Data]:
        files = self.files[name]
        if not files:
            raise ValueError(f"data.{name} is not set: name a file, for example --data.{name}=frames.extxyz")
        labels = self.labels
        if not labelled:  # conditions only: a structure to predict needs no labels
            labels = [name for name in CONDITIONS if labels is None or name in labels]
        dataset = AtomsDataset(files, self.cutoff, self.keys, labels=labels)
        if not labelled:
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

    def _split(self, frames: Sequence[Data]) -> tuple[Sequence[Data], Sequence[Data]]:
        count = round(self.val_fraction * len(frames))
        if not 0 < count < len(frames):
            raise ValueError(
                f"val_fraction {self.val_fraction} of {len(frames)} frames leaves an empty set: set data.val or more frames"
            )
        order = torch.randperm(len(frames), generator=torch.Generator().manual_seed(self.seed)).tolist()
        order.sort(key=lambda index: bool(frames[index].edge_index.numel() == 0))  # isolated atoms are for training
        train, val = sorted(order[count:]), sorted(order[:count])
        return [frames[index] for index in train], [frames[index] for index in val]

    def largest_batch(self, name: str) -> tuple[int, int]:
        """Numbers of atoms and edges that no batch of a loaded set exceeds, in whatever epoch and process.

        Args:
            name: train, val, test or predict.
        """
        sizes = frame_sizes(self.datasets[name])
        if self.bounds is not None:
            return self.bounds.largest(sizes)
        atoms, edges = sizes.sort(0, descending=True).values[: self.batch_size].sum(0).tolist()
        return atoms, edges

    def train_dataloader(self) -> DataLoader:
        """Shuffled anew each epoch, as a function of seed and epoch alone."""
        dataset, processes = self.datasets["train"], self._processes()
        if self.bounds is not None:
            batches = SizeBatchSampler(frame_sizes(dataset), self.bounds, *processes, self.seed)
            return self._loader(dataset, batch_sampler=batches)
        sampler: DistributedSampler[Data] = DistributedSampler(dataset, *processes, shuffle=True, seed=self.seed)  # type: ignore[arg-type]
        return self._loader(dataset, batch_size=self.batch_size, sampler=sampler)

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
        """Send a batch to the device; from pinned memory to a GPU without waiting for it."""
        return batch.to(device, non_blocking=device.type == "cuda")

    def _ordered(self, name: str) -> DataLoader:
        dataset, processes = self.datasets[name], self._processes()
        if self.bounds is not None:
            batches = OrderedSizeBatchSampler(frame_sizes(dataset), self.bounds, *processes)
            return self._loader(dataset, batch_sampler=batches)
        return self._loader(dataset, batch_size=self.batch_size, sampler=ShardSampler(dataset, *processes))  # type: ignore[arg-type]

    def _processes(self) -> tuple[int, int]:
        return (self.trainer.world_size, self.trainer.global_rank) if self.trainer is not None else (1, 0)

    def _loader(self, dataset: Sequence[Data], **batching: Any) -> DataLoader:
        if self.num_workers > 0:
            # Forked workers share the graphs. Others, the default on Linux from Python 3.14 on, get them through one
            # file descriptor per tensor, of which large sets have more than a process may open.
            start = "fork" if sys.platform == "linux" else None
            batching |= {"persistent_workers": True, "prefetch_factor": PREFETCH, "multiprocessing_context": start}
        return EpochLoader(dataset, num_workers=self.num_workers, pin_memory=torch.cuda.is_available(), **batching)
