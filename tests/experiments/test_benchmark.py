"""The benchmark: peers, workers, records, report; other packages take part where their environments are."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from ase.build import bulk, molecule

from equireann_pyg import Potential, from_ase, radius_graph
from equireann_pyg.cli import benchmark as command
from equireann_pyg.cli import main
from experiments.benchmark import run as runner
from experiments.benchmark import worker
from experiments.benchmark.environments import Environment
from experiments.benchmark.peers import MODULES, REFERENCE, Peer, of_user, peer_of, peers
from experiments.benchmark.peers.pyg import triplets
from experiments.benchmark.process import Worker, WorkerError
from experiments.benchmark.records import Measurement, Record, Records, machine, mark_of
from experiments.benchmark.report import publish
from experiments.benchmark.report.figures import pareto
from experiments.benchmark.report.found import exponent
from experiments.benchmark.run import Benchmark, Settings
from experiments.benchmark.suites import SUITES, named, too_long
from experiments.benchmark.systems import SYSTEMS, water_box
from experiments.plugging.schnet import SchNetEnergies


class Mine(SchNetEnergies):
    """A user's model."""

    def __init__(self, elements: list[str], cutoff: float) -> None:
        super().__init__(elements, cutoff, 8, 1, 5)
        self.config = {"elements": elements, "cutoff": cutoff}


def test_peers_are_complete() -> None:
    known = peers()
    assert len(known) >= 20
    assert REFERENCE in known
    assert {"EquiREANN", "EquiREANN-plus-s", "EquiREANN-plus-m", "EquiREANN-plus-l", "MACE-medium"} <= set(known)
    for peer in known.values():
        assert peer.source, peer.name
        assert peer.recipe.plan["class_path"]
        assert peer.package or peer.environment.checkout, peer.name  # whose version is reported
        if peer.environment is not None:
            pinned = [word for word in peer.environment.packages if "==" in word]
            assert len(pinned) == len(peer.environment.packages), f"{peer.name}: pin all packages"
    assert len(set(MODULES)) == len(MODULES)


@pytest.mark.parametrize(
    "name", ["SchNet (PyG)", pytest.param("DimeNet++ (PyG)", marks=pytest.mark.slow), "ViSNet (PyG)"]
)
def test_adapters_are_right(name: str) -> None:
    reply = worker.answer(peer_of(name), {"task": "check"})
    found = reply.get("answer", reply)
    assert set(found.get("problems", "?")) == set(peer_of(name).known), found
    assert found["checks"] >= 8
    if name != "DimeNet++ (PyG)":  # its own forward needs torch_sparse
        assert found["own"] < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, peer in peers().items() if peer.environment is not None])
def test_adapters_of_other_packages(name: str) -> None:
    peer = peer_of(name)
    if not peer.installed:
        pytest.skip(f"not installed: equireann benchmark --only '{name}' --install true")
    with Worker(peer, name) as process:
        found = process.ask("check")
    assert set(found["problems"]) <= set(peer.known), found
    assert found["own"] is None or found["own"] < 1e-3


def test_triplets_of_a_crystal() -> None:
    """Each edge k -> j is paired with every j -> i but its own way back; images count as atoms."""
    data = from_ase(bulk("Cu"), 2.7)
    vectors = data.pos[data.edge_index[0]] - data.pos[data.edge_index[1]] + data.edge_shift @ data.cell[0]
    kj, ji = triplets(data.edge_index, vectors)
    assert data.edge_index.size(1) == 12
    assert kj.numel() == 12 * 11
    assert not (vectors[kj] + vectors[ji]).norm(dim=-1).lt(1e-6).any()


def test_worker_answers_and_says_what_is_wrong() -> None:
    peer = peer_of(REFERENCE)
    found = worker.answer(peer, {"task": "speed", "system": "molecule", "seconds": 0.0})["answer"]
    assert found["ratio"] == 1
    assert found["atoms"] == 21
    assert found["ms"] > 0
    assert found["versions"]["torch"] == torch.__version__
    assert "KeyError" in worker.answer(peer, {"task": "speed", "system": "gold"})["error"]
    assert "error" in worker.answer(peer, {"task": "nothing"})


def test_process_of_a_worker() -> None:
    peer = peer_of(REFERENCE)
    with Worker(peer, REFERENCE) as process:
        assert process.ask("memory", system="molecule")["MB"] > 0
        with pytest.raises(WorkerError, match="KeyError"):
            process.ask("speed", system="gold")
        process._process.kill()
        process._process.wait()
        assert process.dead
        with pytest.raises(WorkerError, match="its process ended"):
            process.ask("memory", system="molecule")


def test_memory_of_a_worker_is_bounded() -> None:
    with Worker(peer_of(REFERENCE), REFERENCE, gigabytes=4.0) as process, pytest.raises(WorkerError):
        process.ask("speed", system="copper 10192")


def test_environment_shares_the_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("experiments.benchmark.environments.FOLDER", tmp_path)
    place = Environment("empty")
    assert not place.installed()
    place.install(lambda _: None)
    assert place.installed()
    with Worker(replace(peer_of(REFERENCE), environment=place), REFERENCE) as process:
        assert process.ask("memory", system="molecule")["versions"]["torch"] == torch.__version__
    assert not replace(place, variables=(), packages=("numpy==1",)).installed()


def test_failed_installation_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("experiments.benchmark.environments.FOLDER", tmp_path)
    place = Environment("wrong", checkout=(str(tmp_path / "no repository"), "0"))
    with pytest.raises(RuntimeError, match="no repository"):
        place.install(lambda _: None)
    assert not place.installed()


def fake(path: Path) -> Records:
    """Records of two models, with invented numbers."""
    records = Records(path / "records.json")
    for name, ms, error in (("EquiREANN-plus-s", 2.0, 10.0), (REFERENCE, 5.0, 30.0)):
        peer, where = peer_of(name), machine("cpu")
        speed = {
            "ms": ms,
            "ratio": ms / 5,
            "low": ms / 5,
            "high": ms / 5,
            "atoms": 108,
            "neighbours_ms": 1.0,
            "parameters": 9,
        }
        row = {
            **{"case": "twist", "model": name, "split": "test", "config_type": "all", "seed": "0", "epochs": "3"},
            **{"energy_rmse": "1", "forces_rmse": str(error), "ms_per_step": "4"},
        }
        trained: dict[str, Any] = {
            **{"rows": [row], "scans": [], "validation": {"forces_rmse": error}, "versions": {"torch": "2"}},
            "progress": [
                {"minutes": "0.5", "forces_rmse": str(2 * error)},
                {"minutes": "1", "forces_rmse": str(error)},
            ],
        }
        for system in ("64 molecules", "copper 108"):
            options = {"system": system}
            records.add(Record(name, "speed", options, mark_of(peer), speed | {"versions": {}}, "", where))
        budget = {"case": "twist", "seed": 0, "rate": 0.1, "minutes": 1.0}
        records.add(Record(name, "train", budget, mark_of(peer), trained, "", where))
        records.add(Record(name, "memory", {"system": "copper 1008"}, mark_of(peer), {}, "out of <memory>", where))
    return records


def test_report(tmp_path: Path) -> None:
    records = fake(tmp_path)
    publish(records, tmp_path, SUITES["quick"])
    text, page = (tmp_path / "report.md").read_text(), (tmp_path / "report.html").read_text()
    assert "0.4, 2 ms" in text
    assert "| EquiREANN-plus-s | 1 / 10 |" in text
    assert "out of &lt;memory&gt;" in page
    assert page.count("data:image/png;base64,") == 3
    assert "http" not in page.replace("https://github.com", "")  # opens without a network
    assert (tmp_path / "speed.csv").read_text().count("\n") == 7
    assert "twist" in (tmp_path / "errors.csv").read_text()


def test_nothing_is_measured_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []

    class Silent(Worker):
        def __init__(self, peer: Peer, name: str, gigabytes: float | None = None) -> None:
            self.peer = peer

        def __exit__(self, *_: object) -> None:
            pass

        dead = False  # type: ignore[assignment]

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
    trials = replace(SUITES["quick"], trial_minutes=1.0)
    monkeypatch.setitem(runner.SUITES, "quick", trials)
    asked.clear()
    Benchmark(settings).run()
    assert len(asked) == 4  # three trials, and a training with the best of their rates
    rates = [record.options["rate"] for record in Records(tmp_path / "records.json") if record.task == "train"]
    assert rates.count(min(rates)) == 2


def test_trains_a_model_of_a_user(tmp_path: Path) -> None:
    peer = of_user("tests.experiments.test_benchmark:Mine")
    request = {
        "task": "train",
        "case": "twist",
        "data": str(tmp_path),
        "folder": str(tmp_path),
        "epochs": 1,
        "quick": True,
    }
    found = worker.answer(peer, request)["answer"]
    json.dumps(found)
    assert {row["split"] for row in found["rows"]} == {"test"}
    assert found["validation"]["forces_rmse"] > 0
    assert float(found["progress"][-1]["minutes"]) > 0


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


def test_systems() -> None:
    box = water_box()
    assert len(box) == 192
    assert 0.9 < box.get_masses().sum() / box.get_volume() / 0.6022 < 1.1  # g/cm^3
    data = SYSTEMS["water 192"](5.0)
    assert data.z.numel() == 192
    first = radius_graph(data.pos, 0.8, data.cell[0], data.pbc[0])[0]
    assert first.size(1) == 0  # no atoms upon each other


def test_measurements_are_plain() -> None:
    for suite in SUITES.values():
        for measurement in suite.speed:
            assert json.loads(json.dumps(dict(measurement.options))) == dict(measurement.options)
    assert Measurement("speed", {"system": "molecule"}).title == "speed molecule"
    assert isinstance(Potential(Mine(["H", "C"], 3.0))(from_ase(molecule("CH4"), 3.0))["energy"], torch.Tensor)
