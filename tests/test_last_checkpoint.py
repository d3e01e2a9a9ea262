"""The shipped configuration keeps the best epoch and the last one, whether that is the best or not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from equireann_pyg.cli import main

pytestmark = pytest.mark.usefixtures("own_cache")
CONFIG = Path(__file__).parents[1] / "configs" / "equireann.yaml"
MODEL = {"cutoff": "3.5", "num_radial": "4", "num_density": "8", "hidden_channels": "[8]"}


def fit(train: str, *arguments: str) -> dict[str, dict[str, Any]]:
    """Both checkpoints of a run whose weights hardly change, so that its first epoch remains the best."""
    words = ["fit", "--config", str(CONFIG), "--data.train", train, "--trainer.accelerator", "cpu"]
    words += [] if "--ckpt_path" in arguments else ["--run", "runs/train"]
    words += [word for name, value in MODEL.items() for word in (f"--model.model.init_args.{name}", value)]
    words += ["--model.optimizer.init_args.lr", "1e-30", "--model.schedule.lr_scheduler", "null", *arguments]
    assert main(words) == 0
    return {name: torch.load(f"runs/train/{name}.ckpt", weights_only=True) for name in ("best", "last")}


def test_last_epoch_is_kept_and_resumed(train: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = fit(train, "--trainer.max_epochs", "3")
    steps = found["best"]["global_step"]
    assert (found["best"]["epoch"], found["last"]["epoch"]) == (0, 2)
    assert found["last"]["global_step"] == 3 * steps > 0
    found = fit(train, "--trainer.max_epochs", "5", "--ckpt_path", "runs/train/last.ckpt")
    assert (found["best"]["epoch"], found["last"]["epoch"]) == (0, 4)
    assert found["last"]["global_step"] == 5 * steps
    assert sorted(file.name for file in Path("runs/train").glob("*.ckpt")) == ["best.ckpt", "last.ckpt"]
