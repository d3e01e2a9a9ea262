"""Data sets of atomic structures, and the Lightning module that serves them."""

from __future__ import annotations

import hashlib
import io
import lzma
import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import lightning
import torch
from ase import Atoms
from ase.io import iread
from rich.progress import track
from torch.utils.data import Dataset, DistributedSampler
from torch_geometric.data import Data
from torch_geometric.data.collate import collate
from torch_geometric.data.separate import separate
from torch_geometric.loader import DataLoader

from equireann_pyg.elements import describe
from equireann_pyg.graph import LabelKeys, find_label, from_ase

Files = str | Path | Sequence[str | Path]

CACHE_VERSION = 1
PICKLES = {".pkl", ".pickle", ".p", ".pt", ".pth"}
MANY = 300
"""From this number of frames on, graphs are built in several threads and with a progress bar."""


def read_frames(file: str | Path) -> list[Atoms]:
    """All frames of a file that ASE can read; ``name@0:100`` selects frames as ASE does.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is a pickle, empty, truncated or unreadable.
    """
    name, _, selection = str(file).partition("@")
    path = Path(name)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    if path.suffix.lower() in PICKLES:
        raise ValueError(f"{path}: a pickle can run code and is not read; convert it to extended XYZ")
    try:
        frames = list(iread(_opened(path), selection or ":", **_format(path)))
    except Exception as error:  # ASE's readers raise anything on a broken file
        raise ValueError(f"{path}: unreadable or truncated ({type(error).__name__}: {_one_line(error)})") from error
    if not frames:
        raise ValueError(f"{path}: no frames; expected a file that ase.io.read can open")
    return frames


def _opened(path: Path) -> str | io.StringIO:
    # Seeking in xz starts from the beginning each time: minutes for a thousand frames.
    if path.suffix == ".xz":
        with lzma.open(path, "rt") as file:
            return io.StringIO(file.read())
    return str(path)


def _format(path: Path) -> dict[str, Any]:
    stem = path.name.removesuffix(".xz").removesuffix(".gz").removesuffix(".bz2")
    if stem.endswith((".xyz", ".extxyz")):
        return {"format": "extxyz"}
    return {"format": "reann-configuration"} if stem == "configuration" else {}


def _one_line(error: Exception) -> str:
    return re.sub(r"\s+", " ", str(error))[:200]


class AtomsDataset(Dataset[Data]):
    """Graphs of all frames of one or many files, built once and cached on disk.

    The cache holds tensors only and is named after the content of the files, the cutoff and the keys, so that it can
    never be out of date; a damaged one is rebuilt.

    Args:
        files: file or files that ``ase.io.read`` opens.
        cutoff: cutoff of the graphs in Angstrom.
        keys: names of the labels.
        cache_dir: folder of the cache; by default ``equireann_pyg`` in the user's cache folder.

    Raises:
        FileNotFoundError: if a file does not exist.
        ValueError: for unreadable files, labels that are not finite, or keys that no frame has; names file and frame.
    """

    def __init__(
        self, files: Files, cutoff: float, keys: LabelKeys | None = None, cache_dir: str | Path | None = None
    ) -> None:
        self.files = [str(files)] if isinstance(files, (str, Path)) else [str(file) for file in files]
        self.cutoff = cutoff
        self.keys = LabelKeys() if keys is None else keys
        folder = Path(cache_dir) if cache_dir is not None else _user_cache()
        self.graphs: list[Data] = []
        for file in self.files:
            self.graphs += self._load(file, folder)
        self.elements: list[int] = torch.cat([data.z for data in self.graphs]).unique().tolist()

    def __len__(self) -> int:
        return len(self.graphs)

    def __getitem__(self, index: Any) -> Any:
        return self.graphs[index]

    def __iter__(self) -> Iterator[Data]:
        return iter(self.graphs)

    def _load(self, file: str, folder: Path) -> list[Data]:
        name, _, _ = file.partition("@")
        if not Path(name).is_file():
            raise FileNotFoundError(f"{name}: no such file")
        cache = folder / f"{Path(name).name}-{self._fingerprint(file)}.pt"
        graphs = _read_cache(cache)
        if graphs is None:
            graphs = self._build(file)
            _write_cache(graphs, cache)
        return graphs

    def _fingerprint(self, file: str) -> str:
        name, _, selection = file.partition("@")
        digest = hashlib.sha256(repr((CACHE_VERSION, selection, self.cutoff, self.keys)).encode())
        with open(name, "rb") as content:
            while block := content.read(1 << 20):
                digest.update(block)
        return digest.hexdigest()[:24]

    def _build(self, file: str) -> list[Data]:
        frames = read_frames(file)
        self._check_keys(file, frames)

        def build(item: tuple[int, Atoms]) -> Data:
            index, atoms = item
            try:
                return from_ase(atoms, self.cutoff, keys=self.keys)
            except ValueError as error:
                raise ValueError(f"{file}, frame {index}: {error}") from error

        if len(frames) < MANY:
            return [build(item) for item in enumerate(frames)]
        # Threads suffice: the neighbour search and the sorting run outside of the interpreter's lock.
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            graphs = pool.map(build, enumerate(frames))
            return list(track(graphs, f"graphs of {Path(file).name}", total=len(frames), transient=True))

    def _check_keys(self, file: str, frames: list[Atoms]) -> None:
        default = LabelKeys()
        for name in ("energy", "forces", "stress"):
            key = getattr(self.keys, name)
            if key != getattr(default, name) and all(find_label(atoms, key) is None for atoms in frames):
                raise ValueError(f"{file}: no frame has {name} under the key '{key}'; {_keys_found(frames[0])}")


def _keys_found(atoms: Atoms) -> str:
    results = getattr(atoms.calc, "results", {})
    places = {"info": atoms.info, "arrays": atoms.arrays, "calculator": results}
    return "the first has " + ", ".join(f"{name}: {sorted(place)}" for name, place in places.items())


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "equireann_pyg"


def _read_cache(path: Path) -> list[Data] | None:
    if not path.is_file():
        return None
    try:
        stored = torch.load(path, weights_only=True)
        packed = Data.from_dict(stored["graphs"])
        slices, count = stored["slices"], stored["count"]
        return [separate(Data, packed, index, slices, decrement=False) for index in range(count)]
    except (RuntimeError, KeyError, EOFError, ValueError, TypeError, AttributeError, OSError, UnpicklingError):
        return None


def _write_cache(graphs: list[Data], path: Path) -> None:
    packed, slices, _ = collate(Data, graphs, increment=False, add_batch=False)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save({"graphs": packed.to_dict(), "slices": dict(slices), "count": len(graphs)}, partial)
        partial.replace(path)
    except OSError:  # a full or read-only disk costs the cache, not the run
        partial.unlink(missing_ok=True)


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
        ValueError: if a needed set is missing, too small or without energies.
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
        if stage in ("fit", "validate") and "val" not in self.datasets:
            if stage == "fit" or not self.files["val"]:
                self.datasets["train"] = self._read("train", labelled=True)
            if self.files["val"]:
                self.datasets["val"] = self._read("val", labelled=True)
            else:
                self._split()
        if stage in ("test", "predict") and stage not in self.datasets:
            self.datasets[stage] = self._read(stage, labelled=stage == "test")

    def _read(self, name: str, labelled: bool) -> Sequence[Data]:
        files = self.files[name]
        if not files:
            raise ValueError(f"data.{name} is not set: name a file, for example --data.{name}=frames.extxyz")
        dataset = AtomsDataset(files, self.cutoff, self.keys)
        if labelled and not any(bool(torch.isfinite(data.energy).all()) for data in dataset):
            found = _keys_found(read_frames(dataset.files[0])[0])
            raise ValueError(f"{dataset.files[0]}: no frame has an energy; set data.keys.energy ({found})")
        return dataset.graphs

    def _split(self) -> None:
        frames = self.datasets["train"]
        count = round(self.val_fraction * len(frames))
        if not 0 < count < len(frames):
            raise ValueError(
                f"val_fraction {self.val_fraction} of {len(frames)} frames leaves an empty set: set data.val or more frames"
            )
        order = torch.randperm(len(frames), generator=torch.Generator().manual_seed(self.seed)).tolist()
        self.datasets["val"] = [frames[index] for index in sorted(order[:count])]
        self.datasets["train"] = [frames[index] for index in sorted(order[count:])]

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


def check_elements(dataset: Sequence[Data], known: Sequence[int], name: str) -> None:
    """Refuse a data set with elements that a model does not know.

    Raises:
        ValueError: naming the first such frame and what to write instead.
    """
    for index, data in enumerate(dataset):
        unknown = set(data.z.tolist()) - set(known)
        if unknown:
            raise ValueError(
                f"{name} set, frame {index}: unknown element {describe(unknown)}; the model was made for "
                f"{describe(known)}: add it to model.elements"
            )
