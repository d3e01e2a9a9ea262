from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.io import read

from equireann_pyg import load_potential
from equireann_pyg.cli import main
from tests.copper import write_frames

CONF = Path(__file__).parent / "conf" / "tiny.yaml"
ROOT = Path(__file__).parents[1]


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_frames(tmp_path / "train.xyz")
    write_frames(tmp_path / "test.xyz", count=6, seed=9)
    return tmp_path


def fit(*arguments: str) -> int:
    return main(["fit", "--config", str(CONF), "--data.train", "train.xyz", *arguments])


def column(path: Path, name: str) -> np.ndarray:
    with open(path) as file:
        return np.array([float(row[name]) for row in csv.DictReader(file) if row.get(name)])


def test_fit_validate_test_predict_evaluate(workplace, capsys):
    assert fit("--trainer.max_epochs", "15") == 0
    errors = column(workplace / "log" / "version_0" / "metrics.csv", "val/forces_rmse_meV_per_A")
    assert errors[-1] < 0.7 * errors[0]
    assert (workplace / "ckpt" / "best.ckpt").is_file()

    common = ["--config", str(CONF), "--ckpt_path", "ckpt/best.ckpt"]
    assert main(["validate", *common, "--data.train", "train.xyz"]) == 0
    assert main(["test", *common, "--data.test", "test.xyz"]) == 0
    tested = column(workplace / "log" / "version_2" / "metrics.csv", "test/forces_rmse_meV_per_A")[-1]

    assert main(["predict", *common, "--data.predict", "test.xyz", "--predictions.path", "out/p.extxyz"]) == 0
    predicted, reference = read("out/p.extxyz", ":"), read("test.xyz", ":")
    difference = np.concatenate([p.get_forces() - r.get_forces() for p, r in zip(predicted, reference, strict=True)])
    assert 1e3 * np.sqrt((difference**2).mean()) == pytest.approx(tested, rel=1e-4)
    assert list((workplace / "out").iterdir()) == [workplace / "out" / "p.extxyz"]

    capsys.readouterr()
    assert main(["evaluate", "ckpt/best.ckpt", "test.xyz", "--out", "ev"]) == 0
    shown = capsys.readouterr().out
    assert "bulk" in shown
    assert "cluster" in shown
    assert column(workplace / "ev" / "errors.csv", "forces_rmse_meV_per_A")[-1] == pytest.approx(tested, rel=1e-6)
    assert (workplace / "ev" / "parity.png").stat().st_size > 10_000


def test_resume_continues_bit_for_bit(workplace):
    assert fit("--trainer.max_epochs", "4") == 0
    straight = torch.load("ckpt/last.ckpt", weights_only=True)
    assert fit("--trainer.max_epochs", "2", "--trainer.callbacks.dirpath", "half") == 0
    assert fit("--trainer.max_epochs", "4", "--trainer.callbacks.dirpath", "half", "--ckpt_path", "half/last.ckpt") == 0
    resumed = torch.load("half/last.ckpt", weights_only=True)
    for key in ("state_dict", "current_model_state"):
        for name, value in straight[key].items():
            assert torch.equal(value, resumed[key][name]), name
    assert straight["global_step"] == resumed["global_step"] > 8


def test_checkpoint_holds_the_averaged_potential(workplace):
    assert fit() == 0
    stored = torch.load("ckpt/last.ckpt", weights_only=True)
    potential = load_potential("ckpt/last.ckpt")
    moved = 0
    for name, value in potential.model.state_dict().items():
        assert torch.equal(value, stored["state_dict"][f"potential.model.{name}"]), name
        moved += not torch.equal(value, stored["current_model_state"][f"potential.model.{name}"])
    assert moved > 5  # the averaged weights are not the current ones
    assert potential.scale.dtype == potential.reference_energies.dtype == torch.float64
    assert float(potential.scale) != 1.0


def test_double_precision_overlay(workplace):
    assert fit("--config", str(ROOT / "configs" / "float64.yaml"), "--trainer.max_epochs", "1") == 0
    assert load_potential("ckpt/last.ckpt").dtype == torch.float64


def test_stops_at_the_smallest_learning_rate(workplace):
    settings = [
        "--model.schedule.lr_scheduler.init_args.patience",
        "0",
        "--model.schedule.lr_scheduler.init_args.threshold",
        "1.0",
    ]
    assert fit("--trainer.max_epochs", "50", *settings) == 0
    epochs = column(workplace / "log" / "version_0" / "metrics.csv", "epoch")
    assert 5 < epochs.max() < 20  # 0.01 halves to 1e-4 in seven steps


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data.train", "absent.xyz"], "absent.xyz: no such file"),
        (["--data.keys", "{energy: REF_energy}"], "no frame has energy under the key 'REF_energy'"),
        (["--model.model.init_args.elements", "[Ag]"], "unknown element Cu"),
        (["--data.split.fraction", "0.001"], "data.split.fraction 0.001 of"),
    ],
)
def test_bad_input_is_one_line(workplace, capsys, arguments, message):
    assert fit(*arguments) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("equireann: error:")
    assert message in error


@pytest.mark.parametrize("name", ["equireann", "equireann-plus-s", "equireann-plus"])
def test_shipped_configurations_train(workplace, name):
    sizes = ["--model.model.init_args.cutoff", "3.0", "--trainer.max_epochs", "1", "--trainer.accelerator", "cpu"]
    for overlays in ([], ["float64"]):
        words = [word for config in [name, *overlays] for word in ("--config", config)]
        assert main(["fit", *words, "--data.train", "train.xyz", "--run", "-".join(["run", *overlays]), *sizes]) == 0
    assert load_potential("run/best.ckpt").cutoff == 3.0
    assert load_potential("run-float64/best.ckpt").dtype == torch.float64


def test_module_is_runnable():
    done = subprocess.run([sys.executable, "-m", "equireann_pyg", "--help"], capture_output=True, text=True, check=True)
    assert "fit" in done.stdout
