"""The speed experiment: its counts, its clock, its table; no times are judged here."""

from __future__ import annotations

import csv
import math
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from equireann_pyg import EquiREANN, edge_vectors
from equireann_pyg.nn import solid_harmonics
from equireann_pyg.ops import by_reference, edge_order, polynomials
from equireann_pyg.testing import randomize
from experiments.speed import choice, floor, memory, run
from experiments.speed.cases import CASES, CUTOFF, ELEMENTS
from experiments.speed.measure import Group
from experiments.speed.paths import paths_for
from experiments.speed.peers import Mace
from experiments.speed.targets import TARGETS, Measured, Results
from experiments.speed.timing import interleave, peak_memory, stopwatch


def counted(call: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter, by_reference():
        call()
    return counter.get_total_flops()


@pytest.mark.parametrize(("radial", "hidden", "iterations"), [(8, [64, 64], 3), (5, [16, 24], 1), (4, [12], 0)])
def test_matrix_products_are_those_of_the_reference(radial, hidden, iterations, monkeypatch):
    def harmonics(vec: Tensor, combination: Tensor, max_degree: int) -> Tensor:
        return math.sqrt(4 * math.pi) * solid_harmonics(vec, max_degree)

    monkeypatch.setattr(polynomials, "reference", harmonics)  # the fewest operations are no product of matrices
    model = EquiREANN(ELEMENTS, CUTOFF, num_radial=radial, hidden_channels=hidden, num_iterations=iterations)
    randomize(model)
    data = CASES["mol1"]()
    vectors = edge_vectors(data).float()

    def inference(create_graph: bool = False) -> Tensor:
        edge_vec = vectors.requires_grad_().clone()  # the counter accepts no leaf
        energy = model(data.z, data.edge_index, edge_vec).sum()
        return energy + torch.autograd.grad(energy, edge_vec, create_graph=create_graph)[0].square().sum()

    expected = floor.matrix_products(floor.sizes_of(model, data))
    model.requires_grad_(False)  # forces only
    assert counted(inference) == expected.inference > 1e5
    model.requires_grad_(True)
    assert counted(lambda: inference(create_graph=True).backward()) == expected.training > 1e5


def neighbour_products(sizes: floor.Sizes, training: bool) -> int:
    """Operations of the sum over neighbours in torch, written as products that torch can count."""
    edges, lm, n = sizes.edges, sizes.components, sizes.num_radial
    total = 0
    for t in range(sizes.iterations + 1):
        pair = [torch.rand(edges, lm, 1), torch.rand(edges, 1, n)]  # Y, a
        pair += [torch.rand(edges, lm * n, 1), torch.rand(edges, 1, 1)] if t else []  # M, f
        factors = [factor.requires_grad_() for factor in pair]

        def call(factors: list[Tensor] = factors) -> None:
            products = [a @ b for a, b in zip(factors[::2], factors[1::2], strict=True)]
            value = sum(product.square().sum() for product in products)
            gradients = torch.autograd.grad(value, factors, create_graph=training)
            if training:
                sum(gradient.square().sum() for gradient in gradients).backward()

        total += counted(call)
    return total


def test_the_neighbour_sum_costs_what_its_products_cost():
    sizes = floor.Sizes(20, 300, 9, 8, 64, (64, 64), 3)
    cost, block = floor.neighbour_sum(sizes), 2 * 9 * 8 * sizes.edges
    products = neighbour_products(sizes, training=False)
    assert products == block * (3 + 3 * 6)
    assert products < cost.inference < 1.2 * products  # the rest is of order n, not lm n
    products = neighbour_products(sizes, training=True)
    assert 0.7 * products < cost.training < products  # torch also differentiates by what no parameter depends on


def test_the_floor_is_linear_in_the_system():
    one = floor.Sizes(100, 4000, 9, 8, 64, (64, 64), 3)
    two = floor.Sizes(200, 8000, 9, 8, 64, (64, 64), 3)
    ceiling = floor.Ceilings(gflops=100.0, gbytes=30.0)
    for count in (floor.operations, floor.least_bytes, lambda sizes: floor.floor_seconds(sizes, ceiling)):
        assert count(two).inference == pytest.approx(2 * count(one).inference)
        assert count(two).training == pytest.approx(2 * count(one).training)
        assert count(one).training > 1.5 * count(one).inference > 0
    assert floor.floor_seconds(one, floor.Ceilings(100.0, 1e-3)).inference == pytest.approx(
        floor.least_bytes(one).inference / 1e6
    )


def test_ceilings_are_measured_on_one_thread():
    threads = torch.get_num_threads()
    ceiling = floor.ceilings(repeats=1)
    assert ceiling.gflops > 0.1
    assert ceiling.gbytes > 0.1
    assert torch.get_num_threads() == threads


def test_cases_have_the_sizes_of_their_names():
    atoms = {name: CASES[name]() for name in ("mol1", "train8", "mol64", "cu108", "cu864")}
    assert [data.z.numel() for data in atoms.values()] == [21, 168, 1344, 108, 864]
    assert sorted(atoms["mol1"].z.tolist()) == [1] * 8 + [6] * 9 + [8] * 4
    assert atoms["cu864"].edge_index.size(1) / 864 == pytest.approx(44.7, abs=0.2)
    assert atoms["mol1"].edge_index.size(1) < atoms["train8"].edge_index.size(1) / 7


def test_contestants_take_turns():
    turns: list[str] = []

    def busy(name: str, seconds: float) -> Callable[[int], float]:
        def call() -> None:
            turns.append(name)
            end = time.process_time() + seconds
            while time.process_time() < end:
                pass

        return stopwatch(call)

    samples = interleave({"short": busy("short", 0.02), "long": busy("long", 0.04)}, 0, min_rounds=4)
    assert {name: len(times) for name, times in samples.items()} == {"short": 4, "long": 4}
    assert all(a < b for a, b in zip(samples["short"], samples["long"], strict=True))
    assert turns[4:8] == ["long", "short", "short", "long"]  # after warm-up and one call for the cost


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_peak_memory_sees_what_is_freed_again():
    size = 1 << 24  # numbers of 4 bytes
    assert peak_memory(lambda: torch.ones(size)) == pytest.approx(4e-6 * size, rel=0.1)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_training_takes_more_memory(capsys: pytest.CaptureFixture[str]):
    threads = torch.get_num_threads()
    rises = []
    for step in ("inference", "training"):
        memory.main(["EquiREANN", "plain", "train8", step])
        rises.append(float(capsys.readouterr().out))
    torch.set_num_threads(threads)
    assert 1 < rises[0] < rises[1] < 500


def test_targets_are_read_off_the_results():
    results = Results()
    assert all(target.read(results) is None for target in TARGETS)
    samples = {"EquiREANN plain": [8.0, 10.0], "EquiREANN kernels": [1.0, 2.0], "EquiREANN blocks": [3.0, 3.0]}
    samples |= {"REANN plain": [0.1, 0.1], "REANN kernels": [2.0, 2.0], "SchNet": [10.0, 40.0]}
    peaks = {"EquiREANN plain": 100.0, "EquiREANN kernels": 30.0, "EquiREANN blocks": 10.0}
    results.cases["cu864", "inference"] = Measured(864, 0.5, samples, peaks)
    results.large = {"blocks": {1000: 2.0, 10000: 20.0, 100000: 200.0}}
    readings = {target.name: (target, target.read(results)) for target in TARGETS if target.read(results)}
    values = {name: (reading[0], target.met(reading[0])) for name, (target, reading) in readings.items()}
    assert values == {
        "EquiREANN / REANN, cu864 inference": (0.75, True),
        "EquiREANN / SchNet, cu864 inference": (pytest.approx(0.075), True),
        "plain / fast, cu864 inference": (6.5, True),
        "peak memory, fast / plain, cu864 inference": (0.3, False),
        "time / floor, cu864 inference": (3.0, True),
        "power of atoms, 1,000 to 100,000 atoms, in blocks": (pytest.approx(1.0), True),
    }


def test_prints_and_writes_both_tables(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(run, "ceilings", lambda: floor.Ceilings(100.0, 30.0))
    threads = torch.get_num_threads()
    groups = [Group("mol1", "inference", ("SchNet", "original REANN", "MACE-medium")), Group("mol1", "training")]
    options = ["--quick", "--paths", "plain", "kernels", "--seconds", "0.1", "--out", str(tmp_path)]
    try:
        run.main(options, groups)
    finally:
        torch.set_num_threads(threads)
    text = capsys.readouterr().out
    assert "Targets" in text
    with open(tmp_path / "results.csv") as file:
        rows = list(csv.DictReader(file))
    inference = [row["contestant"] for row in rows if row["step"] == "inference"]
    ours = [f"{model} {path}" for model in ("EquiREANN", "REANN") for path in ("plain", "kernels")]
    assert inference == [*ours, "SchNet"]  # peers that were not given are left out
    assert all(float(row["ms"]) > 0 for row in rows)
    with open(tmp_path / "targets.csv") as file:
        assert [row["target"] for row in csv.DictReader(file)] == [target.name for target in TARGETS]
    assert "commit" in (tmp_path / "machine.txt").read_text()


@pytest.mark.skipif(find_spec("mace") is not None, reason="needs a Python without mace")
def test_a_dead_worker_is_reported():
    with Mace(Path(sys.executable), CASES["mol1"](), "inference") as mace:  # this Python has no mace
        with pytest.raises(RuntimeError, match=r"the MACE worker ended: (.|\n)*No module named 'mace'"):
            mace(1)
        with pytest.raises(RuntimeError, match="No module named 'mace'"):
            mace(1)


def test_paths_of_each_step():
    assert paths_for("inference")[:2] == paths_for("training")[:2] == ["plain", "kernels"]
    assert "blocks" not in paths_for("training")


@pytest.mark.usefixtures("kernels")
def test_the_cost_of_the_choice(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = torch.zeros(2, 1, dtype=torch.long), 1
    with choice.unasked(), by_reference():
        assert edge_order.serving(arguments) is edge_order.kernels["cpu"]
    with by_reference():
        assert edge_order.serving(arguments) is None
    choice.main(("mol1",), 0.01)
    assert capsys.readouterr().out.count("mol1") == 2
