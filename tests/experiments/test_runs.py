"""The runner that the experiments share: end to end on a tiny set, resumed, skipped, never half written."""

from __future__ import annotations

import csv
import dataclasses
import json
import warnings

import pytest
from lightning.pytorch.callbacks import ModelCheckpoint

from experiments.runs import budget, models, results, rows, train
from experiments.runs.case import Case, Frames, Part
from experiments.runs.run import Suite, run_suite
from experiments.runs.tables import Sheet, over_seeds, publish, run_sheet

SMALL = {"num_radial": 4, "num_density": 8, "hidden_channels": [8]}


@pytest.fixture
def suite(tmp_path, springs_data) -> Suite:
    def part(split: str, **options) -> Part:
        return Part("Springs", "springs", split, **options)

    tests = {"test": part("test", group="kind", scan="turn"), "far": part("far", optional=True)}
    case = Case("springs", "Springs", ("H", "C"), part("train"), part("test"), tests, 3.0, epochs=4, batch_size=4)
    recipes = {name: models.Recipe({"class_path": name, "init_args": dict(SMALL)}) for name in ("EANN", "REANN")}
    return Suite(tmp_path, {"springs": case}, recipes, scans="scans")


def go(suite: Suite, *arguments: str) -> int:
    with warnings.catch_warnings():
        return run_suite(suite, None, ["--data", str(suite.folder / "data"), *arguments])


def test_trains_writes_and_skips(suite, capsys):
    assert go(suite, "--model", "EANN") == 0
    rows = results.read(suite.table("results", False))
    assert [row["config_type"] for row in rows] == ["all", "even", "odd"]
    first = rows[0]
    assert first["model"] == "EANN"
    assert first["frames"] == "6"
    assert first["steps"] == "12"
    assert set(first) == set(results.COLUMNS)
    assert all(float(first[name]) > 0 for name in ("energy_rmse", "forces_mae", "parameters", "ms_per_step"))
    assert not first["stress_rmse"]
    scans = results.read(suite.table("scans", False))
    assert [row["x"] for row in scans] == ["0", "1", "2", "3", "4", "5"]
    assert "no far: Springs, split 'far'" in capsys.readouterr().out
    before = suite.table("results", False).read_bytes()
    assert go(suite) == 0
    assert "EANN, seed 0: finished before" in capsys.readouterr().out
    after = suite.table("results", False).read_bytes()
    assert after.startswith(before)
    assert {row["model"] for row in results.read(suite.table("results", False))} == {"EANN", "REANN"}


def test_another_budget_is_another_run(suite):
    assert go(suite, "--model", "EANN") == 0
    assert go(suite, "--model", "EANN", "--epochs", "2", "--seed", "0", "1") == 0
    rows = [row for row in results.read(suite.table("results", False)) if row["config_type"] == "all"]
    assert [(row["seed"], row["epochs"]) for row in rows] == [("0", "2"), ("1", "2")]


def test_a_budget_in_minutes_is_timed_once(suite, monkeypatch):
    monkeypatch.setattr(budget, "TIMED", 6)
    assert go(suite, "--model", "EANN", "--minutes", "0.002") == 0
    (file,) = (suite.folder / "work").glob("*.json")
    first = results.read(suite.table("results", False))[0]
    epochs = json.loads(file.read_text())["epochs"]
    assert (first["minutes"], first["epochs"], first["steps"]) == ("0.002", str(epochs), str(3 * epochs))
    file.write_text('{"epochs": 2}')  # what was timed before counts, for other seeds too
    assert go(suite, "--model", "EANN", "--minutes", "0.002", "--seed", "1") == 0
    rows = [row for row in results.read(suite.table("results", False)) if row["config_type"] == "all"]
    assert [row["epochs"] for row in rows] == [str(epochs), "2"]


@pytest.mark.parametrize(("epochs", "whole"), [(0.3, 1), (7.9, 7), (99.0, 99), (149.7, 148), (997.2, 988)])
def test_epochs_that_can_be_validated_some_fifty_times(epochs, whole):
    assert budget.rounded(epochs) == whole
    assert 50 <= whole // train.interval(whole) <= 100 or whole < 100


def test_a_job_that_another_process_has_is_left_to_it(suite, capsys):
    assert go(suite, "--model", "EANN", "--epochs", "1") == 0
    (folder,) = (path for path in (suite.folder / "work").iterdir() if path.is_dir())
    suite.table("results", False).unlink()
    with results.taken(folder) as ours:
        assert ours
        assert go(suite, "--model", "EANN", "--epochs", "1") == 0
    assert "another process is at it" in capsys.readouterr().out
    assert not suite.table("results", False).exists()


def test_the_course_of_a_training_is_kept(suite):
    suite = dataclasses.replace(suite, progress="progress")
    assert go(suite, "--model", "EANN") == 0
    rows = results.read(suite.table("progress", False))
    assert [row["steps"] for row in rows] == ["3", "6", "9", "12"]
    assert all(float(row["forces_rmse"]) > 0 and float(row["energy_rmse"]) > 0 for row in rows)
    minutes = [float(row["minutes"]) for row in rows]
    assert minutes == sorted(minutes)


def test_frames_left_out_and_kept_are_all(suite):
    def load(**selection) -> list:
        part = Part("Springs", "springs", "train", **selection)
        return [graph.energy.item() for graph in part.load(suite.folder / "data", 3.0).graphs]

    assert sorted(load(without="::5") + load(frames="::5")) == sorted(load())
    assert len(load(without="::5")) == 9


def test_frames_by_energy(suite):
    data = suite.folder / "data"
    energies = [float(graph.energy) for graph in Part("Springs", "springs", "train").load(data, 3.0).graphs]
    low = Part("Springs", "springs", "train", ":3", by_energy=True).load(data, 3.0)
    assert [float(graph.energy) for graph in low.graphs] == sorted(energies)[:3] != energies[:3]
    assert "by energy" in low.source
    assert not low.file  # its frames are in another order: nothing may be read beside the graphs


def test_quick_results_lie_elsewhere(suite):
    assert go(suite, "--quick", "--model", "EANN", "--epochs", "1") == 0
    assert not suite.table("results", False).exists()
    assert len(results.read(suite.table("results", True))) == 3


class Power(RuntimeError):
    """Goes off."""


@pytest.mark.parametrize("mode", ["min", "max"])
def test_an_interrupted_run_goes_on_and_ends_as_if_it_had_not_been(suite, monkeypatch, mode):
    def best(folder: str) -> ModelCheckpoint:  # with "max" no epoch is better than the first
        return ModelCheckpoint(folder, "best", monitor="val/loss", mode=mode, enable_version_counter=False)

    monkeypatch.setattr(train, "BestCheckpoint", best)
    assert go(suite, "--model", "REANN") == 0
    undisturbed = results.read(suite.table("results", False))
    suite.table("results", False).unlink()
    (suite.folder / "work").rename(suite.folder / "moved")
    load_state, step = train.Clock.load_state_dict, train.Clock.on_train_batch_end
    resumed = []

    def fail(self, *arguments):
        step(self, *arguments)
        if self.steps == 8:  # the last of the second epoch of three steps is the sixth
            raise Power

    monkeypatch.setattr(train.Clock, "on_train_batch_end", fail)
    with pytest.raises(Power):
        go(suite, "--model", "REANN")
    assert not suite.table("results", False).exists()
    monkeypatch.setattr(train.Clock, "on_train_batch_end", step)
    monkeypatch.setattr(
        train.Clock, "load_state_dict", lambda self, state: (resumed.append(state["steps"]), load_state(self, state))
    )
    assert go(suite, "--model", "REANN") == 0
    assert resumed == [6]
    rows = results.read(suite.table("results", False))
    same = [name for name in results.COLUMNS if name not in ("seconds", "ms_per_step")]
    assert [[row[name] for name in same] for row in rows] == [[row[name] for name in same] for row in undisturbed]


def test_a_damaged_checkpoint_is_not_resumed(tmp_path):
    assert train.sound(tmp_path / "last.ckpt") is None
    (tmp_path / "last.ckpt").write_bytes(b"PK\x03\x04 half a file")
    assert train.sound(tmp_path / "last.ckpt") is None


def test_a_set_that_is_not_there_is_left_out_and_counted(suite, capsys):
    assert run_suite(suite, None, ["--data", str(suite.folder / "nowhere")]) == 1
    assert "springs: left out" in capsys.readouterr().out
    assert not suite.table("results", False).exists()


def test_tables_are_whole_or_old(tmp_path, monkeypatch):
    path = tmp_path / "results.csv"
    row = {"case": "a", "model": "m", "seed": "0", "frames": "1"}
    results.append(path, [row], results.COLUMNS)
    before = path.read_bytes()

    def dies(self, rows):
        self.writerow(next(iter(rows)))
        raise Power

    monkeypatch.setattr(csv.DictWriter, "writerows", dies)
    with pytest.raises(Power):
        results.append(path, [row | {"case": "b"}], results.COLUMNS)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir() if "partial" in file.name] == []


def test_a_truncated_table_is_refused(tmp_path):
    path = tmp_path / "results.csv"
    results.append(path, [{"case": "a", "model": "m", "seed": "0"}], results.COLUMNS)
    path.write_text(path.read_text()[:-8])
    with pytest.raises(ValueError, match=r"results\.csv: a row has"):
        results.read(path)


def test_rows_come_in_the_order_of_cases_and_models(suite):
    (case,), names = suite.cases, list(suite.models)
    made = [{"case": case, "model": name} for name in ("unknown", *reversed(names))]
    results.write(suite.table("results", False), made, ("case", "model"))
    assert [row["model"] for row in suite.rows("results", False)] == [*names, "unknown"]


def test_rows_of_the_same_run_are_replaced(tmp_path):
    path, row = tmp_path / "results.csv", {"case": "a", "model": "m", "seed": "0", "frames": "1"}
    results.append(path, [row, row | {"seed": "1"}], results.COLUMNS)
    results.append(path, [row | {"frames": "2"}], results.COLUMNS)
    assert sorted((row["seed"], row["frames"]) for row in results.read(path)) == [("0", "2"), ("1", "1")]


@pytest.mark.parametrize("epochs", [1, 5, 60, 97, 100, 600])
def test_the_last_epoch_is_validated(epochs):
    assert epochs % train.interval(epochs) == 0
    assert train.interval(epochs) <= max(1, epochs / train.VALIDATIONS)


def test_thinned_frames_keep_their_information(suite):
    frames = suite.cases["springs"].tests["test"].load(suite.folder / "data", 3.0)
    few = frames.thinned(4)
    assert few.values("turn") == [0.0, 2.0, 4.0]
    assert few.thinned(2).values("turn") == [0.0, 4.0]
    assert frames.thinned(6) is frames
    with pytest.raises(ValueError, match="6 frames, but 2 graphs"):
        Frames(frames.part, frames.graphs[:2], "", frames.file).values("turn")


def test_a_stand_in_split_is_used_only_where_needed(suite):
    data = suite.folder / "data"
    assert "train" in Part("Springs", "springs", "train", otherwise=("test", ":2")).load(data, 3.0).source
    other = Part("Springs", "springs", "far", otherwise=("test", ":2")).load(data, 3.0)
    assert (other.source, len(other.graphs)) == ("test.xyz@:2", 2)


def test_sheets(tmp_path, capsys):
    rows = [{"x": "1.0", "seed": "0"}, {"x": "2.0", "seed": "1"}, {"x": "", "seed": "2"}]
    assert over_seeds(rows, "x") == "1.5 ± 0.71"
    assert over_seeds(rows[2:], "x") == "-"
    publish([Sheet("Title", ("a", "b"), [("1", "2")], "note")], tmp_path / "r.md", "All")
    assert (tmp_path / "r.md").read_text() == "# All\n\n## Title\n\n| a | b |\n| --- | --- |\n| 1 | 2 |\n\nnote\n"
    assert "Title" in capsys.readouterr().out


def test_runs_are_listed_once_for_all_seeds(suite):
    assert go(suite, "--epochs", "1", "--seed", "0", "1") == 0
    sheet = run_sheet(results.read(suite.table("results", False)))
    assert [(row[1], row[2], row[10]) for row in sheet.rows] == [("EANN", "0", "0, 1"), ("REANN", "3", "0, 1")]
    assert rows.cpu() in sheet.note
