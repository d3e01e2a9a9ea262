"""A case: where its frames come from, how large the model is and how long it trains."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.io.formats import string2index
from torch_geometric.data import Data

from equireann_pyg import datasets
from equireann_pyg.data import AtomsDataset, read_frames

Coordinate = str | Callable[[Atoms], float]
"""Abscissa of a scan: an entry of ``info``, or what is measured of a structure."""

INDEX = "index"
"""Coordinate of a scan whose frames come in order and have no better one: the number of the frame."""


@dataclass(frozen=True)
class Part:
    """Frames of a public data set.

    Args:
        kind: class of :mod:`equireann_pyg.datasets`, ``"cumulene"`` for the set of the package, or ``"made"`` for frames
            that a command has made.
        folder: its folder among the data; of what was made, the path of its folder.
        split: name of the split; of what was made, of the file.
        frames: selection as ASE writes it.
        without: frames of that selection to leave out, likewise.
        options: further arguments of the class; of what was made, the ``command`` that makes it.
        otherwise: split and selection that stand in where the split has to be put there by hand and is not.
        group: entry of ``info`` by which errors are listed, in place of ``config_type``.
        scan: coordinate against which predictions are kept, for a figure.
        optional: leave it out, with a word, where it cannot be had.
        by_energy: put the frames of the split in the order of their energies before any is selected.
    """

    kind: str
    folder: str
    split: str
    frames: str = ":"
    without: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    otherwise: tuple[str, str] | None = None
    group: str | None = None
    scan: Coordinate | None = None
    optional: bool = False
    by_energy: bool = False

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
        if self.kind == "made":
            return self._made(cutoff)
        kind = getattr(datasets, self.kind)
        if self.by_energy:
            dataset = kind(data / self.folder, self.split, cutoff, **self.options)
            graphs = sorted(dataset.graphs, key=lambda graph: float(graph.energy))[string2index(self.frames)]
            return Frames(self, graphs, f"{dataset.path.name}@{self.frames} by energy")
        dataset = kind(data / self.folder, self.split, cutoff, frames=self.frames, **self.options)
        source = f"{dataset.path.name}@{self.frames}"
        if self.without is not None:
            left = set(range(len(dataset.graphs))[string2index(self.without)])
            kept = [graph for index, graph in enumerate(dataset.graphs) if index not in left]
            return Frames(self, kept, f"{source} without {self.without}", dataset.files[0])
        return self._grouped(Frames(self, dataset.graphs, source, dataset.files[0]))

    def _made(self, cutoff: float) -> Frames:
        path = Path(self.folder) / f"{self.split}.extxyz"
        if not path.exists():
            raise FileNotFoundError(f"{path}: no such file: make it with {self.options['command']}")
        file = f"{path}@{self.frames}"
        return self._grouped(Frames(self, AtomsDataset(file, cutoff).graphs, f"{self.split}@{self.frames}", file))

    def _cumulene(self, cutoff: float) -> Frames:
        file = f"{datasets.cumulene(self.split)}@{self.frames}"
        graphs = AtomsDataset(file, cutoff).graphs
        kept = self.options.get("config_types")
        if kept is not None:
            graphs = [graph for graph in graphs if graph.config_type in kept]
        return self._grouped(Frames(self, graphs, f"cumulene/{self.split}@{self.frames}", file))

    def _grouped(self, frames: Frames) -> Frames:
        if self.group is not None:
            for graph, value in zip(frames.graphs, frames.values(self.group), strict=True):
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

    def values(self, coordinate: Coordinate) -> list[Any]:
        """An entry of ``info``, or what is measured, of every frame.

        Raises:
            ValueError: if the frames of the file are others than the graphs.
        """
        frames = read_frames(self.file)[:: self.stride]
        if len(frames) != len(self.graphs):
            raise ValueError(f"{self.file}: {len(frames)} frames, but {len(self.graphs)} graphs: list no config_types")
        if coordinate == INDEX:
            return list(range(len(frames)))
        if callable(coordinate):
            return [coordinate(frame) for frame in frames]
        return [frame.info.get(coordinate) for frame in frames]

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
        minutes: budget of the steps in minutes of one core; the number of epochs follows from a short timing.
        longer: budget of some models by name, where it is another one.
        epochs: a fixed number of epochs in place of minutes.
        iterations: T of every model that has messages; None leaves it to the model.
        batch_size: frames per step; None leaves it to the model's configuration.
        energy_weight: of the loss; the number of atoms makes an error of the total energy count. A number, or the plan of
            a :class:`~equireann_pyg.training.loss.WeightSchedule`.
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
    minutes: float = 25.0
    longer: Mapping[str, float] = field(default_factory=dict)
    epochs: int | None = None
    iterations: int | None = None
    batch_size: int | None = None
    energy_weight: Any = 20.0
    stress_weight: Any = 10.0
    quick: tuple[int, int] = (2, 16)
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

    def minutes_of(self, model: str) -> float:
        """Budget of a model by name, in minutes of one core."""
        return self.longer.get(model, self.minutes)


@dataclass
class Sets:
    """Loaded frames of a case; ``missing`` says why optional tests are left out."""

    train: Frames
    val: Frames
    tests: Mapping[str, Frames]
    missing: Mapping[str, str] = field(default_factory=dict)


QUICK_TESTS = 12
"""Largest number of frames of each other set in a quick run."""


def quick(case: Case, sets: Sets) -> tuple[Case, Sets]:
    """The case with few epochs and few frames; scans stay whole."""
    epochs, frames = case.quick
    tests = {name: test if test.part.scan else test.thinned(QUICK_TESTS) for name, test in sets.tests.items()}
    small = Sets(sets.train.thinned(frames), sets.val.thinned(QUICK_TESTS), tests, sets.missing)
    return replace(case, epochs=epochs), small
