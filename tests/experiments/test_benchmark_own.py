"""Training by programs of other packages: what is asked of them, timed, kept and counted, by one that only writes files."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ase.io
import numpy as np
import pytest

from experiments.benchmark.own import training
from experiments.benchmark.own.laps import FIRST, TIMED, Laps
from experiments.benchmark.own.mace import Mace, stage_two
from experiments.benchmark.own.nequip import Nequip
from experiments.benchmark.own.program import Program, Setup

STEP = 0.25
"""Seconds that a step takes, by its own account."""

TRAIN = """
import json, sys
file, steps, second = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
times = [k * 2 * second for k in range(steps)]
json.dump({"starts": times, "ends": [at + second for at in times]}, open(file, "w"))
"""
PREDICT = """
import sys, numpy as np
from ase.io import read
model, frames, result = sys.argv[1:]
frames = read(frames, ":")
energy = np.array([atoms.info["REF_energy"] for atoms in frames]) + 0.01
forces = np.concatenate([atoms.arrays["REF_forces"] for atoms in frames]) - 0.02
np.savez(result, energy=energy, forces=forces, parameters=7)
"""


class Pretender(Program):
    """Learns the labels but for 10 meV and 20 meV/Angstrom."""

    name, model = "pretend-train", "Pretender (pretend-train)"
    environment: Any = SimpleNamespace(name="pretend", packages=("pretend==1",), installed=lambda: True)
    batch_size = 4
    words: Sequence[str] = ()

    def command(self, setup: Setup) -> list[str]:
        steps = setup.epochs * self.steps(setup.frames)
        return [sys.executable, "-c", TRAIN, str(setup.laps), str(steps), str(STEP)]

    def settings(self, setup: Setup) -> Any:
        return [setup.epochs, setup.seed]

    def best(self, setup: Setup) -> Path:
        return setup.folder / "best"

    def steps(self, frames: int) -> int:
        return -(-frames // self.batch_size)

    def run(self, words: Sequence[str], folder: Path, log: str) -> None:
        RUNS.append(log)
        super().run(words, folder, log)

    def python(self, module: str, *words: str) -> list[str]:
        assert module == "predict"
        return [sys.executable, "-c", PREDICT, *words[1:]]


class Failing(Pretender):
    """Ends in an error."""

    def command(self, setup: Setup) -> list[str]:
        return [sys.executable, "-c", "import sys; print('no memory left'); sys.exit(3)"]


RUNS: list[str] = []


@pytest.fixture
def twist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Arguments of a training on the package's own set."""
    RUNS.clear()
    monkeypatch.setattr(training, "PROGRAMS", {"pretend": Pretender, "failing": Failing})
    return {"case": "twist", "data": str(tmp_path), "folder": str(tmp_path / "work"), "minutes": 1.0, "seed": 3}


def test_errors_steps_and_times(twist: dict[str, Any]) -> None:
    found = training.own_training("pretend", **twist)
    assert RUNS == ["training", "training", "predict-val", "predict-test"]  # the first to time it
    (row,) = [row for row in found["rows"] if row["config_type"] == "all"]
    frames, epochs, steps = (int(row[name]) for name in ("train_frames", "epochs", "steps"))
    assert steps == epochs * -(-frames // 4)
    assert 60 / STEP <= steps < 60 / STEP + -(-frames // 4)  # the budget, rounded up
    assert found["seconds"] == pytest.approx(STEP * steps)
    assert found["ms_per_step"] == pytest.approx(1e3 * STEP)
    for errors in (found["validation"], {name: float(row[name]) for name in ("energy_rmse", "forces_rmse")}):
        assert errors["energy_rmse"] == pytest.approx(10, rel=1e-3)
        assert errors["forces_rmse"] == pytest.approx(20, rel=1e-3)
    assert (row["model"], row["seed"], row["parameters"]) == ("Pretender (pretend-train)", "3", "7")


def test_what_is_done_is_not_done_again(twist: dict[str, Any]) -> None:
    first = training.own_training("pretend", **twist)
    RUNS.clear()
    assert training.own_training("pretend", **twist) == first
    assert RUNS == []
    folder = Path(twist["folder"]) / "pretend-twist-1-3" / "training"
    (folder / training.DONE).unlink()  # as if it had been stopped
    (folder / "left over").touch()
    assert training.own_training("pretend", **twist) == first
    assert RUNS == ["training", "predict-val", "predict-test"]
    assert not (folder / "left over").exists()
    training.own_training("pretend", **twist | {"seed": 4})
    assert len(RUNS) == 7


def test_frames_have_the_labels_that_programs_look_for(twist: dict[str, Any]) -> None:
    training.own_training("pretend", **twist)
    for atoms in ase.io.read(Path(twist["folder"]) / "pretend-twist-1-3" / "training" / "train.extxyz", ":3"):
        assert atoms.get_potential_energy() == atoms.info["REF_energy"] < -100
        assert np.abs(atoms.get_forces()).max() > 1e-2
        np.testing.assert_array_equal(atoms.get_forces(), atoms.arrays["REF_forces"])


def test_what_goes_wrong(twist: dict[str, Any]) -> None:
    with pytest.raises(RuntimeError, match="pretend-train ended with 3: no memory left"):
        training.own_training("failing", **twist)
    assert not list(Path(twist["folder"]).rglob(training.DONE))
    with pytest.raises(ValueError, match="--program other: there are pretend"):
        training.own_training("other", **twist)
    with pytest.raises(ValueError, match="--case other: there are"):
        training.own_training("pretend", **twist | {"case": "other"})


def test_laps(tmp_path: Path) -> None:
    laps = Laps(str(tmp_path / "laps.json"))
    for _ in range(2):
        laps.start()
        laps.end()
    laps.starts, laps.ends = [*range(FIRST + TIMED)], [k + (9 if k < FIRST else 0.5) for k in range(FIRST + TIMED)]
    laps.save()
    again = Laps.load(laps.path)
    assert again.per_step() == pytest.approx(0.5)  # without the first ones
    assert again.busy() == pytest.approx(9 * FIRST + 0.5 * TIMED)
    laps.path.write_text(json.dumps({"starts": [], "ends": []}))
    with pytest.raises(ValueError, match="made no steps"):
        Laps.load(laps.path)


def test_commands_of_the_programs(tmp_path: Path) -> None:
    """All that depends on the set and the budget stands in them."""
    folder = tmp_path / "a model (and its program)"  # names that Hydra would not take on its command line
    folder.mkdir()
    setup = Setup(folder, ("H", "C"), 4.5, 451, 20, 5, {"H": -13.0, "C": -1030.0})
    words = Mace().command(setup)
    assert {"--r_max=4.5", "--max_num_epochs=20", "--seed=5", "--start_swa=16", "--swa"} <= set(words)
    assert (Mace().steps(451), Nequip().steps(451)) == (90, 91)
    assert [stage_two(number) for number in (2, 3, 10, 100)] == [1, 2, 8, 80]
    assert not any("=" in word for word in Nequip().command(setup))
    written = json.loads((folder / "own.yaml").read_text())
    assert written["hydra"]["run"]["dir"] == str(folder / "hydra")
    assert written["trainer"]["max_epochs"] == 20
    model = written["training_module"]["model"]
    assert (model["r_max"], model["type_names"], model["seed"]) == (4.5, ["H", "C"], 5)
    assert model["per_type_energy_shifts"] == setup.references
