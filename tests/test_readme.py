"""The README does what it says: its code runs, its commands run after each other, at toy size."""

from __future__ import annotations

import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from ase.io import read, write

from equireann_pyg import load_potential
from equireann_pyg.cli import main
from tests.molecules import molecules

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
SHELL = re.findall(r"```shell\n(.*?)```", README, flags=re.DOTALL)
TOY = ["--trainer.accelerator", "cpu", "--data.batch_size", "4", "--data.val_fraction", "0.25"]


def commands(program: str) -> Iterator[list[str]]:
    """Words of every line of the shell blocks that runs a program, in order."""
    for block in SHELL:
        for line in block.splitlines():
            words = shlex.split(line, comments=True)
            for part in " ".join(words).split(" && "):
                if part.split()[:1] == [program]:
                    yield shlex.split(part) if "[" not in part else words


@pytest.mark.parametrize("block", PYTHON, ids=range(len(PYTHON)))
def test_python_blocks_run(block):
    namespace: dict[str, object] = {}
    exec(compile(block, "README.md", "exec"), namespace)
    assert {"output", "density", "equireann"} & set(namespace)


def test_commands_run_after_each_other(tmp_path, monkeypatch, own_cache):
    monkeypatch.chdir(tmp_path)
    files = {
        "mine": ["CH4", "H2O"],
        "test": ["CH4", "H2O"],
        "new": ["CH4"],
        "more": ["CH4", "NH3"],
        "dipoles": ["CH4", "H2O"],
    }
    for seed, (name, kinds) in enumerate(files.items()):
        frames = molecules(kinds, count=16, seed=seed)
        for atoms in frames:
            atoms.calc.results["dipole"] = np.array(atoms.positions[0] - atoms.positions[-1])
        write(f"{name}.extxyz", frames, format="extxyz")
    lines = [*commands("equireann")]
    for words in lines:
        epochs = "3" if "--ckpt_path" in words else "2"
        toy = [*TOY, "--trainer.max_epochs", epochs] if words[1] == "fit" else []
        assert main([*words[1:], *toy]) == 0, words
    assert {words[1] for words in lines} >= {"fit", "evaluate", "predict", "export"}
    written = {str(path) for path in Path("runs").rglob("*") if path.is_file()}
    expected = (
        "best.ckpt",
        "last.ckpt",
        "best.pt2",
        "predictions.extxyz",
        "evaluation/errors.csv",
        "evaluation/parity.png",
    )
    assert {f"runs/mine/{name}" for name in expected} <= written
    assert load_potential("runs/more/best.ckpt").elements == [1, 6, 7, 8]
    assert len(read("runs/mine/predictions.extxyz", ":")) == 16
    properties = load_potential("runs/equireann-1/best.ckpt").properties
    assert [type(part).__name__ for part in properties] == ["Dipole"]


def test_other_commands_exist():
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert all(words[1] in targets for words in commands("make"))
    extras = re.findall(r'"\.\[(\w+)\]"', README)
    project = (ROOT / "pyproject.toml").read_text()
    assert extras
    assert all(f"\n{extra} = [" in project for extra in extras)
    modules = [words[2] for words in commands("python")]
    assert modules
    assert all(importlib.util.find_spec(module) is not None for module in modules)


def test_options_in_the_text_exist(capsys):
    assert main(["fit", "--help"]) == 0
    shown = capsys.readouterr().out
    options = set(re.findall(r"--((?:data|model|trainer)\.\w+)", README))
    assert len(options) > 5
    assert {option for option in options if f"--{option}" not in shown} == set()


def test_readme_is_short_and_complete():
    assert len(PYTHON) == 3
    assert len(README.splitlines()) <= 200
    for path in re.findall(r"\]\(((?!http)[^)]+)\)", README):
        assert (ROOT / path).exists(), path
