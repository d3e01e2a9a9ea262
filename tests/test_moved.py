"""Old import paths work for one version, and say so; new ones say nothing."""

from __future__ import annotations

import importlib
import subprocess
import sys
import warnings

import pytest
import torch

import equireann_pyg
from equireann_pyg import load_potential, moved, nn, ops, save_potential
from equireann_pyg.models import EquiREANN, OrbitalNetwork
from equireann_pyg.potential import Potential, build, potential_state, recipe

NAMES = {
    "blocks": "BlockPotential",
    "cache": "user_cache",
    "calculator": "EquiREANNCalculator",
    "callbacks": "ExponentialMovingAverage PredictionWriter",
    "checkpoint": "load_potential",
    "compilation": "compile_potential",
    "configurations": "find",
    "derivatives": "position_gradient",
    "devices": "usable_device",
    "export": "export_potential",
    "finetuning": "add_elements",
    "labels": "read_labels",
    "loss": "LinearInEpoch PotentialLoss",
    "metrics": "PotentialErrors",
    "neighbors": "vesin_edges",
    "network": "OrbitalNetwork",
    "nn.blocks": "RowFunction WIDTH",
    "ops.coupling": "coupled",
    "ops.edges": "gaussians polynomials MAX_DEGREE",
    "ops.library": "LIBRARY",
    "ops.networks": "element_linear",
    "ops.nodes": "density",
    "ops.orbitals": "edge_order orbital_sum",
    "plots": "parity three_digits",
    "predictions": "PredictionWriter",
    "preparation": "prepare_potential",
    "progress": "OneLineProgress",
    "quickstart": "parser",
    "reann_io": "read_reann_configuration",
    "record": "TrainingRecord",
    "references": "find_references",
    "report": "TrainingReport",
    "warm_start": "RidgeWarmStart",
}


@pytest.fixture(autouse=True)
def _nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moved, "_said", set())


@pytest.mark.parametrize(("old", "name"), [(old, name) for old, names in NAMES.items() for name in names.split()])
def test_old_paths_lead_to_the_new_ones(old: str, name: str) -> None:
    module = importlib.import_module(f"equireann_pyg.{old}")
    with pytest.warns(FutureWarning, match=rf"equireann_pyg\.{old} is now .* with version 0\.3") as said:
        value = getattr(module, name)
    assert said[0].filename == __file__
    new = moved.home(f"equireann_pyg.{old}.{name}").rpartition(".")[0]
    assert new in str(said[0].message)
    assert getattr(importlib.import_module(new), name) is value
    assert getattr(module, name) is value  # says it once


def test_every_moved_module_is_tried() -> None:
    assert set(NAMES) == set(moved.MOVED)


def test_imports_from_old_paths() -> None:
    with pytest.warns(FutureWarning, match="equireann_pyg.models.network") as said:
        from equireann_pyg.network import OrbitalNetwork as Old
    assert Old is OrbitalNetwork
    assert said[0].filename == __file__
    with pytest.raises(ImportError, match="NoSuchName"):
        from equireann_pyg.network import NoSuchName  # noqa: F401
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("equireann_pyg.no_such_module")


def test_old_names_in_a_fresh_process() -> None:
    code = (
        "import sys, equireann_pyg.calculator\n"
        "assert 'torch' not in sys.modules\n"
        "from equireann_pyg.calculator import EquiREANNCalculator\n"
        "assert equireann_pyg.calculator.EquiREANNCalculator is equireann_pyg.EquiREANNCalculator\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.count("FutureWarning") == 1
    assert "<string>:3" in done.stderr


def test_renamed_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moved, "RENAMED", {"loss": {"Once": "LinearInEpoch"}, "training": {"Before": "PotentialTask"}})
    from equireann_pyg import training
    from equireann_pyg.training import PotentialTask
    from equireann_pyg.training.loss import LinearInEpoch

    with pytest.warns(FutureWarning, match=r"equireann_pyg.loss is now equireann_pyg.training.loss.LinearInEpoch"):
        from equireann_pyg.loss import Once
    assert Once is LinearInEpoch
    with pytest.warns(FutureWarning, match="equireann_pyg.training.Before is now equireann_pyg.training.P") as said:
        assert training.Before is PotentialTask
    assert said[0].filename == __file__
    assert moved.home("equireann_pyg.loss.Once") == "equireann_pyg.training.loss.LinearInEpoch"
    assert moved.home("equireann_pyg.training.Before") == "equireann_pyg.training.PotentialTask"


def test_names_of_a_module_that_stays() -> None:
    with pytest.warns(FutureWarning, match=r"nn.linear.SoftLimit is now equireann_pyg.nn.scaling.SoftLimit") as said:
        from equireann_pyg.nn.linear import SoftLimit
    assert SoftLimit is nn.SoftLimit
    assert said[0].filename == __file__
    with pytest.raises(AttributeError, match=r"nn\.linear' has no attribute 'Gone'"):
        _ = nn.linear.Gone


def test_names_of_rooms() -> None:
    from equireann_pyg import data, evaluation

    for module, name, now in (
        (data.module, "EpochLoader", data.batches.EpochLoader),
        (data.module, "PREFETCH", data.batches.PREFETCH),
        (evaluation, "Errors", evaluation.errors.Errors),
        (evaluation, "Outputs", evaluation.errors.Outputs),
        (nn.linear, "LIMIT", nn.scaling.ORBITAL_LIMIT),
    ):
        with pytest.warns(FutureWarning, match=rf"{module.__name__}.{name} is now") as said:
            assert getattr(module, name) is now
        assert said[0].filename == __file__


def test_modules_below_rooms() -> None:
    with pytest.warns(FutureWarning, match=r"ops\.nodes is now equireann_pyg\.ops\.soft_standardize\.soft_standardize"):
        from equireann_pyg.ops.nodes import bent
    assert bent is ops.soft_standardize
    blocks = importlib.import_module("equireann_pyg.nn.blocks")
    with pytest.raises(AttributeError, match=r"'by_rows': what is left of it is in equireann_pyg\.models\.blocks"):
        _ = blocks.by_rows
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("equireann_pyg.ops.no_such_module")


def test_home_leaves_other_paths() -> None:
    for path in (
        "equireann_pyg.nn.descriptor.Density",
        "equireann_pyg.EquiREANN",
        "torch.nn.Linear",
        "Bare",
        "network.X",
    ):
        assert moved.home(path) == path


def test_new_paths_say_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for room in ("graph", "models", "potential", "data", "inference", "training", "evaluation", "cli", "datasets"):
            module = importlib.import_module(f"equireann_pyg.{room}")
            for name in module.__all__:
                assert getattr(module, name) is not None
            assert set(module.__all__) <= set(dir(module))
    assert set(equireann_pyg.__all__) <= set(dir(equireann_pyg))


def test_files_hold_public_paths_and_old_ones_load(tmp_path) -> None:
    torch.manual_seed(0)
    model = OrbitalNetwork(["H", "C"], cutoff=3.0, descriptor=nn.Density(4))
    plan = recipe(model)
    assert plan["class_path"] == "equireann_pyg.models.OrbitalNetwork"
    assert plan["init_args"]["descriptor"]["class_path"] == "equireann_pyg.nn.Density"
    assert recipe(EquiREANN(["H"], cutoff=3.0))["class_path"] == "equireann_pyg.models.EquiREANN"
    plan["class_path"] = "equireann_pyg.network.OrbitalNetwork"
    plan["init_args"]["descriptor"]["class_path"] = "equireann_pyg.nn.descriptor.Density"
    state = potential_state(Potential(model))
    torch.save(state | {"recipe": plan}, tmp_path / "old.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert type(build(plan)) is OrbitalNetwork
        potential = load_potential(tmp_path / "old.pt")
    save_potential(potential, tmp_path / "new.pt")
    assert potential_state(load_potential(tmp_path / "new.pt"))["recipe"] == state["recipe"]


def test_operators_under_their_old_names() -> None:
    for old, new in moved.RENAMED["ops"].items():
        with pytest.warns(FutureWarning, match=rf"equireann_pyg\.ops\.{old} is now equireann_pyg\.ops\.{new}"):
            assert getattr(ops, old) is getattr(ops, new)
    with pytest.raises(AttributeError, match="no attribute 'never_there'"):
        _ = ops.never_there
