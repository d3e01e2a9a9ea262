from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.strategies import DDPStrategy

from tests.copper import write_frames

CONF = Path(__file__).parent / "conf" / "tiny.yaml"
ROOT = Path(__file__).parents[1]


ON_CPU = ("ddp", "--trainer.accelerator", "cpu", "--trainer.strategy.init_args.process_group_backend", "gloo")
SHARED = "tests.test_ddp.OneGPU"
ON_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")


class OneGPU(DDPStrategy):
    """Two processes that share a GPU, which NCCL refuses."""

    def __init__(self) -> None:
        super().__init__(parallel_devices=2 * [torch.device("cuda", 0)], process_group_backend="gloo")


def train(folder: Path, name: str, processes: int, *options: str, overlay: tuple[str, ...] = ON_CPU) -> dict[str, Any]:
    """Checkpoint after two epochs of ``equireann fit`` in a process of its own, with 8 frames in every step."""
    arguments = [
        *("fit", "--config", str(CONF)),
        *("--data.train", str(folder / "train.xyz"), "--data.val", str(folder / "val.xyz")),
        *("--data.batches.size", str(8 // processes), "--trainer.max_epochs", "2", "--trainer.precision", "64-true"),
        *("--trainer.callbacks.dirpath", str(folder / name), *options),
    ]
    if processes > 1:
        arguments += ["--config", *overlay, *([] if SHARED in overlay else ["--trainer.devices", str(processes)])]
    done = subprocess.run(
        [sys.executable, "-m", "equireann_pyg", *arguments], cwd=folder, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "could not be compiled" not in done.stderr
    return torch.load(folder / name / "last.ckpt", weights_only=True, map_location="cpu")


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_cache: None) -> Path:
    """A folder with frames of different sizes, with and without stress."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    write_frames(tmp_path / "train.xyz", count=16)
    write_frames(tmp_path / "val.xyz", count=5, seed=4)  # an odd number: no frame may count twice
    return tmp_path


def assert_same_training(actual: dict[str, Any], expected: dict[str, Any], tolerance: float) -> None:
    """Two runs took the same steps to the same weights, and found the same validation loss."""
    assert actual["global_step"] == expected["global_step"] == 4
    for name, value in expected["current_model_state"].items():
        if value.is_floating_point():
            mine = actual["current_model_state"][name]
            torch.testing.assert_close(mine, value, rtol=tolerance, atol=1e-3 * tolerance, msg=name)
    scores = [
        float(
            next(state for key, state in run["callbacks"].items() if key.startswith("ModelCheckpoint"))[
                "best_model_score"
            ]
        )
        for run in (actual, expected)
    ]
    assert scores[0] == pytest.approx(scores[1], rel=tolerance)


@pytest.mark.slow  # every process compiles its graphs
def test_two_compiled_processes_equal_an_eager_one(workplace: Path) -> None:
    compiled = train(workplace, "two", 2, "--model.compile", "true")
    assert_same_training(compiled, train(workplace, "one", 1), 1e-8)


@pytest.mark.parametrize("overlay", ["gpu", pytest.param("ddp", marks=pytest.mark.slow)])
def test_the_overlays_for_gpus_train_the_same(overlay: str, workplace: Path) -> None:
    two = train(workplace, "two", 2, overlay=(overlay, *ON_CPU[1:]))
    assert_same_training(two, train(workplace, "one", 1), 1e-8)


@ON_GPU
def test_two_processes_on_gpus_equal_one_on_the_cpu(workplace: Path) -> None:
    """With NCCL where there are two GPUs, else sharing one."""
    if torch.cuda.device_count() > 1:
        overlay: tuple[str, ...] = ("gpu",)
    else:
        overlay = ("gpu", "--trainer.strategy", SHARED)
    expected = train(workplace, "one", 1)
    assert_same_training(train(workplace, "two", 2, overlay=overlay), expected, 1e-5)
    recorded = train(workplace, "recorded", 2, "--model.evaluation.graphed", "true", overlay=overlay)
    assert_same_training(recorded, expected, 1e-5)
