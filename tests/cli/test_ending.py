"""How commands end: one line for whatever a user gets wrong, and the usual status where a signal stops a run."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from equireann_pyg import __version__, load_potential
from equireann_pyg.cli import main
from tests.cli.conftest import CONF

FIT = ["fit", "--config", str(CONF), "--data.train", "train.xyz"]


def test_help_and_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == f"equireann {__version__}"
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(
        f"    {name} " in shown
        for name in ("fit", "validate", "test", "predict", "evaluate", "export", "md", "relax", "quickstart")
    )
    for name in ("fit", "evaluate", "export", "md", "relax", "quickstart"):
        assert main([name, "--help"]) == 0
        assert f"equireann [options] {name}" in capsys.readouterr().out


def test_interrupted_before_it_has_begun(capsys, monkeypatch):
    class Beginning:
        """A module whose import takes long."""

        def __getattr__(self, name: str) -> None:
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "equireann_pyg.cli.program", Beginning())
    assert main(["--version"]) == 130
    assert capsys.readouterr().err == "equireann: stopped by SIGINT\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "subcommand"),
        (["train"], "train"),
        (["fit", "--config", "absent"], "absent: no such file, and no configuration of the package: compile"),
        (["fit"], "there is no model"),
        ([*FIT, "--model.model.init_args.cutof", "3"], "Option 'cutof' is not accepted"),
        ([*FIT, "--data.batches.size", "many"], "data.batches.size"),
        ([*FIT, "--data.batches.sise", "4"], "sise"),
        ([*FIT, "--trainer.accelerator", "gpu"], "use --trainer.accelerator cpu"),
        ([*FIT, "--trainer.precision", "bf16-mixed"], "expected 32-true or 64-true"),
        ([*FIT, "--trainer.max_epochs", "-5"], "max_epochs"),
        ([*FIT, "--model.model.init_args.elements", "[Cu]"], "unknown element H, C"),
        ([*FIT, "--model.model.init_args.elements", "[Xx]"], "unknown element 'Xx'"),
        (["fit", "--config", str(CONF)], "data.train is not set"),
        ([*FIT, "--ckpt_path", "absent.ckpt"], "absent.ckpt: no such file"),
        ([*FIT, "--model.init_from", "train.xyz"], "train.xyz: no plain weights file"),
        (["test", "--ckpt_path", "train.xyz", "--data.test", "test.xyz"], "train.xyz: no plain weights file"),
        (["evaluate", "absent.ckpt", "test.xyz"], "absent.ckpt: no such file"),
        (["evaluate"], "checkpoint"),
        (["export", "absent.ckpt"], "absent.ckpt: no such file"),
    ],
)  # fmt: skip
def test_errors_take_one_line(workplace, refused, words, said):
    if "gpu" in words and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert said in refused(*words)
    assert not list(Path().rglob("*.ckpt"))


def test_errors_of_the_program_itself_are_named(workplace, refused, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("two\nlines")

    monkeypatch.setattr("equireann_pyg.training.task.prepare_potential", broken)
    assert "RuntimeError: two lines (EQUIREANN_TRACEBACK=1 shows where)" in refused(*FIT)
    monkeypatch.setenv("EQUIREANN_TRACEBACK", "1")
    with pytest.raises(RuntimeError, match="two"):
        main(FIT)


@pytest.mark.parametrize("rate", ["1e12", "1e30"])
def test_a_run_that_diverges_stops_and_keeps_the_best(workplace, refused, rate):
    words = [
        *FIT,
        "--run",
        "runs/a",
        "--trainer.max_epochs",
        "60",
        "--model.schedule.lr_scheduler.class_path",
        "torch.optim.lr_scheduler.LambdaLR",
    ]
    jump = f"tests.cli.test_ending.jump_to_{rate}"
    message = refused(*words, "--model.schedule.lr_scheduler.init_args.lr_lambda", jump)
    assert "diverges" in message
    assert "the best weights so far are in" in message
    best = torch.load("runs/a/best.ckpt", weights_only=True)
    assert best["epoch"] < 3
    assert all(bool(torch.isfinite(value).all()) for value in best["state_dict"].values())
    assert load_potential("runs/a/last.ckpt").cutoff == 3.0


def jump_to_1e12(epoch: int) -> float:
    """Learning rate, as a multiple of the first one, of a run that explodes in its third epoch."""
    return 1.0 if epoch < 2 else 1e12


def jump_to_1e30(epoch: int) -> float:
    """As :func:`jump_to_1e12`, but at once."""
    return 1.0 if epoch < 2 else 1e30


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stopped_run_is_saved(workplace, number, status, fit):
    command = [sys.executable, "-m", "equireann_pyg", *FIT, "--run", "runs/a", "--trainer.max_epochs", "100000"]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # jobs in the background ignore it
    ) as process:
        for _ in range(1200):
            if Path("runs/a/last.ckpt").is_file() or process.poll() is not None:
                break
            time.sleep(0.1)
        process.send_signal(number)
        _, said = process.communicate(timeout=120)
    assert process.returncode == status, said
    assert said.splitlines()[-1].startswith(f"equireann: stopped by {number.name}")
    stopped = torch.load("runs/a/last.ckpt", weights_only=True)
    assert all(bool(torch.isfinite(value).all()) for value in stopped["state_dict"].values())
    epochs = str(stopped["epoch"] + 3)
    assert fit("--ckpt_path", "runs/a/last.ckpt", "--trainer.max_epochs", epochs) == 0
    assert torch.load("runs/a/last.ckpt", weights_only=True)["global_step"] > stopped["global_step"]
