"""One folder for each run, which no other run writes to."""

from __future__ import annotations

import csv
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import yaml

from equireann_pyg import load_potential
from equireann_pyg.cli import main
from equireann_pyg.cli.runs import RunFolder, new_folder
from tests.cli.conftest import CONF


def files(folder: str) -> set[str]:
    return {str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_file()}


def test_everything_is_in_the_folder(workplace, fit, capsys):
    assert fit("--run", "deep/er") == 0
    shown = capsys.readouterr().out
    assert "deep/er: EquiREANN for H, C, O" in shown
    assert "In deep/er: best.ckpt" in shown
    found = files("deep/er")
    assert {"best.ckpt", "last.ckpt", "config.yaml", "learning_curve.png", "parity.png"} <= found
    assert "logs/version_0/metrics.csv" in found
    assert any(name.startswith("logs/version_0/events.out.tfevents") for name in found)
    assert {path.name for path in Path().iterdir()} <= {"deep", "cache", "train.xyz", "test.xyz"}
    assert all(Path("deep/er", name).stat().st_size > 10_000 for name in ("learning_curve.png", "parity.png"))
    with open("deep/er/logs/version_0/metrics.csv") as file:
        columns = next(csv.reader(file))
    assert {"learning_rate", "val/loss", "val/forces_rmse_meV_per_A", "train/energy_per_atom_mae_meV_per_atom"} <= set(
        columns
    )
    assert main(["evaluate", "deep/er/best.ckpt", "test.xyz"]) == 0
    assert {"evaluation/errors.csv", "evaluation/parity.png"} <= files("deep/er")


def test_names_without_a_name(workplace, fit):
    assert fit() == 0
    assert fit("--trainer.max_epochs", "1") == 0
    assert sorted(path.name for path in Path("runs").iterdir()) == ["shipped-1", "shipped-2"]
    before = Path("runs/shipped-1/best.ckpt").read_bytes()
    assert main(["fit", "--config", "runs/shipped-1/config.yaml", "--data.train", "train.xyz"]) == 0
    assert files("runs/config-1") >= {"best.ckpt", "config.yaml"}
    assert Path("runs/shipped-1/best.ckpt").read_bytes() == before
    assert yaml.safe_load(Path("runs/config-1/config.yaml").read_text())["model"]["model"]["init_args"]["elements"] == [
        "H",
        "C",
        "O",
    ]


def test_a_model_is_never_overwritten(workplace, fit, refused):
    assert fit("--run", "runs/a") == 0
    before = {name: Path("runs/a", name).read_bytes() for name in files("runs/a")}
    words = ["--config", str(CONF), "--data.train", "train.xyz"]
    assert "runs/a holds a run already" in refused("fit", *words, "--run", "runs/a")
    assert "holds a run already" in refused("fit", *words, "--run", "runs/a", "--model.init_from", "runs/a/best.ckpt")
    assert {name: Path("runs/a", name).read_bytes() for name in files("runs/a")} == before


def test_a_failed_start_leaves_nothing(workplace, fit, refused):
    assert "absent.xyz" in refused("fit", "--config", str(CONF), "--data.train", "absent.xyz", "--run", "runs/a")
    assert not Path("runs/a").exists()
    assert "data.split.fraction" in refused(
        "fit", "--config", str(CONF), "--data.train", "train.xyz", "--run", "runs/a", "--data.split.fraction", "0.001"
    )
    assert not Path("runs/a").exists()
    assert fit("--run", "runs/a", "--trainer.max_epochs", "1") == 0


def test_two_runs_at_once_do_not_meet(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made, start = [], threading.Barrier(8)

    def make():
        start.wait()
        made.append(new_folder("a"))

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({folder.path for folder in made}) == 8
    code = "import sys; from pathlib import Path; from equireann_pyg.cli.runs import RunFolder; RunFolder(Path(sys.argv[1]))"
    busy = RunFolder(Path("b"))
    done = subprocess.run([sys.executable, "-c", code, "b"], capture_output=True, text=True, check=False)
    assert "another run is at work there" in done.stderr
    busy.release()
    done = subprocess.run([sys.executable, "-c", code, "b"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("what", ["progress_bar", "checkpointing"])
def test_parts_can_be_switched_off(workplace, fit, capsys, what):
    words = [f"--trainer.enable_{what}", "false", "--trainer.callbacks+=lightning.pytorch.callbacks.RichProgressBar"]
    words += ["--trainer.callbacks+=lightning.pytorch.callbacks.ModelCheckpoint"]
    assert fit("--run", "runs/a", "--trainer.max_epochs", "1", *words) == 0
    assert bool(list(Path("runs").rglob("*.ckpt"))) == (what == "progress_bar")
    assert ("epoch 1/1" in capsys.readouterr().out) is False


def test_log_of_a_batch_job(workplace, fit, capsys):
    assert fit("--run", "runs/a") == 0
    output = capsys.readouterr()
    epochs = [line for line in output.out.splitlines() if line.startswith("epoch ")]
    assert [line.split(":")[0] for line in epochs] == ["epoch 1/2", "epoch 2/2"]
    assert all("meV/atom" in line and "F " in line for line in epochs)
    assert "Validation errors of epoch" in output.out
    assert output.err == ""  # no adverts, no idle warnings


def test_own_loggers_are_left_alone(workplace, fit):
    logger = "{class_path: lightning.pytorch.loggers.CSVLogger, init_args: {save_dir: mine, name: ''}}"
    assert fit("--run", "runs/a", "--trainer.logger", logger) == 0
    assert "version_0/metrics.csv" in files("mine")
    assert not any(name.startswith("logs") for name in files("runs/a"))


def test_the_best_epoch_is_reported(workplace, fit, capsys):
    assert fit("--run", "runs/a", "--trainer.max_epochs", "4") == 0
    shown = capsys.readouterr().out
    with open("runs/a/logs/version_0/metrics.csv") as file:
        rows = [row for row in csv.DictReader(file) if row["val/loss"]]
    best = min(rows, key=lambda row: float(row["val/loss"]))
    assert f"epoch {int(best['epoch']) + 1}, the best of 4" in shown
    line = next(line.split() for line in shown.splitlines() if line.split()[:1] == ["forces"])
    assert float(line[1]) == pytest.approx(float(best["val/forces_rmse_meV_per_A"]), rel=6e-3)
    assert load_potential("runs/a/best.ckpt").cutoff == 3.0
