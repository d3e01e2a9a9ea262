"""A folder to work in, and the command line with the toy configuration."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from equireann_pyg.cli import main
from tests.molecules import write_molecules

CONF = Path(__file__).parents[1] / "conf" / "shipped.yaml"


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_cache: None) -> Path:
    """Files ``train.xyz`` and ``test.xyz`` of methane, water and carbon monoxide in the current folder."""
    monkeypatch.chdir(tmp_path)
    write_molecules(tmp_path / "train.xyz", ["CH4", "H2O", "CO"])
    write_molecules(tmp_path / "test.xyz", ["CH4", "H2O", "CO"], count=6, seed=9)
    return tmp_path


@pytest.fixture
def fit() -> Callable[..., int]:
    """``equireann fit`` with the toy configuration; returns the exit status."""

    def run(*words: str, train: str = "train.xyz") -> int:
        return main(["fit", "--config", str(CONF), "--data.train", train, *words])

    return run


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a command that must fail with one line, which is returned."""

    def run(*words: str) -> str:
        capsys.readouterr()
        assert main(list(words)) == 2
        lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("equireann: warning:")]
        assert len(lines) == 1, lines
        assert lines[0].startswith("equireann: error: ")
        return lines[0]

    return run
