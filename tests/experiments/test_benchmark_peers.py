"""The models of the benchmark: adapters, environments, workers; other packages take part where their environments are."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from ase.build import bulk

from equireann_pyg import from_ase, radius_graph
from experiments.benchmark import worker
from experiments.benchmark.peers import MODULES, REFERENCE, of_user, peer_of, peers
from experiments.benchmark.peers.environments import Environment, variables
from experiments.benchmark.peers.pyg import triplets
from experiments.benchmark.process import Worker, WorkerError
from experiments.benchmark.tasks.systems import SYSTEMS, water_box
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
    assert found["own"] is None or found["own"] < 1e-6


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
        with pytest.raises(WorkerError, match="its process ended"):
            process.ask("memory", system="molecule")


def test_patience_with_a_worker_ends() -> None:
    with (
        Worker(peer_of(REFERENCE), REFERENCE, patience=0.1) as process,
        pytest.raises(WorkerError, match=r"after 0\.1 s"),
    ):
        process.ask("check")


@pytest.mark.slow
def test_memory_of_a_worker_is_bounded() -> None:
    with Worker(peer_of(REFERENCE), REFERENCE, gigabytes=4.0) as process, pytest.raises(WorkerError, match="memory"):
        process.ask("speed", system="copper 10192")


@pytest.mark.slow
def test_environment_shares_the_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("experiments.benchmark.peers.environments.FOLDER", tmp_path)
    place = Environment("empty")
    assert not place.installed()
    place.install(lambda _: None)
    assert place.installed()
    with Worker(replace(peer_of(REFERENCE), environment=place), REFERENCE) as process:
        assert process.ask("memory", system="molecule")["versions"]["torch"] == torch.__version__
    assert not replace(place, packages=("numpy==1",)).installed()


def test_environment_of_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "1")  # as the command line sets it
    monkeypatch.setenv("PYTHONPATH", "mine")
    found = variables()
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in found
    assert found["PYTHONPATH"].endswith(os.pathsep + "mine")


def test_failed_installation_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("experiments.benchmark.peers.environments.FOLDER", tmp_path)
    place = Environment("wrong", checkout=(str(tmp_path / "no repository"), "0"))
    with pytest.raises(RuntimeError, match="no repository"):
        place.install(lambda _: None)
    assert not place.installed()


def test_trains_a_model_of_a_user(tmp_path: Path) -> None:
    peer = of_user("tests.experiments.test_benchmark_peers:Mine")
    request = {
        "task": "train",
        "case": "twist",
        "data": str(tmp_path),
        "folder": str(tmp_path),
        "epochs": 1,
        "quick": True,
    }
    found, other = (worker.answer(peer, {**request, "seed": seed})["answer"] for seed in (0, 1))
    assert found["validation"] != other["validation"]  # seeds do not share their checkpoints
    assert found["us_per_atom"] > 0
    json.dumps(found)
    assert {row["split"] for row in found["rows"]} == {"test"}
    assert found["validation"]["forces_rmse"] > 0
    assert float(found["progress"][-1]["minutes"]) > 0


def test_systems() -> None:
    box = water_box()
    assert len(box) == 192
    assert 0.9 < box.get_masses().sum() / box.get_volume() / 0.6022 < 1.1  # g/cm^3
    data = SYSTEMS["water 192"](5.0)
    assert data.z.numel() == 192
    first = radius_graph(data.pos, 0.8, data.cell[0], data.pbc[0])[0]
    assert first.size(1) == 0  # no atoms upon each other
