"""The benchmark: what is measured, records, report, command."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from equireann_pyg.cli import benchmark as command
from equireann_pyg.cli import main
from experiments.benchmark import run as runner
from experiments.benchmark.measurements.records import Measurement, Record, Records, machine, mark_of
from experiments.benchmark.measurements.suites import SUITES, named, too_long
from experiments.benchmark.peers import REFERENCE, Peer, peer_of, peers
from experiments.benchmark.process import Worker, WorkerError
from experiments.benchmark.report import publish
from experiments.benchmark.report.figures import pareto
from experiments.benchmark.report.found import exponent
from experiments.benchmark.run import Benchmark
from experiments.benchmark.settings import Settings


def fake(path: Path, minutes: float = 1.0, mark: str | None = None) -> Records:
    """Records of two models, with invented numbers."""
    records = Records(path / "records.json")
    for name, ms, error in (("EquiREANN-plus-s", 2.0, 10.0), (REFERENCE, 5.0, 30.0)):
        marked, where = mark or mark_of(peer_of(name)), machine("cpu")
        speed = {
            **{"ms": ms, "ratio": ms / 5, "low": 0.98 * ms / 5, "high": 1.02 * ms / 5, "rounds": 9},
            **{"atoms": 108, "neighbours_ms": 1.0, "parameters": 9},
        }
        row = {
            **{"case": "twist", "model": name, "split": "test", "config_type": "all", "seed": "0", "epochs": "3"},
            **{"energy_rmse": "1", "forces_rmse": str(error * minutes), "ms_per_step": "4"},
        }
        trained: dict[str, Any] = {
            **{"rows": [row], "scans": [], "validation": {"forces_rmse": error}, "versions": {"torch": "2"}},
            **{"steps": 1500, "ms_per_step": 4.0, "us_per_atom": 10 * ms},
            "progress": [
                {"minutes": "0.5", "forces_rmse": str(2 * error)},
                {"minutes": "1", "forces_rmse": str(error)},
            ],
        }
        for system in ("64 molecules", "copper 108"):
            options = {"system": system}
            records.add(Record(name, "speed", options, marked, speed | {"versions": {}}, "", where))
        budget = {"case": "twist", "seed": 0, "rate": 0.1, "minutes": minutes}
        records.add(Record(name, "train", budget, marked, trained, "", where))
        records.add(Record(name, "memory", {"system": "copper 1008"}, marked, {}, "out of <memory> [/tmp]", where))
    return records


def test_budgets_stay_apart_and_earlier_models_are_left_out(tmp_path: Path) -> None:
    fake(tmp_path)
    records = fake(tmp_path, minutes=3.0)
    publish(records, tmp_path, peers(), machine("cpu"))
    text = (tmp_path / "report.md").read_text()
    assert "twist, 1 minutes" in text
    assert "| EquiREANN-plus-s | 1 / 10 | 1 |" in text
    assert "twist, 3 minutes" in text
    assert "| EquiREANN-plus-s | 1 / 30 | 1 |" in text
    publish(fake(tmp_path / "old", mark="earlier"), tmp_path / "old", peers(), machine("cpu"))
    assert not (tmp_path / "old" / "report.md").exists()
    publish(records, tmp_path / "other", peers(), machine("cpu") | {"cpu": "another"})
    assert not (tmp_path / "other" / "report.md").exists()


def test_another_rate_replaces_a_training(tmp_path: Path) -> None:
    records = fake(tmp_path)
    first = next(record for record in records if record.task == "train")
    records.add(replace(first, options={**first.options, "rate": 0.3}))
    trial = {**first.options, "test": False}
    records.add(replace(first, options=trial))
    records.add(replace(first, options={**trial, "rate": 0.5}))
    records.add(replace(first, machine={**first.machine, "cpu": "another"}))
    rates = [record.options["rate"] for record in records if record.task == "train" and record.model == first.model]
    assert sorted(rates) == [0.1, 0.1, 0.3, 0.5]


def test_report(tmp_path: Path) -> None:
    records = fake(tmp_path)
    publish(records, tmp_path, peers(), machine("cpu"))
    text, page = (tmp_path / "report.md").read_text(), (tmp_path / "report.html").read_text()
    assert "0.4 ± 2 %, 2 ms" in text
    assert "| EquiREANN-plus-s | 1 / 10 |" in text
    assert "out of &lt;memory&gt;" in page
    assert page.count("data:image/png;base64,") == 3
    assert "http" not in page.replace("https://github.com", "")  # opens without a network
    assert (tmp_path / "speed.csv").read_text().count("\n") == 7
    assert "twist" in (tmp_path / "errors.csv").read_text()


@pytest.mark.parametrize(
    ("errors", "chosen"), [((79.0, 100.0, 90.0), 0), ((120.0, 100.0, 81.0), 1), ((1.0, None, 2.0), 0)]
)
def test_published_rate_unless_another_is_much_better(
    tmp_path: Path, errors: tuple[float | None, ...], chosen: int
) -> None:
    run, peer = Benchmark(Settings(only=("plus-s",), out=tmp_path)), peers()["EquiREANN-plus-s"]
    trials = [run.training("twist", 0, rate, minutes=1.0, test=False) for rate in (0.003, 0.01, 0.03)]
    assert run.best_rate(peer, trials) is None
    for trial, error in zip(trials, errors, strict=True):
        run.keep(peer, trial, None if error is None else {"validation": {"forces_rmse": error}})
    assert run.best_rate(peer, trials) == trials[chosen].options["rate"]


def test_nothing_is_measured_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []

    class Silent(Worker):
        def __init__(self, peer: Peer, name: str, gigabytes: float | None = None) -> None:
            self.peer = peer

        def __exit__(self, *_: object) -> None:
            pass

        def ask(self, task: str, **options: Any) -> dict[str, Any]:
            asked.append((self.peer.name, task))
            if options.get("system") == "copper 108":
                raise WorkerError("no memory")
            if task == "train":
                return {"validation": {"forces_rmse": options["rate"]}, "rows": [], "scans": [], "progress": []}
            numbers = {"ms": 1.0, "ratio": 1.0, "low": 1.0, "high": 1.0, "atoms": 21, "neighbours_ms": 1.0}
            return {**numbers, "MB": 1.0, "parameters": 1, "versions": {}}

    monkeypatch.setattr(runner, "Worker", Silent)
    monkeypatch.setattr(runner, "publish", lambda *_: None)
    settings = Settings(only=("plus-s",), out=tmp_path)
    for _ in range(2):
        Benchmark(settings).run()
    assert asked.count(("EquiREANN-plus-s", "speed")) == 3
    assert asked.count(("EquiREANN-plus-s", "train")) == 1
    records = list(Records(tmp_path / "records.json"))
    assert [record.error for record in records if record.options.get("system") == "copper 108"] == ["no memory"]
    Benchmark(replace(settings, retry=True)).run()
    assert asked.count(("EquiREANN-plus-s", "speed")) == 4
    trials = replace(SUITES["quick"], trial_minutes=1.0)
    monkeypatch.setitem(SUITES, "quick", trials)
    asked.clear()
    Benchmark(settings).run()
    assert len(asked) == 4  # three trials, and a training with one of their rates
    rates = [record.options["rate"] for record in Records(tmp_path / "records.json") if record.task == "train"]
    assert rates.count(min(rates)) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--only", "nonsense"], "--only nonsense: no such model; there are"),
        (["--parts", "speed,nonsense"], "--parts nonsense: there are check, speed"),
        (["--cases", "nonsense"], "--cases nonsense: there are 3bpa"),
        (["--model", "nonsense"], "expected MODULE:CLASS"),
        (["--model", "json:dumps"], "is no torch.nn.Module"),
    ],
)
def test_command_says_what_is_wrong(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["benchmark", "--out", str(tmp_path), *words]) == 2
    assert message in capsys.readouterr().err


def test_command_of_a_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "CLONE", tmp_path)
    assert main(["benchmark"]) == 2
    assert "clone it" in capsys.readouterr().err


def test_damaged_records(tmp_path: Path) -> None:
    (tmp_path / "records.json").write_text("[{}]")
    with pytest.raises(ValueError, match="restore the file"):
        list(Records(tmp_path / "records.json"))


def test_what_takes_too_long() -> None:
    assert too_long(100.0, 100, "copper 10192", 60.0) is None
    assert too_long(1000.0, 100, "copper 10192", 60.0) == pytest.approx(101.92)
    assert too_long(None, 100, "copper 10192", 60.0) is None
    assert too_long(1e9, 100, "64 molecules ", 60.0) is None
    assert named(["mace"], ["MACE-small", "SchNet"]) == ["MACE-small"]


def test_reading_of_numbers() -> None:
    assert pareto([(1.0, 5.0), (2.0, 6.0), (3.0, 1.0)]) == [(1.0, 5.0), (3.0, 1.0)]
    assert exponent([1, 10, 100], [2, 20, 200]) == pytest.approx(1)
    assert exponent([1], [2]) is None


def test_measurements_are_plain() -> None:
    for suite in SUITES.values():
        for measurement in suite.speed:
            assert json.loads(json.dumps(dict(measurement.options))) == dict(measurement.options)
    assert Measurement("speed", {"system": "molecule"}).title == "speed molecule"
