"""``equireann md`` and ``equireann relax`` on the processes of ``torchrun``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.cli.simulations import frames_of, run, write_structures

ON_TWO = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "equireann_pyg"]
MD = ["md", "copper.pt", "many.xyz", "--temperature", "300", "--steps", "4", "--every", "2", "--overwrite", "true"]


def on_two(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*ON_TWO, *words], capture_output=True, text=True, timeout=240)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    write_structures()
    return tmp_path


def test_two_processes_move_atoms_as_one_does(folder: Path) -> None:
    done = on_two(*MD)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("4 steps") == 1
    together = frames_of("md.extxyz")
    assert not run(*MD).message
    alone = frames_of("md.extxyz")
    assert len(together) == len(alone) == 3
    moved = alone[-1].positions - alone[0].positions
    assert np.abs(moved).max() > 1e-3
    for one, two in zip(alone, together, strict=True):
        np.testing.assert_allclose(two.positions, one.positions, rtol=0, atol=1e-8)
        np.testing.assert_allclose(two.get_forces(), one.get_forces(), rtol=0, atol=1e-8)


@pytest.mark.slow
def test_two_processes_relax_as_one_does(folder: Path) -> None:
    words = ["relax", "copper.pt", "copper.xyz", "--fmax", "0.02", "--overwrite", "true"]
    done = on_two(*words)
    assert done.returncode == 0, done.stderr[-2000:]
    together = frames_of("relaxed.extxyz")[0]
    assert not run(*words).message
    alone = frames_of("relaxed.extxyz")[0]
    assert together.get_potential_energy() == pytest.approx(alone.get_potential_energy(), abs=1e-6)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["copper.pt2", "many.xyz"], "copper.pt2: exported files work in one process"),
        (["copper.pt", "copper.pt", "many.xyz"], "a committee of 2 works in one process"),
    ],
)
def test_what_works_in_one_process(words: list[str], said: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert said in run("md", *words, "--temperature", "300").message


@pytest.mark.slow
def test_all_processes_end_with_an_error(folder: Path) -> None:
    committee = on_two("md", "copper.pt", "copper.pt", "many.xyz", "--temperature", "300")
    unknown = on_two("md", "water.pt", "copper.xyz", "--temperature", "300")
    for done, message in ((committee, "works in one process"), (unknown, "Cu")):
        assert done.returncode != 0
        assert message in done.stderr
    assert not Path("md.extxyz").exists()
