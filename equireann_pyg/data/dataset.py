"""Graphs of all frames of one or many files, built once and kept on disk."""

from __future__ import annotations

import hashlib
import os
import uuid
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from ase import Atoms
from rich.progress import track
from torch.utils.data import Dataset
from torch_geometric.data import Data
from torch_geometric.data.collate import collate
from torch_geometric.data.separate import separate

from equireann_pyg.cache import user_cache
from equireann_pyg.checkpoint import load_plain
from equireann_pyg.data.reading import check_keys, read_frames, split_selection
from equireann_pyg.elements import describe
from equireann_pyg.graph import LabelKeys, from_ase

Files = str | Path | Sequence[str | Path]

CACHE_VERSION = 3
MANY = 300
"""From this number of frames on, graphs are built in several threads and with a progress bar."""


class AtomsDataset(Dataset[Data]):
    """Graphs of all frames of one or many files, built once and cached on disk.

    The cache holds tensors only and is named after the content of the files, the cutoff and the keys, so that it can
    never be out of date; a damaged one is rebuilt.

    Args:
        files: file or files that ``ase.io.read`` opens; ``name@0:100`` selects frames.
        cutoff: cutoff of the graphs in Angstrom.
        keys: names of the labels.
        cache_dir: folder of the cache; by default ``equireann_pyg`` in the user's cache folder.

    Attributes:
        graphs: one ``Data`` per frame, in the order of the files.
        elements: sorted atomic numbers that occur.

    Raises:
        FileNotFoundError: if a file does not exist.
        ValueError: for unreadable files, labels that are not finite, or keys that no frame has; names file and frame.
    """

    def __init__(
        self, files: Files, cutoff: float, keys: LabelKeys | None = None, cache_dir: str | Path | None = None
    ) -> None:
        self.files = [str(files)] if isinstance(files, (str, Path)) else [str(file) for file in files]
        if not self.files:
            raise ValueError("files is empty: name at least one file that ase.io.read opens")
        self.cutoff = cutoff
        self.keys = LabelKeys() if keys is None else keys
        folder = Path(cache_dir) if cache_dir is not None else user_cache()
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
        path, selection = split_selection(file)
        cache = folder / f"{path.name}-{self._fingerprint(path, selection)}.pt"
        stored = _read_cache(cache)
        if stored is None:
            frames = read_frames(file)
            notes = check_keys(file, frames, self.keys)
            stored = self._build(file, frames), notes
            _write_cache(*stored, cache)
        graphs, notes = stored
        for note in notes:
            warnings.warn(note, stacklevel=4)
        return graphs

    def _fingerprint(self, path: Path, selection: str) -> str:
        digest = hashlib.sha256(repr((CACHE_VERSION, selection, float(self.cutoff), self.keys)).encode())
        with open(path, "rb") as content:
            while block := content.read(1 << 20):
                digest.update(block)
        return digest.hexdigest()[:24]

    def _build(self, file: str, frames: list[Atoms]) -> list[Data]:
        def build(item: tuple[int, Atoms]) -> Data:
            index, atoms = item
            if len(atoms) == 0:
                raise ValueError(f"{file}, frame {index}: no atoms: remove the frame")
            try:
                return from_ase(atoms, self.cutoff, keys=self.keys)
            except ValueError as error:
                raise ValueError(f"{file}, frame {index}: {error}") from error

        if len(frames) < MANY:
            return [build(item) for item in enumerate(frames)]
        # Threads: neighbour search, sorting and tensor operations run outside of the interpreter's lock. Processes would
        # first import torch for seconds each, and cannot start from a script without an "if __name__" guard.
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            graphs = pool.map(build, enumerate(frames))
            try:
                return list(track(graphs, f"graphs of {Path(file).name}", total=len(frames), transient=True))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise


def _read_cache(path: Path) -> tuple[list[Data], list[str]] | None:
    if not path.is_file():
        return None
    try:
        stored = load_plain(path)
        packed = Data.from_dict(stored["graphs"])
        slices, count = stored["slices"], stored["count"]
        return [separate(Data, packed, index, slices, decrement=False) for index in range(count)], stored["notes"]
    except (RuntimeError, LookupError, ValueError, TypeError, AttributeError, OSError):
        return None


def _write_cache(graphs: list[Data], notes: list[str], path: Path) -> None:
    packed, slices, _ = collate(Data, graphs, increment=False, add_batch=False)
    stored = {"graphs": packed.to_dict(), "slices": dict(slices), "count": len(graphs), "notes": notes}
    partial = path.with_suffix(f".{uuid.uuid4().hex}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(stored, partial)
        partial.replace(path)
    except (OSError, RuntimeError):  # a full or read-only disk (RuntimeError from torch) costs the cache, not the run
        if partial.exists():
            partial.unlink()


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
