from __future__ import annotations

import lzma
from pathlib import Path

import pytest

from equireann_pyg.data import AtomsDataset
from equireann_pyg.datasets import SPLITS, cumulene

SHARED = Path(__file__).parents[1].parent / "shared" / "data"


@pytest.mark.parametrize(
    ("name", "atoms", "stress"), [("3bpa/train_300K.xyz.xz", 27, False), ("mlearn/Si/test.xyz.xz", None, True)]
)
def test_real_files(name, atoms, stress, tmp_path):
    file = SHARED / name
    if not file.is_file():
        pytest.skip(f"{name} is not here")
    data = AtomsDataset(f"{file}@:20", 3.5, cache_dir=tmp_path)
    assert len(data) == 20
    assert all(bool(graph.energy.isfinite().all()) and bool(graph.forces.isfinite().all()) for graph in data)
    assert max(float(graph.forces.abs().max()) for graph in data) > 0.5
    assert atoms is None or all(graph.num_nodes == atoms for graph in data)
    assert any(bool(graph.stress.isfinite().all()) for graph in data) == stress
    assert all(bool(graph.pbc.all()) == stress for graph in data)
    with lzma.open(file, "rt") as text:
        assert data[0].num_nodes == int(text.readline())


def test_shipped_data(monkeypatch, tmp_path):
    with pytest.raises(ValueError, match="no part 'all' in the cumulene set; expected one of train, val, test, scan"):
        cumulene("all")
    monkeypatch.setattr("equireann_pyg.datasets.files", lambda _: tmp_path)
    with pytest.raises(FileNotFoundError, match="installed without its data"):
        cumulene("train")
    folder = tmp_path / "datasets" / "cumulene"
    folder.mkdir(parents=True)
    for part in SPLITS:
        (folder / f"{part}.extxyz.gz").touch()
        assert cumulene(part) == folder / f"{part}.extxyz.gz"
