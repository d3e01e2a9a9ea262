"""``validate``, ``test``, ``predict`` and resumed runs use the model of their checkpoint, whatever else is said."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.io import read

from equireann_pyg import load_potential, save_potential
from equireann_pyg.cli import main
from equireann_pyg.cli.recipe import contradictions, leaves
from equireann_pyg.cli.words import explicit, without_model
from tests.cli.conftest import CONF

BEST = "runs/a/best.ckpt"


def force_rmse(folder: str = "runs/a") -> float:
    """Force RMSE (meV/Angstrom) of the last test in a run's folder."""
    last = max(Path(folder, "logs").glob("version_*"), key=lambda path: int(path.name.split("_")[1]))
    with open(last / "metrics.csv") as file:
        return float(list(csv.DictReader(file))[-1]["test/forces_rmse_meV_per_A"])


@pytest.fixture
def trained(workplace, fit):
    """A run in ``runs/a`` with another cutoff than that of the configuration."""
    assert fit("--run", "runs/a", "--model.model.init_args.cutoff", "2.5") == 0
    return load_potential(BEST)


def force_error(potential) -> float:
    """Force RMSE of a potential on ``test.xyz`` in meV/Angstrom."""
    from equireann_pyg.data import AtomsDataset
    from equireann_pyg.evaluation import evaluate

    return evaluate(potential, AtomsDataset("test.xyz", potential.cutoff).graphs)["all"]["forces_rmse"]


@pytest.mark.parametrize("config", [[], ["--config", str(CONF)]], ids=["bare", "configured"])
def test_cutoff_and_elements_come_from_the_checkpoint(trained, capsys, config):
    assert trained.cutoff == 2.5
    assert trained.elements == [1, 6, 8]
    assert main(["test", *config, "--ckpt_path", BEST, "--data.test", "test.xyz"]) == 0
    assert force_rmse() == pytest.approx(force_error(trained), rel=1e-5)
    noted = capsys.readouterr().err
    assert ("3.0 of the configuration is not used" in noted) == bool(config)
    assert main(["predict", *config, "--ckpt_path", BEST, "--data.predict", "test.xyz"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "runs/a/predictions.extxyz"
    predicted, reference = read("runs/a/predictions.extxyz", ":"), read("test.xyz", ":")
    error = np.concatenate([p.get_forces() - r.get_forces() for p, r in zip(predicted, reference, strict=True)])
    assert 1e3 * np.sqrt((error**2).mean()) == pytest.approx(force_rmse(), rel=1e-5)
    assert main(["validate", *config, "--ckpt_path", BEST, "--data.val", "test.xyz"]) == 0
    assert "meV/A" in capsys.readouterr().out


def test_files_of_save_potential_serve_as_well(trained, capsys):
    save_potential(trained, "saved.pt")
    assert main(["test", "--ckpt_path", "saved.pt", "--data.test", "test.xyz"]) == 0
    assert force_rmse(".") == pytest.approx(force_error(trained), rel=1e-5)


@pytest.mark.parametrize("command", ["test", "fit"])
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["--model.model.init_args.cutoff", "3"],
            "--model.model.init_args.cutoff 3 contradicts runs/a/best.ckpt, which has 2.5",
        ),
        (["--model.model.cutoff=4.5"], "--model.model.cutoff 4.5 contradicts"),
        (["--model.model.init_args.elements", "[F, H]"], "which has ['H', 'C', 'O']"),
        (["--model.model", "EANN"], "--model.model EANN contradicts"),
        (["--model.properties", "[{class_path: Dipole}]"], "--model.properties Dipole contradicts"),
    ],
)
def test_contradictions_are_refused(trained, refused, command, words, said):
    data = ["--data.test", "test.xyz"] if command == "test" else ["--data.train", "train.xyz"]
    assert said in refused(command, "--config", str(CONF), "--ckpt_path", BEST, *data, *words)


def test_what_is_repeated_is_no_contradiction(trained):
    words = [
        "--model.model.init_args.elements",
        "[O, C, H]",
        "--model.model.init_args.cutoff",
        "2.5",
        "--model.model",
        "EquiREANN",
    ]
    assert main(["test", "--ckpt_path", BEST, "--data.test", "test.xyz", *words]) == 0


@pytest.mark.parametrize("command", ["validate", "test", "predict"])
def test_without_a_checkpoint_there_is_nothing_to_evaluate(workplace, refused, command):
    file = {"validate": "val"}.get(command, command)
    message = refused(command, "--config", str(CONF), f"--data.{file}", "test.xyz")
    assert "--ckpt_path" in message
    assert not Path("runs").exists()


def test_a_resumed_run_keeps_its_model(trained, fit):
    assert fit("--ckpt_path", "runs/a/last.ckpt", "--trainer.max_epochs", "3") == 0
    stored = torch.load("runs/a/last.ckpt", weights_only=True)
    assert stored["epoch"] == 2
    assert stored["potential"]["recipe"]["init_args"]["cutoff"] == 2.5
    assert sorted(path.name for path in Path("runs").iterdir()) == ["a"]
    assert len(list(Path("runs/a/logs").iterdir())) == 2


def test_options_of_the_optimiser_that_do_not_count(trained, fit, capsys):
    words = ["--ckpt_path", "runs/a/last.ckpt", "--trainer.max_epochs"]
    assert fit(*words, "3", "--model.optimizer.init_args.lr", "0.01") == 0
    assert "optimiser" not in capsys.readouterr().err
    assert fit(*words, "4", "--model.optimizer.init_args.lr", "0.5") == 0
    assert "keeps the optimiser of its checkpoint, with lr 0.01; 0.5 is not used" in capsys.readouterr().err


def test_double_precision_is_kept(workplace, fit):
    assert fit("--run", "runs/a", "--trainer.precision", "64-true") == 0
    potential = load_potential(BEST)
    assert potential.dtype == torch.float64
    assert main(["test", "--ckpt_path", BEST, "--data.test", "test.xyz"]) == 0
    assert force_rmse() == pytest.approx(force_error(potential), rel=1e-12)


def test_what_a_command_line_says_of_the_model():
    words = [
        "test",
        "--model.model.init_args.cutoff=4",
        "--model.model",
        "EANN",
        "--data.test",
        "x",
        "--model.compiled",
        "true",
    ]
    assert leaves(explicit(words, "model")) == {("model", "cutoff"): 4, ("model",): "EANN", ("compiled",): True}
    assert without_model(words) == ["test", "--data.test", "x", "--model.compiled", "true"]
    stored = {
        "model": {"class_path": "equireann_pyg.models.EANN", "init_args": {"cutoff": 4.0}},
        "properties": None,
        "repulsion": None,
    }
    assert contradictions(leaves(explicit(words, "model")), stored) == []
