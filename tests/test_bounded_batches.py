"""Training through batches that are bounded in atoms and edges: the command line, resuming, several processes."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from ase.io import read

from equireann_pyg.cli import main
from equireann_pyg.data import AtomsDataModule, Batches, ValidationSplit

pytestmark = pytest.mark.usefixtures("own_cache")
CONF = Path(__file__).parent / "conf" / "tiny.yaml"
ROOT = Path(__file__).parents[1]
SIZES = {"--data.batches.max_atoms": "15", "--data.batches.max_edges": "200"}
"""Bounds for the copper frames: 5 atoms and 20 edges, or 4 atoms and about 70 edges."""


def fit(*arguments: str) -> dict[str, torch.Tensor]:
    """Checkpoint of a small training with bounded batches."""
    sizes = [word for pair in SIZES.items() for word in pair]
    assert main(["fit", "--config", str(CONF), "--data.train", "train.xyz", *sizes, *arguments]) == 0
    return torch.load("ckpt/last.ckpt", weights_only=True)


def steps_and_validations() -> tuple[int, list[str]]:
    """Number of steps of the first run, and the epochs it validated in."""
    with open("log/version_0/metrics.csv") as file:
        rows = list(csv.DictReader(file))
    return max(int(row["step"]) for row in rows) + 1, [row["epoch"] for row in rows if row["val/loss"]]


def steps_per_epoch(train: str) -> int:
    """Number of bounded batches of one process."""
    module = AtomsDataModule(3.5, train, split=ValidationSplit(0.25), batches=Batches(max_atoms=15, max_edges=200))
    module.setup("fit")
    return len(module.train_dataloader())


def test_training_with_bounded_batches_resumes_bit_for_bit(train, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    straight = fit("--trainer.max_epochs", "3")
    assert steps_and_validations() == (3 * steps_per_epoch(train), ["0", "1", "2"])
    assert straight["global_step"] == 3 * steps_per_epoch(train) > 9

    Path("ckpt/last.ckpt").unlink()
    fit("--trainer.max_epochs", "1", "--data.batches.num_workers", "1")
    resumed = fit("--trainer.max_epochs", "3", "--data.batches.num_workers", "1", "--ckpt_path", "ckpt/last.ckpt")
    assert resumed["global_step"] == straight["global_step"]
    for name, value in straight["current_model_state"].items():
        assert torch.equal(value, resumed["current_model_state"][name]), name


def test_two_processes_with_bounded_batches(train, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("EQUIREANN_KERNELS", "0")  # compiling them takes longer than the run
    arguments = [
        *("--config", str(CONF), "--config", str(ROOT / "configs" / "ddp.yaml"), "--trainer.accelerator", "cpu"),
        *("--trainer.devices", "2", "--trainer.strategy.init_args.process_group_backend", "gloo"),
        *("--data.train", train, "--trainer.max_epochs", "2", *(word for pair in SIZES.items() for word in pair)),
    ]
    command = [sys.executable, "-m", "equireann_pyg", "fit", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert steps_per_epoch(train) == 5  # an odd number: one process would wait for a sixth batch
    assert steps_and_validations() == (2 * 3, ["0", "1"])


def test_prediction_with_bounded_batches_keeps_the_order(train, val, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fit("--trainer.max_epochs", "1")
    common = ["predict", "--config", str(CONF), "--ckpt_path", "ckpt/last.ckpt", "--data.predict", val]
    assert main([*common, "--predictions.path", "plain.extxyz"]) == 0
    assert main([*common, "--data.batches.max_atoms", "9", "--predictions.path", "bounded.extxyz"]) == 0
    plain, bounded = ([a.get_potential_energy() for a in read(f"{name}.extxyz", ":")] for name in ("plain", "bounded"))
    assert len(set(plain)) == 5
    assert bounded == pytest.approx(plain, rel=1e-5)
