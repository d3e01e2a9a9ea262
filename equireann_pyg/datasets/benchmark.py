"""Base of the benchmark sets: finds the files of a split, or fetches and converts them, and makes graphs of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import ClassVar

import ase.io
import torch
from ase import Atoms

from equireann_pyg.data.dataset import AtomsDataset
from equireann_pyg.datasets.download import Remote, fetch
from equireann_pyg.files import replacing
from equireann_pyg.graph.labels import LabelKeys

COMPRESSED = ("", ".xz", ".gz")
ENDINGS = tuple(f"{kind}{packed}" for kind in (".xyz", ".extxyz") for packed in COMPRESSED)

Convert = Callable[[Sequence[Path]], Iterable[Atoms]]
"""Frames, in eV and Angstrom, of the public files of a split, given in the order of its ``sources``."""


@dataclass(frozen=True)
class Split:
    """Where the frames of one split come from.

    Args:
        names: accepted names of an extended-XYZ file without its ending, the usual one first.
        sources: public files; none where no public address is known.
        convert: frames of the public files; None if there is one, already in extended XYZ.
        energy_only: the split has energies only; forces become NaN whatever the file says.
    """

    names: tuple[str, ...]
    sources: tuple[Remote, ...] = ()
    convert: Convert | None = None
    energy_only: bool = False


class BenchmarkDataset(AtomsDataset):
    """Graphs of one split of a public data set.

    The file is looked up in ``root`` and ``root/raw``, plain or compressed (``.xz``, ``.gz``), under any accepted name.
    A file that is not there is fetched from its public source into ``root/raw``, and converted to extended XYZ where it
    is in another format; a public file that lies there already is not fetched again.

    Args:
        root: folder of this data set.
        split: one of ``splits``.
        cutoff: cutoff of the graphs in Angstrom.
        frames: selection as ASE writes it, for example ``"0:950"``.
        config_types: keep only the frames of these kinds; by default all.
        keys: names of the labels.
        cache_dir: folder of the cache of graphs; see :class:`AtomsDataset`.

    Attributes:
        splits: names and sources of the splits.
        citation: paper to cite.
        doi: its DOI or arXiv number.
        licence: licence of the data, as far as the source states one.
        units: units of the labels that the graphs hold.
        path: the file the graphs were made of.

    Raises:
        ValueError: for an unknown split, ``config_types`` that no frame has, or a fetched file that is damaged.
        FileNotFoundError: if the file is neither there nor can be fetched; says how to put it in place by hand.
    """

    splits: ClassVar[Mapping[str, Split]] = {}
    citation: ClassVar[str] = ""
    doi: ClassVar[str] = ""
    licence: ClassVar[str] = ""
    units: ClassVar[str] = "energy eV, forces eV/Angstrom"

    def __init__(
        self,
        root: str | Path,
        split: str,
        cutoff: float,
        *,
        frames: str = ":",
        config_types: Sequence[str] | None = None,
        keys: LabelKeys | None = None,
        cache_dir: str | Path | None = None,
    ) -> None:
        if split not in self.splits:
            raise ValueError(f"{type(self).__name__} has no split '{split}'; expected one of {', '.join(self.splits)}")
        self.root, self.split = Path(root), split
        self.source = self.resolve()
        self.path = self.find() or self.download()
        super().__init__(f"{self.path}@{frames}", cutoff, keys, cache_dir)
        if self.source.energy_only:
            for data in self.graphs:
                data.forces = torch.full_like(data.forces, torch.nan)
        if config_types is not None:
            self._keep(config_types)

    @property
    def raw_dir(self) -> Path:
        """Folder for fetched and converted files."""
        return self.root / "raw"

    def resolve(self) -> Split:
        """The chosen split; sets of several molecules or elements fill in theirs here."""
        return self.splits[self.split]

    def find(self) -> Path | None:
        """Extended-XYZ file of the split, if it is there."""
        places = product((self.root, self.raw_dir), self.source.names, ENDINGS)
        return next((path for folder, name, ending in places if (path := folder / f"{name}{ending}").is_file()), None)

    def download(self) -> Path:
        """Fetch the public files that are not there, convert them if they need it, and return the extended-XYZ file.

        Raises:
            FileNotFoundError: if that is not possible.
            ValueError: if a file is damaged or not in the expected format.
        """
        name = self.source.names[0]
        if not self.source.sources:
            raise FileNotFoundError(
                f"{type(self).__name__}, split '{self.split}': no {name}.xyz (or .xyz.xz, .xyz.gz) in {self.root} or "
                f"{self.raw_dir}, and no public address of this file is known: put it there by hand"
            )
        files = [self.raw(remote) for remote in self.source.sources]
        if self.source.convert is None:
            return files[0]
        return self.write(self.source.convert(files))

    def write(self, frames: Iterable[Atoms]) -> Path:
        """Write frames as the extended-XYZ file of the split."""
        target, converted = self.raw_dir / f"{self.source.names[0]}.xyz", list(frames)
        try:
            with replacing(target) as partial:
                ase.io.write(partial, converted, format="extxyz")
        except OSError as error:
            raise FileNotFoundError(f"{target} could not be written ({error}); choose a root that can be") from error
        return target

    def raw(self, remote: Remote) -> Path:
        """A public file, fetched unless it is there.

        Raises:
            FileNotFoundError: if it can neither be found nor fetched.
            ValueError: if it is damaged.
        """
        places = product((self.root, self.raw_dir), COMPRESSED)
        for folder, packed in places:
            if (path := folder / f"{remote.filename}{packed}").is_file():
                return path
        try:
            return fetch(remote, self.raw_dir / remote.filename)
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{type(self).__name__}, split '{self.split}': {error}") from error

    def _keep(self, config_types: Sequence[str]) -> None:
        found = {data.config_type for data in self.graphs}
        unknown = set(config_types) - found
        if unknown or not config_types:
            raise ValueError(f"{self.path}: no frames of config_type {sorted(unknown)}; it has {sorted(found)}")
        self.graphs = [data for data in self.graphs if data.config_type in config_types]
        self.elements = torch.cat([data.z for data in self.graphs]).unique().tolist()
