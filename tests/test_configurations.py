"""Shipped configurations by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from equireann_pyg.cli import configurations

ROOT = Path(__file__).parents[1]


def test_all_are_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert {"train", "equireann", "equireann-plus", "float64"} <= set(configurations.names())
    assert configurations.names() == sorted(path.stem for path in (ROOT / "configs").iterdir())
    for name in configurations.names():
        for written in (name, f"{name}.yaml"):
            assert configurations.find(written).read_text() == (ROOT / "configs" / f"{name}.yaml").read_text()


def test_files_go_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train").mkdir()  # a folder is no configuration
    assert configurations.find("train") == configurations.FOLDER / "train.yaml"
    Path("train.yaml").write_text("seed_everything: 2")
    assert configurations.find("train.yaml") == Path("train.yaml")
    assert configurations.find("train") == configurations.FOLDER / "train.yaml"
    assert configurations.find(tmp_path / "train.yaml") == tmp_path / "train.yaml"


@pytest.mark.parametrize("name", ["equirean", "configs/none.yaml", "../train", "", "."])
def test_unknown_names(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError) as caught:
        configurations.find(name)
    said = str(caught.value)
    assert said.startswith(f"{name}: no such file, and no configuration of the package: ")
    assert said.endswith(", ".join(configurations.names()))
    assert "\n" not in said
