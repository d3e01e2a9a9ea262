"""Small damaged and unusual files, each with the line or the labels that it must lead to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from equireann_pyg.data import AtomsDataset, read_frames
from equireann_pyg.graph.labels import EXPECTED

FOLDER = Path(__file__).parent / "inputs"
CASES = yaml.safe_load((FOLDER / "expected.yaml").read_text(encoding="utf-8"))
GOOD = sorted(name for name, case in CASES.items() if "error" not in case)
BAD = sorted(CASES.keys() - set(GOOD))

FORCES = np.array([[0.1, 0.2, 0.3], [-0.1, 0.0, -0.2], [0.0, -0.2, -0.1]])
STRESS = np.array([[1, 6, 5], [6, 2, 4], [5, 4, 3]]) / 100


def load(name: str, folder: Path) -> AtomsDataset:
    return AtomsDataset(FOLDER / name, 3.0, cache_dir=folder, labels=EXPECTED)


def test_every_file_has_its_line():
    assert {path.name for path in FOLDER.iterdir()} - {"expected.yaml", ".gitattributes"} == set(CASES)
    assert len(GOOD) > 20
    assert len(BAD) > 40


@pytest.mark.parametrize("name", BAD)
def test_damaged_inputs(name, tmp_path):
    with pytest.raises(ValueError, match=r"expected|remove|set|check|restore|write|name|close|store") as error:
        load(name, tmp_path)
    line = str(error.value)
    assert line.removeprefix(str(FOLDER / name)).startswith(CASES[name]["error"])
    assert line.startswith(str(FOLDER / name))
    assert "\n" not in line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", GOOD)
def test_unusual_inputs(name, tmp_path):
    case, data = CASES[name], load(name, tmp_path)
    (report,) = data.reports
    assert report.frames == len(data) == len(read_frames(FOLDER / name)) == case["frames"]
    assert {label: report.count(label) for label in EXPECTED} == {label: case.get(label, 0) for label in EXPECTED}
    assert sorted(report.notes) == sorted(case.get("notes", []))
    for graph in data:
        assert graph.z.tolist() == [8, 1, 1]
        assert graph.pos[1].tolist() == [0.0, 0.76, -0.48]
        if case.get("energy"):
            assert float(graph.energy) == pytest.approx(-14.5, rel=1e-12)
        if case.get("forces"):
            np.testing.assert_allclose(graph.forces, FORCES, rtol=1e-12)
        if case.get("stress") and "beside" not in name:
            np.testing.assert_allclose(graph.stress[0], STRESS, rtol=1e-12)
