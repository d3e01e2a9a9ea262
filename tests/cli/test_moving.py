"""Options that ``equireann md`` and ``equireann relax`` share: blocks and recorded evaluations."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonargparse import Namespace

from equireann_pyg import BlockPotential
from equireann_pyg.cli import md, relax
from equireann_pyg.cli.moving import calculator
from equireann_pyg.inference.graphed import GraphedPotential
from tests.cli.simulations import frames_of, run, save_small, write_structures
from tests.recorders import EagerRecorder

MD = ["md", "copper.pt", "copper.xyz", "--temperature", "300", "--steps", "4", "--every", "2", "--overwrite", "true"]
RELAX = ["relax", "water.pt", "water.xyz", "--fmax", "0.01", "--overwrite", "true"]


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_structures()


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recordings without CUDA."""
    monkeypatch.setattr("equireann_pyg.inference.graphed.Recorder", EagerRecorder)


def options_of(*words: str) -> Namespace:
    """What a command is asked for."""
    return {"md": md, "relax": relax}[words[0]].parser().parse_args(list(words[1:]))  # type: ignore[attr-defined]


def compare(words: list[str], more: list[str], path: str) -> None:
    """Two commands go the same way."""
    assert run(*words).message == ""
    expected = frames_of(path)
    assert run(*words, *more).message == ""
    frames = frames_of(path)
    assert len(frames) == len(expected) > 0
    for frame, other in zip(frames, expected, strict=True):
        np.testing.assert_allclose(frame.positions, other.positions, rtol=0, atol=1e-8)
        np.testing.assert_allclose(frame.get_forces(), other.get_forces(), rtol=0, atol=1e-8)
        assert frame.get_potential_energy() == pytest.approx(other.get_potential_energy(), rel=1e-9)


def test_blocks_move_atoms_as_the_whole_does() -> None:
    save_small("other.pt", ("Cu",), seed=2)
    more = ["--block_size", "3"]
    for words in (MD, ["md", "copper.pt", "other.pt", *MD[2:]]):
        compare(words, more, "md.extxyz")
        frames = frames_of("md.extxyz")
        assert np.abs(frames[-1].positions - frames[0].positions).max() > 1e-3
    assert "forces_std" in frames[-1].arrays
    compare(RELAX, ["--block_size", "1"], "relaxed.extxyz")
    for words in (MD, RELAX):
        with calculator(options_of(*words, *more)) as calc:
            assert isinstance(calc.potential, BlockPotential)  # type: ignore[union-attr]
            assert calc.potential.block_size == 3  # type: ignore[union-attr]


@pytest.mark.usefixtures("eager")
def test_recordings_move_atoms_as_the_potential_does() -> None:
    compare(MD, ["--graphed", "true"], "md.extxyz")
    compare(RELAX, ["--graphed", "true"], "relaxed.extxyz")
    with calculator(options_of(*RELAX, "--graphed", "true")) as calc:
        assert isinstance(calc.potential, GraphedPotential)  # type: ignore[union-attr]
    with calculator(options_of(*RELAX)) as calc:
        assert not isinstance(calc.potential, GraphedPotential)  # type: ignore[union-attr]


@pytest.mark.parametrize("words", [MD, RELAX], ids=["md", "relax"])
def test_what_does_not_work_is_refused_in_one_line(words: list[str], refused: Callable[..., str]) -> None:
    said = refused(*words, "--graphed", "true")
    assert "expected a potential on a CUDA device, got one on cpu; take the device cuda" in said
    assert "leave out block_size, or graphed" in refused(*words, "--graphed", "true", "--block_size", "9")
    assert "block_size" in refused(*words, "--block_size", "0")
    assert not list(Path().glob("md*"))
    assert not list(Path().glob("relaxed*"))


def test_several_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert "cannot be recorded: leave it out, or start without torchrun" in run(*MD, "--graphed", "true").message
    committee = ["md", "copper.pt", *MD[1:], "--block_size", "3"]
    assert "a committee of 2 works in one process" in run(*committee).message

    def asked(*arguments: Any, **options: Any) -> None:
        raise ValueError(f"asked for {arguments}, {options}")

    monkeypatch.setattr("equireann_pyg.simulation.processes.calculator_of_domains", asked)
    message = run(*MD, "--block_size", "3", "--skin", "0.7").message
    assert "asked for ('copper.pt', 'cpu', None), {'skin': 0.7, 'block_size': 3, 'allow_untrained': False}" in message
