"""Graphs of all frames of one or many files, built once and kept on disk."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import torch
from ase import Atoms
from rich.progress import track
from torch.utils.data import Dataset
from torch_geometric.data import Data
from torch_geometric.data.collate import collate
from torch_geometric.data.separate import separate

from equireann_pyg.data.reading import Reading, forget, keep, split_selection, take
from equireann_pyg.data.report import LabelReport, check_names, make_report
from equireann_pyg.elements import check_known
from equireann_pyg.files import UnwritableCacheError, replacing, user_cache, writing_cache
from equireann_pyg.graph.convert import labelled_graph
from equireann_pyg.graph.labels import KINDS, FrameLabels, LabelKeys, label_places, read_labels
from equireann_pyg.potential.checkpoint import load_plain

Files = str | Path | Sequence[str | Path]

CACHE_VERSION = 5
MANY = 300
"""From this number of frames on, graphs are built in several threads and with a progress bar."""


class AtomsDataset(Dataset[Data]):
    """Graphs of all frames of one or many files, built once and cached on disk.

    The cache holds tensors only and is named after the content of the files, the cutoff, the keys and the labels, so that
    it can never be out of date; a damaged one is rebuilt.

    Args:
        files: file or files that ``ase.io.read`` opens; ``name@0:100`` selects frames.
        cutoff: cutoff of the graphs in Angstrom.
        keys: names of the labels.
        cache_dir: folder of the cache; by default ``equireann_pyg`` in the user's cache folder.
        labels: labels and conditions to read, names of :data:`equireann_pyg.graph.labels.KINDS`; others are not looked at,
            malformed or not. None reads all, and leaves out with a warning what nobody named and cannot be read.

    Attributes:
        graphs: one ``Data`` per frame, in the order of the files.
        elements: sorted atomic numbers that occur.
        reports: one :class:`LabelReport` per file.

    Raises:
        FileNotFoundError: if a file does not exist.
        ValueError: for unreadable files, labels that cannot be read, or keys that no frame has; names file and frame.
    """

    def __init__(
        self,
        files: Files,
        cutoff: float,
        keys: LabelKeys | None = None,
        cache_dir: str | Path | None = None,
        labels: Collection[str] | None = None,
    ) -> None:
        self.files = file_list(files)
        if not self.files:
            raise ValueError("files is empty: name at least one file that ase.io.read opens")
        self.cutoff = cutoff
        self.keys = LabelKeys() if keys is None else keys
        self.labels = None if labels is None else [name for name in KINDS if name in labels]
        if labels is not None and not set(labels) <= set(KINDS):
            raise ValueError(f"labels: expected some of {list(KINDS)}, got {sorted(set(labels) - set(KINDS))}")
        folder = Path(cache_dir) if cache_dir is not None else user_cache()
        self.graphs: list[Data] = []
        self.reports: list[LabelReport] = []
        for file in self.files:
            graphs, report = self._load(file, folder)
            self.graphs += graphs
            self.reports.append(report)
        self.elements: list[int] = torch.cat([data.z for data in self.graphs]).unique().tolist()

    def __len__(self) -> int:
        return len(self.graphs)

    def __getitem__(self, index: Any) -> Any:
        return self.graphs[index]

    def __iter__(self) -> Iterator[Data]:
        return iter(self.graphs)

    def _load(self, file: str, folder: Path) -> tuple[list[Data], LabelReport]:
        path, selection = split_selection(file)
        settings = (CACHE_VERSION, selection, float(self.cutoff), self.keys, self.labels)
        cache = folder / f"{path.name}-{fingerprint(path, settings)}.pt"
        stored = _read_cache(cache)
        if stored is None:
            reading = take(file)
            graphs, found = self._build(file, reading)
            labels = list(KINDS) if self.labels is None else self.labels
            report = make_report(file, reading.frames, found, labels, reading.notes)
            check_names(report, reading.frames, self.keys, asked=self.labels is not None)
            stored = graphs, report
            _write_cache(*stored, cache)
        forget(file)
        graphs, report = stored
        report.file = file
        for loss in report.losses:
            warnings.warn(f"{file}: {loss}", stacklevel=4)
        return graphs, report

    def _build(self, file: str, reading: Reading) -> tuple[list[Data], list[FrameLabels]]:
        frames = reading.frames
        names = {key for atoms in frames for place in label_places(atoms).values() for key in place}

        def build(item: tuple[int, Atoms]) -> tuple[Data, FrameLabels]:
            index, atoms = item
            if len(atoms) == 0:
                raise ValueError(f"{file}, {reading.place(index)}: no atoms: remove the frame")
            try:
                labels = read_labels(atoms, self.keys, self.labels, names, lenient=self.labels is None)
                return labelled_graph(atoms, self.cutoff, labels.values), labels
            except ValueError as error:
                raise ValueError(f"{file}, {reading.place(index)}: {error}") from error

        if len(frames) < MANY:
            return _unzipped(build(item) for item in enumerate(frames))
        # Threads: neighbour search, sorting and tensor operations run outside of the interpreter's lock. Processes would
        # first import torch for seconds each, and cannot start from a script without an "if __name__" guard.
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            built = pool.map(build, enumerate(frames))
            try:
                return _unzipped(track(built, f"graphs of {Path(file).name}", total=len(frames), transient=True))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise


def _unzipped(built: Iterable[tuple[Data, FrameLabels]]) -> tuple[list[Data], list[FrameLabels]]:
    pairs = list(built)
    return [graph for graph, _ in pairs], [labels for _, labels in pairs]


def file_list(files: Files) -> list[str]:
    """Names of a file or of several."""
    return [str(files)] if isinstance(files, (str, Path)) else [str(file) for file in files]


def fingerprint(path: Path, settings: Any) -> str:
    """Digest of the content of a file and of settings, for the name of a cache."""
    digest = hashlib.sha256(repr(settings).encode())
    with open(path, "rb") as content:
        while block := content.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()[:24]


def elements_of(files: Files, cache_dir: str | Path | None = None) -> list[int]:
    """Sorted atomic numbers that occur in a file or several.

    The answer is cached by the content of the file. A file that must be parsed for it is kept in memory for the
    :class:`AtomsDataset` that follows.

    Args:
        files: file or files that ``ase.io.read`` opens; ``name@0:100`` selects frames.
        cache_dir: folder of the cache; by default ``equireann_pyg`` in the user's cache folder.

    Raises:
        FileNotFoundError: if a file does not exist.
        ValueError: for unreadable files.
    """
    folder = Path(cache_dir) if cache_dir is not None else user_cache()
    elements: set[int] = set()
    for file in file_list(files):
        path, selection = split_selection(file)
        cache = folder / f"{path.name}-{fingerprint(path, (CACHE_VERSION, selection))}.elements.json"
        stored = _read_elements(cache)
        if stored is None:
            stored = sorted({int(number) for atoms in keep(file) for number in atoms.numbers})
            _write(cache, partial(Path.write_text, data=json.dumps(stored), encoding="utf-8"))
        elements |= set(stored)
    return sorted(elements)


def _read_elements(path: Path) -> list[int] | None:
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    good = isinstance(stored, list) and stored and all(isinstance(number, int) and number >= 0 for number in stored)
    return stored if good else None


def _read_cache(path: Path) -> tuple[list[Data], LabelReport] | None:
    if not path.is_file():
        return None
    try:
        stored = load_plain(path)
        packed, report = Data.from_dict(stored["graphs"]), LabelReport(**stored["report"])
        graphs = [separate(Data, packed, index, stored["slices"], decrement=False) for index in range(report.frames)]
    except (RuntimeError, LookupError, ValueError, TypeError, AttributeError, OSError):
        return None
    return graphs, report


def _write_cache(graphs: list[Data], report: LabelReport, path: Path) -> None:
    packed, slices, _ = collate(Data, graphs, increment=False, add_batch=False)
    stored = {"graphs": packed.to_dict(), "slices": dict(slices), "report": report.plain()}
    _write(path, partial(torch.save, stored))


def _write(path: Path, write: Callable[[Path], Any]) -> None:
    """Write a file of the cache whole or not at all; a full or read-only disk costs the cache, not the run."""
    try:
        with writing_cache(path.parent, "cache_dir or XDG_CACHE_HOME"), replacing(path) as unfinished:
            write(unfinished)
    except UnwritableCacheError as error:
        warnings.warn(f"graphs are built anew in every run: {error}", stacklevel=2)


def check_elements(dataset: Sequence[Data], known: Sequence[int], name: str) -> None:
    """Refuse a data set with elements that a model does not know.

    Raises:
        ValueError: naming the first such frame and what to write instead.
    """
    for index, data in enumerate(dataset):
        remedy = "leave the frame out, add it to model.elements, or go on from the potential with model.init_from"
        check_known(data.z, known, f"{name} set, frame {index}", remedy)
