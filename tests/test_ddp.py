from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.copper import write_frames

CONF = Path(__file__).parent / "conf" / "tiny.yaml"
ROOT = Path(__file__).parents[1]


def train(folder: Path, processes: int, batch_size: int) -> dict[str, torch.Tensor]:
    """Parameters after two epochs of ``equireann fit`` in a process of its own."""
    arguments = [
        *(
            "fit",
            "--config",
            str(CONF),
            "--data.train",
            str(folder / "train.xyz"),
            "--data.val",
            str(folder / "val.xyz"),
        ),
        *("--data.batch_size", str(batch_size), "--trainer.max_epochs", "2", "--trainer.precision", "64-true"),
        *("--trainer.devices", str(processes), "--trainer.callbacks.dirpath", str(folder / f"run{processes}")),
    ]
    if processes > 1:
        arguments += [
            *("--config", str(ROOT / "configs" / "ddp.yaml"), "--trainer.accelerator", "cpu"),
            *("--trainer.devices", str(processes), "--trainer.strategy.init_args.process_group_backend", "gloo"),
        ]
    done = subprocess.run(
        [sys.executable, "-m", "equireann_pyg", *arguments], cwd=folder, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return torch.load(folder / f"run{processes}" / "last.ckpt", weights_only=True)


def test_two_processes_equal_one_with_the_doubled_batch(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_frames(tmp_path / "train.xyz", count=16)  # clusters without stress and cells with it, of different sizes
    write_frames(tmp_path / "val.xyz", count=5, seed=4)  # an odd number: no frame may count twice
    single, double = train(tmp_path, 1, batch_size=8), train(tmp_path, 2, batch_size=4)
    assert single["global_step"] == double["global_step"] == 4
    for name, value in single["current_model_state"].items():
        if value.is_floating_point():
            torch.testing.assert_close(double["current_model_state"][name], value, rtol=1e-8, atol=1e-11, msg=name)
    scores = [next(s for k, s in c["callbacks"].items() if k.startswith("ModelCheckpoint")) for c in (single, double)]
    assert float(scores[1]["best_model_score"]) == pytest.approx(float(scores[0]["best_model_score"]), rel=1e-8)
