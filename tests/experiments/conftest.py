"""A public data set of the smallest kind, for experiments that train on one."""

from __future__ import annotations

from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from equireann_pyg.datasets import BenchmarkDataset
from equireann_pyg.datasets.benchmark import Split


class Springs(BenchmarkDataset):
    """Three atoms in a harmonic potential."""

    splits = {"train": Split(("train",)), "test": Split(("test",)), "far": Split(("far",))}  # noqa: RUF012


def springs(count: int, seed: int) -> list[Atoms]:
    generator, frames = np.random.default_rng(seed), []
    rest = np.array([[0.0, 0, 0], [1.1, 0, 0], [0, 1.2, 0]])
    for index in range(count):
        moved = 0.1 * generator.normal(size=(3, 3))
        atoms = Atoms("CHH", rest + moved)
        atoms.calc = SinglePointCalculator(atoms, energy=2.0 * (moved**2).sum(), forces=-4.0 * moved)
        atoms.info |= {"turn": float(index), "kind": "even" if index % 2 == 0 else "odd"}
        frames.append(atoms)
    return frames


@pytest.fixture
def springs_data(tmp_path, monkeypatch) -> Path:
    """Folder of data sets with one called ``springs``: 12 training frames and 6 test frames."""
    data = tmp_path / "data"
    (data / "springs").mkdir(parents=True)
    for name, count in (("train", 12), ("test", 6)):
        ase.io.write(data / "springs" / f"{name}.xyz", springs(count, len(name)), format="extxyz")
    monkeypatch.setattr("equireann_pyg.datasets.Springs", Springs, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return data
