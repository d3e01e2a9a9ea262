"""The Lightning module that serves training, validation, test and prediction sets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import lightning
import torch
from torch.utils.data import DistributedSampler
from torch_geometric.data import Data
from torch_geometric.loader import DataLoader

from equireann_pyg.data.dataset import AtomsDataset
from equireann_pyg.data.reading import keys_found, read_frames
from equireann_pyg.graph import LabelKeys


class ShardSampler(DistributedSampler[Data]):
    """Every frame exactly once over all processes, in order; the last shards may be shorter."""

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.rank, len(self.dataset), self.num_replicas))  # type: ignore[arg-type]

    def __len__(self) -> int:
        return len(range(self.rank, len(self.dataset), self.num_replicas))  # type: ignore[arg-type]


class AtomsDataModule(lightning.LightningDataModule):
    """Training, validation, test and prediction sets for the Lightning trainer.

    Args:
        cutoff: cutoff of the graphs in Angstrom; the command line takes it from the model.
        train: training file or files.
        val: validation files; without them a part of the training set is split off.
        test: test files.
        predict: files to predict.
        batch_size: frames per process and step.
        val_fraction: share of the training frames to validate on when ``val`` is not given.
        seed: seed of that split and of the shuffling.
        keys: names of the labels.
        num_workers: processes that collate batches.

    Raises:
        ValueError: if the batch size is not positive, or a needed set is missing, too small or without energies.
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
    ) -> None:
        super().__init__()
        if batch_size < 1:
            raise ValueError(f"batch_size: expected at least 1, got {batch_size}")
        self.cutoff = cutoff
        self.files = {"train": train, "val": val, "test": test, "predict": predict}
        self.batch_size = batch_size
        self.val_fraction = val_fraction
        self.seed = seed
        self.keys = keys
        self.num_workers = num_workers
        self.datasets: dict[str, Sequence[Data]] = {}

    def setup(self, stage: str) -> None:
        """Load what ``stage`` needs: fit, validate, test or predict."""
        if stage in ("test", "predict"):
            if stage not in self.datasets:
                self.datasets[stage] = self._read(stage, labelled=stage == "test")
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
        dataset = AtomsDataset(files, self.cutoff, self.keys)
        if labelled and not any(bool(torch.isfinite(data.energy).all()) for data in dataset):
            found = keys_found(read_frames(dataset.files[0])[0])
            raise ValueError(f"{dataset.files[0]}: no frame has an energy; set data.keys.energy ({found})")
        return dataset.graphs

    def _split(self, frames: Sequence[Data]) -> tuple[Sequence[Data], Sequence[Data]]:
        count = round(self.val_fraction * len(frames))
        if not 0 < count < len(frames):
            raise ValueError(
                f"val_fraction {self.val_fraction} of {len(frames)} frames leaves an empty set: set data.val or more frames"
            )
        order = torch.randperm(len(frames), generator=torch.Generator().manual_seed(self.seed)).tolist()
        train, val = sorted(order[count:]), sorted(order[:count])
        return [frames[index] for index in train], [frames[index] for index in val]

    def train_dataloader(self) -> DataLoader:
        """Shuffled anew each epoch, as a function of seed and epoch alone."""
        world, rank = self._processes()
        dataset = self.datasets["train"]
        sampler: DistributedSampler[Data] = DistributedSampler(dataset, world, rank, shuffle=True, seed=self.seed)  # type: ignore[arg-type]
        return self._loader(dataset, sampler)

    def val_dataloader(self) -> DataLoader:
        """Validation frames in order."""
        return self._ordered("val")

    def test_dataloader(self) -> DataLoader:
        """Test frames in order."""
        return self._ordered("test")

    def predict_dataloader(self) -> DataLoader:
        """Frames to predict, in order."""
        return self._ordered("predict")

    def _ordered(self, name: str) -> DataLoader:
        world, rank = self._processes()
        return self._loader(self.datasets[name], ShardSampler(self.datasets[name], world, rank))  # type: ignore[arg-type]

    def _processes(self) -> tuple[int, int]:
        return (self.trainer.world_size, self.trainer.global_rank) if self.trainer is not None else (1, 0)

    def _loader(self, dataset: Sequence[Data], sampler: DistributedSampler[Data]) -> DataLoader:
        return DataLoader(
            dataset,
            batch_size=self.batch_size,
            sampler=sampler,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
        )
