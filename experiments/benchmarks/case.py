"""A case: where its frames come from, how large the model is and how long it trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch_geometric.data import Data

from equireann_pyg import datasets
from equireann_pyg.data import AtomsDataset, read_frames


@dataclass(frozen=True)
class Part:
    """Frames of a public data set.

    Args:
        kind: class of :mod:`equireann_pyg.datasets`, or ``"cumulene"`` for the set of the package.
        folder: its folder among the data.
        split: name of the split.
        frames: selection as ASE writes it.
        options: further arguments of the class.
        otherwise: split and selection that stand in where the split has to be put there by hand and is not.
        group: entry of ``info`` by which errors are listed, in place of ``config_type``.
        scan: entry of ``info`` against which predictions are kept, for a figure.
        optional: leave it out, with a word, where it cannot be had.
    """

    kind: str
    folder: str
    split: str
    frames: str = ":"
    options: Mapping[str, Any] = field(default_factory=dict)
    otherwise: tuple[str, str] | None = None
    group: str | None = None
    scan: str | None = None
    optional: bool = False

    def load(self, data: Path, cutoff: float) -> Frames:
        """Graphs of the frames.

        Raises:
            FileNotFoundError: if they are neither there nor can be fetched; says what to do.
        """
        try:
            return self._load(data, cutoff)
        except FileNotFoundError:
            if self.otherwise is None:
                raise
            split, frames = self.otherwise
            return replace(self, split=split, frames=frames, otherwise=None)._load(data, cutoff)

    def _load(self, data: Path, cutoff: float) -> Frames:
        if self.kind == "cumulene":
            return self._cumulene(cutoff)
        kind = getattr(datasets, self.kind)
        dataset = kind(data / self.folder, self.split, cutoff, frames=self.frames, **self.options)
        source = f"{dataset.path.name}@{self.frames}"
        return self._grouped(Frames(self, dataset.graphs, source, dataset.files[0]))

    def _cumulene(self, cutoff: float) -> Frames:
        file = f"{datasets.cumulene(self.split)}@{self.frames}"
        graphs = AtomsDataset(file, cutoff).graphs
        kept = self.options.get("config_types")
        if kept is not None:
            graphs = [graph for graph in graphs if graph.config_type in kept]
        return self._grouped(Frames(self, graphs, f"cumulene/{self.split}@{self.frames}", file))

    def _grouped(self, frames: Frames) -> Frames:
        if self.group is not None:
            for graph, value in zip(frames.graphs, frames.info(self.group), strict=True):
                graph.config_type = str(value)
        return frames


@dataclass
class Frames:
    """Loaded frames of a part.

    Args:
        part: which.
        graphs: their graphs.
        source: file and selection, for the table.
        file: what :func:`equireann_pyg.data.read_frames` reads them from.
        stride: each how manyth frame of the file is a graph.
    """

    part: Part
    graphs: Sequence[Data]
    source: str
    file: str = ""
    stride: int = 1

    def info(self, entry: str) -> list[Any]:
        """An entry of ``info`` of every frame.

        Raises:
            ValueError: if the frames of the file are others than the graphs.
        """
        frames = read_frames(self.file)[:: self.stride]
        if len(frames) != len(self.graphs):
            raise ValueError(f"{self.file}: {len(frames)} frames, but {len(self.graphs)} graphs: list no config_types")
        return [frame.info.get(entry) for frame in frames]

    def thinned(self, largest: int) -> Frames:
        """At most so many frames, evenly spread."""
        stride = -(-len(self.graphs) // largest)
        if stride <= 1:
            return self
        source = f"{self.source}, one in {stride}"
        return Frames(self.part, self.graphs[::stride], source, self.file, self.stride * stride)


@dataclass(frozen=True)
class Case:
    """A training set, its tests, and the budget.

    Args:
        name: short name.
        title: what it tests, for the table.
        elements: chemical symbols.
        train: training frames.
        val: validation frames; the weights with the smallest validation loss are tested.
        tests: test frames by name.
        cutoff: in Angstrom.
        epochs: full budget.
        iterations: T of every model that has messages; None leaves it to the model.
        batch_size: frames per step.
        energy_weight: of the loss; the number of atoms makes an error of the total energy count.
        stress_weight: likewise, of the virial per atom.
        quick: epochs and training frames of a quick run.
        remark: what to know when reading the numbers.
    """

    name: str
    title: str
    elements: tuple[str, ...]
    train: Part
    val: Part
    tests: Mapping[str, Part]
    cutoff: float
    epochs: int
    iterations: int | None = None
    batch_size: int = 8
    energy_weight: float = 20.0
    stress_weight: float = 10.0
    quick: tuple[int, int] = (5, 40)
    remark: str = ""

    def load(self, data: Path) -> Sets:
        """All frames.

        Raises:
            FileNotFoundError: if frames are neither there nor can be fetched.
        """
        tests, missing = {}, {}
        for name, part in self.tests.items():
            try:
                tests[name] = part.load(data, self.cutoff)
            except FileNotFoundError as error:
                if not part.optional:
                    raise
                missing[name] = str(error)
        return Sets(self.train.load(data, self.cutoff), self.val.load(data, self.cutoff), tests, missing)


@dataclass
class Sets:
    """Loaded frames of a case; ``missing`` says why optional tests are left out."""

    train: Frames
    val: Frames
    tests: Mapping[str, Frames]
    missing: Mapping[str, str] = field(default_factory=dict)


QUICK_TESTS = 24
"""Largest number of frames of each other set in a quick run."""


def quick(case: Case, sets: Sets) -> tuple[Case, Sets]:
    """The case with few epochs and few frames; scans stay whole."""
    epochs, frames = case.quick
    tests = {name: test if test.part.scan else test.thinned(QUICK_TESTS) for name, test in sets.tests.items()}
    small = Sets(sets.train.thinned(frames), sets.val.thinned(QUICK_TESTS), tests, sets.missing)
    return replace(case, epochs=epochs), small
