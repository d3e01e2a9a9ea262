"""Trials on development sets, and learning curves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from equireann_pyg import datasets, from_ase
from experiments.accuracy import heated, learning, trial
from experiments.accuracy.development import DEVELOPMENT
from experiments.runs import results
from experiments.runs.case import Case, Part
from experiments.runs.results import COLUMNS, PROGRESS_COLUMNS

MINE = """
model:
  model: {class_path: REANN, init_args: {num_radial: 4, num_density: 8, hidden_channels: [8], num_iterations: 1}}
  optimizer: {class_path: torch.optim.Adam, init_args: {lr: 0.01}}
trainer: {gradient_clip_val: 1.0}
"""


@pytest.fixture
def go(tmp_path, springs_data, monkeypatch):
    """Run a trial on springs."""
    part = Part("Springs", "springs", "train", "::2")
    held_out = Part("Springs", "springs", "train", "1::2")
    case = Case("springs", "Springs", ("H", "C"), part, held_out, {}, 3.0, energy_weight=3.0)
    monkeypatch.setitem(DEVELOPMENT, "springs", case)
    (tmp_path / "mine.yaml").write_text(MINE)

    def run(*arguments: str) -> int:
        fixed = ["--case", "springs", "--model", str(tmp_path / "mine.yaml"), "--out", str(tmp_path / "out")]
        return trial.main([*fixed, "--data", str(springs_data), *arguments])

    return run


def test_a_trial_leaves_a_line(go, tmp_path, capsys):
    assert (
        go(
            "--epochs",
            "3",
            "--batch",
            "2",
            "--set",
            "optimizer.lr=2e-3",
            "--set",
            "case.energy_weight=7",
            "--note",
            "why",
        )
        == 0
    )
    assert go("--epochs", "1", "--seed", "0", "1") == 0
    rows = results.read(tmp_path / "out" / "trials.csv")
    assert [(row["seed"], row["steps"], row["batch_size"]) for row in rows] == [
        ("0", "9", "2"),
        ("0", "1", "8"),
        ("1", "1", "8"),
    ]
    assert (rows[0]["changes"], rows[0]["note"]) == ("optimizer.lr=2e-3 case.energy_weight=7", "why")
    for name in ("train_energy", "train_forces", "val_energy", "val_energy_shifted", "val_forces", "parameters"):
        assert float(rows[0][name]) > 0
    assert float(rows[0]["val_energy_shifted"]) <= float(rows[0]["val_energy"])
    assert len({row["recipe"] for row in rows}) == 2  # the seed is no part of it
    assert [path for path in (tmp_path / "out" / "work").iterdir() if path.is_dir()] == []
    capsys.readouterr()
    assert go("--table") == 0
    assert capsys.readouterr().out.count("springs") == 3


def test_a_trial_that_fails_leaves_a_line_too(go, tmp_path):
    assert go("--epochs", "2", "--set", "optimizer.lr=1e30", "--set", "schedule={warmup_steps: 0}") == 1
    (row,) = results.read(tmp_path / "out" / "trials.csv")
    assert "no result" in row["note"]
    assert not row["val_forces"]


def test_errors_far_from_the_training_set(go, tmp_path, monkeypatch):
    frames = molecule("C2H6"), molecule("C2H4")
    for atoms in frames:
        atoms.calc = SinglePointCalculator(atoms, energy=1.0, forces=np.ones((len(atoms), 3)))
    write(tmp_path / "hot.extxyz", frames)
    case = DEVELOPMENT["springs"]
    monkeypatch.setitem(DEVELOPMENT, "springs", replace(case, tests={"far": Part("made", str(tmp_path), "hot", "1:")}))
    assert go("--epochs", "1") == 0
    (row,) = results.read(tmp_path / "out" / "trials.csv")
    assert float(row["far_energy"]) > 0
    assert float(row["far_forces"]) > 0


def test_frames_that_are_yet_to_be_made(tmp_path):
    part = Part("made", str(tmp_path), "hot", options={"command": "python -m experiments.accuracy.heated"})
    with pytest.raises(FileNotFoundError, match=r"make it with python -m experiments.accuracy.heated"):
        part.load(tmp_path, 3.0)


def test_frames_of_a_hot_molecule(monkeypatch):
    monkeypatch.setattr(heated, "SAMPLES", 6)
    monkeypatch.setattr(heated, "EVERY", 20)
    monkeypatch.setattr(heated, "BEFORE", 100)
    spread = []
    for temperature in (50, 800):
        atoms = Atoms("Cu4", 0.85 * np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]))
        atoms.calc = EMT()
        frames = heated.frames(atoms, temperature, 0)
        assert len(frames) == 6
        for frame in frames:
            stored = frame.get_potential_energy(), frame.get_forces()
            frame.calc = EMT()
            np.testing.assert_allclose(frame.get_potential_energy(), stored[0], rtol=1e-10)
            np.testing.assert_allclose(frame.get_forces(), stored[1], rtol=1e-8, atol=1e-10)
        spread.append(np.std([frame.get_all_distances() for frame in frames], axis=0).max())
    assert spread[1] > 2 * spread[0] > 0


@pytest.mark.parametrize("change", ["rule.x.y=1", "case.nothing=1", "loss.energy=2"])
def test_a_wrong_change_ends_with_a_word(go, change):
    with pytest.raises(SystemExit, match=r"springs: "):
        go("--set", change)


def test_the_weight_of_the_energy_may_follow_a_schedule(go, tmp_path):
    assert (
        go(
            "--epochs",
            "1",
            "--set",
            "case.energy_weight={class_path: LinearInLearningRate, init_args: {start: 1, final: 9}}",
        )
        == 0
    )
    assert float(results.read(tmp_path / "out" / "trials.csv")[0]["val_forces"]) > 0


@pytest.mark.parametrize(
    "case", [case for name, case in DEVELOPMENT.items() if name != "springs"], ids=lambda case: case.name
)
def test_development_sets_are_parts_of_training_sets(case):
    assert set(case.tests) <= {"far"}
    parts = [part for part in (case.train, case.val, *case.tests.values()) if part.kind != "made"]
    assert parts or case.train.folder == str(heated.FOLDER)
    for part in parts:
        assert part.split in getattr(datasets, part.kind).splits
        assert not part.split.startswith("test")
    assert (case.train.split, case.train.frames, case.train.without) != (
        case.val.split,
        case.val.frames,
        case.val.without,
    )


def test_errors_without_the_zero_of_each_composition():
    class Shifted(torch.nn.Module):
        def forward(self, batch):
            off = torch.where(torch.bincount(batch.batch) == 2, 1.0, -3.0)
            return {"energy": batch.energy + off, "forces": batch.forces + 0.25}

    graphs = []
    for symbols in ("HH", "HHH", "HH"):
        atoms = Atoms(symbols, np.eye(3)[: len(symbols)])
        atoms.calc = SinglePointCalculator(atoms, energy=5.0, forces=np.zeros((len(atoms), 3)))
        graphs.append(from_ase(atoms, 3.0))
    trained = trial.Trained(Shifted(), 0.0, 1, 1.0, [])
    trained.potential.register_buffer("scale", torch.ones(()))
    found = trial.errors(trained, trial.Frames(None, graphs, ""))
    assert found["shifted"] == pytest.approx(0.0, abs=1e-3)
    assert found["energy_rmse"] == pytest.approx(1e3 * (11 / 3) ** 0.5, rel=1e-6)


def learning_rows():
    base = dict.fromkeys(COLUMNS, "") | {"config_type": "all", "seed": "0", "minutes": "30", "energy_rmse": "5"}
    rows = []
    for model, power in (("REANN", 0.5), ("EquiREANN", 1.0)):
        for count in learning.FRAMES:
            error = f"{900 * count**-power:.6g}"
            split = {"case": f"3bpa-{count}", "train_frames": str(count), "forces_rmse": error, "model": model}
            rows += [base | split | {"split": name} for name in learning.TESTS]
    return rows


def test_slopes_of_learning_curves(tmp_path):
    sheet = learning.sheet(learning_rows(), learning.published())
    assert [row[-1] for row in sheet.rows[:4]] == ["-0.5", "-0.5", "-1", "-1"]
    assert sheet.rows[0][2:6] == [f"5 / {900 * n**-0.5:.3g}" for n in learning.FRAMES]
    assert any(row[0] == "MACE (L=2)" and row[-2] == "3 / 8.8" for row in sheet.rows)
    base = {"case": "3bpa-450", "model": "REANN", "seed": "0", "energy_rmse": "1"}
    course = [
        dict.fromkeys(PROGRESS_COLUMNS, "") | base | {"minutes": f"{m}", "forces_rmse": f"{90 / m}"} for m in (1, 2, 4)
    ]
    learning.draw(learning_rows(), course, learning.published(), tmp_path / "learning.png")
    assert (tmp_path / "learning.png").stat().st_size > 10_000


def test_learning_sets_grow():
    frames = [case.train.frames for case in learning.LEARNING.values()]
    assert frames == [":50", ":100", ":200", ":450"]
    assert {case.val.frames for case in learning.LEARNING.values()} == {"450:"}
