"""Evaluations that are recorded and replayed: what is around the recordings on the CPU, and the recordings on a GPU."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from copy import deepcopy

import numpy as np
import pytest
import torch
from ase.build import bulk, molecule
from torch import Tensor
from torch_geometric.data import Batch, Data

from equireann_pyg import EquiREANNCalculator, Potential
from equireann_pyg.graph import to_device
from equireann_pyg.inference.graphed import KEPT, GraphedPotential
from equireann_pyg.inference.recording import Recorder
from equireann_pyg.testing import random_cluster, random_crystal
from equireann_pyg.training import Muon
from tests.recorders import EagerRecorder
from tests.test_padding import CUTOFF, MODELS, SYSTEMS, potential

ON_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
WHERE = ["cpu", pytest.param("cuda", marks=ON_GPU)]
RECORDERS: dict[str, Callable[[], Recorder]] = {"cpu": EagerRecorder, "cuda": Recorder}


def graphed_of(made: Potential, device: str) -> GraphedPotential:
    return GraphedPotential(made, RECORDERS[device]())


def batches(device: str) -> list[Data]:
    """Three batches of different sizes, open and periodic."""
    graphs = [random_cluster([1, 6], CUTOFF, size, seed=size) for size in (3, 9, 6)]
    graphs += [random_crystal([1, 6], CUTOFF, size, seed=size) for size in (2, 3)]
    return [to_device(Batch.from_data_list(some), device) for some in (graphs[2:], graphs[1:4], graphs)]


def force_loss(output: dict[str, Tensor]) -> Tensor:
    """A loss of all outputs."""
    return sum((torch.where(value.isfinite(), value, 0.0).square().sum() for value in output.values()), torch.zeros(()))


def gradients(evaluate: Potential | GraphedPotential, made: Potential, data: Data) -> list[Tensor | None]:
    made.zero_grad()
    force_loss(evaluate(data)).backward()
    return [None if weight.grad is None else weight.grad.clone() for weight in made.parameters()]


def assert_same(actual: list[Tensor | None], expected: list[Tensor | None]) -> None:
    assert [gradient is None for gradient in actual] == [gradient is None for gradient in expected]
    largest = max(float(gradient.abs().max()) for gradient in expected if gradient is not None)
    assert largest > 1e-3
    for mine, theirs in zip(actual, expected, strict=True):
        if mine is not None:
            torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-10 * largest)


def test_elsewhere_it_says_what_to_use_instead() -> None:
    with pytest.raises(
        ValueError, match=r"expected a potential on a CUDA device, got one on cpu; .* compile_potential"
    ):
        GraphedPotential(potential())
    with pytest.raises(ValueError, match="expected a potential on a CUDA device"):
        EquiREANNCalculator(potential(), graphed=True)
    with pytest.raises(ValueError, match="leave out block_size"):
        EquiREANNCalculator(potential(), graphed=True, block_size=10)


@pytest.mark.parametrize("device", WHERE)
@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("kind", MODELS)
def test_a_replay_gives_the_results_of_the_potential(system: str, kind: str, device: str) -> None:
    made = potential(kind).to(device)
    graphed, data = graphed_of(made, device), to_device(SYSTEMS[system](), device)
    for step in range(3):
        data.pos = data.pos + 0.01 * step * torch.sin(torch.arange(data.pos.numel(), device=device).view(-1, 3))
        actual, expected = graphed(data), made(data)
        assert actual.keys() == expected.keys()
        for name, value in expected.items():
            assert not actual[name].requires_grad
            torch.testing.assert_close(actual[name], value, rtol=1e-9, atol=1e-10, equal_nan=True, msg=name)
    assert len(graphed._recorded) == 1


@pytest.mark.parametrize("device", WHERE)
@pytest.mark.parametrize("make", [torch.optim.Adam, Muon])
@pytest.mark.parametrize("kind", ["equireann", "reann", "plus"])
def test_training_gradients(kind: str, make: type[torch.optim.Optimizer], device: str) -> None:
    made = potential(kind).to(device).train()
    graphed, optimizer = graphed_of(made, device), make(made.parameters(), lr=1e-2)
    for _ in range(2):
        for data in batches(device):
            expected = gradients(made, made, data)
            assert_same(gradients(graphed, made, data), expected)
            optimizer.step()  # with the recorded ones


@pytest.mark.parametrize("device", WHERE)
def test_gradients_add_up_and_are_not_overwritten(device: str) -> None:
    made = potential().to(device).train()
    graphed, some = graphed_of(made, device), batches(device)
    some = [some[0], some[0].clone(), some[2]]  # the first two share a recording
    some[1].pos = 1.01 * some[1].pos
    results: list[list[Tensor | None]] = []
    for evaluate in (made, graphed):
        made.zero_grad()
        for data in some:
            force_loss(evaluate(data)).backward()
        results.append([weight.grad for weight in made.parameters()])
    assert_same(results[1], results[0])
    kept = [None if gradient is None else gradient.clone() for gradient in results[1]]
    made.zero_grad()
    force_loss(graphed(some[0])).backward()
    assert_same(results[1], kept)
    first = graphed(some[0])
    before = {name: value.detach().clone() for name, value in first.items()}
    graphed(some[1])
    assert all(torch.equal(first[name].nan_to_num(), value.nan_to_num()) for name, value in before.items())


@pytest.mark.parametrize("device", WHERE)
def test_a_loss_of_one_output(device: str) -> None:
    """Parameters that only other outputs depend on get zeros, as documented; all others what they get without."""
    made, data = potential().to(device).train(), batches(device)[0]
    found = []
    for evaluate in (made, graphed_of(made, device)):
        made.zero_grad()
        evaluate(data)["energy"].square().sum().backward()
        found.append([torch.zeros_like(w) if w.grad is None else w.grad.clone() for w in made.parameters()])
    assert_same(list(found[1]), list(found[0]))


@pytest.mark.parametrize("device", WHERE)
def test_one_derivative_before_the_next_evaluation(device: str) -> None:
    made, data = potential().to(device).train(), batches(device)[0]
    graphed = graphed_of(made, device)
    first, second = graphed(data), graphed(data)
    with pytest.raises(RuntimeError, match="before the next evaluation"):
        force_loss(first).backward()
    loss = force_loss(second)
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="one derivative"):
        loss.backward()
    third = graphed(data)
    made.eval()
    graphed(data)  # in between
    with pytest.raises(RuntimeError, match="before the next evaluation"):
        force_loss(third).backward()
    made.train()
    data.pos.requires_grad_()
    with pytest.raises(ValueError, match="gradients of the parameters only"):
        graphed(data)


@pytest.mark.parametrize("device", WHERE)
def test_frozen_weights(device: str) -> None:
    made, data = potential().to(device).train(), batches(device)[0]
    graphed = graphed_of(made, device)
    gradients(graphed, made, data)
    for weight in made.model.radial.parameters():
        weight.requires_grad_(False)
    expected = gradients(made, made, data)
    assert expected.count(None) > 0
    assert_same(gradients(graphed, made, data), expected)
    made.requires_grad_(False)
    assert not any(value.requires_grad for value in graphed(data).values())
    assert len(graphed._recorded) == 1


@pytest.mark.parametrize("device", WHERE)
def test_other_sizes_weights_and_modes(device: str) -> None:
    made = potential().to(device)
    graphed = graphed_of(made, device)
    graphs = [
        to_device(random_cluster([1, 6], CUTOFF, size, spacing), device) for size in (4, 9) for spacing in (1.6, 1.1)
    ]
    for _ in range(2):
        for data in graphs:
            torch.testing.assert_close(graphed(data)["forces"], made(data)["forces"], rtol=1e-9, atol=1e-10)
        with torch.no_grad():
            for parameter in made.model.parameters():
                parameter.mul_(1.01)  # in its place: replays see it
    assert len(graphed._recorded) <= 2
    made.model.float()  # elsewhere: recorded anew
    torch.testing.assert_close(graphed(graphs[0])["forces"], made(graphs[0])["forces"], rtol=1e-4, atol=1e-5)
    assert len(graphed._recorded) == 1
    assert graphed(graphs[0], forces=False).keys() == made(graphs[0], forces=False).keys()


def test_the_recordings_used_last_are_kept() -> None:
    recorder = EagerRecorder()
    graphed = GraphedPotential(potential(), recorder)
    clusters = [random_cluster([1, 6], CUTOFF, size, 1.2) for size in (2, 20)]
    for cluster in clusters:
        graphed(cluster)
    first = recorder.made[0]
    for number in range(KEPT - 1):
        graphed(Batch.from_data_list(clusters[:1] * 8 * (number + 2) ** 2))
        graphed(clusters[0])
    assert len(graphed._recorded) == KEPT
    assert not first.closed
    assert [made.closed for made in recorder.made].count(True) == len(recorder.made) - KEPT == 1
    assert recorder.made[1].closed
    graphed.potential.double().model.float()
    graphed(clusters[0])
    assert first.closed


def test_copies_are_recorded_anew() -> None:
    graphed, data = GraphedPotential(potential(), EagerRecorder()), SYSTEMS["open"]()
    expected = graphed(data)["forces"]
    copy = deepcopy(graphed)
    assert not copy._recorded
    assert copy.potential is not graphed.potential
    assert torch.equal(copy(data)["forces"], expected)
    with pytest.raises(ValueError, match="expected a potential on a CUDA device"):
        pickle.loads(pickle.dumps(graphed))


def test_memory_made_in_inference_mode_serves_afterwards() -> None:
    graphed, data = GraphedPotential(potential(), EagerRecorder()), SYSTEMS["open"]()
    with torch.inference_mode():
        graphed(data, forces=False)
    torch.testing.assert_close(graphed(data)["forces"], graphed.potential(data)["forces"])
    assert len(graphed._recorded) == 2
    torch.testing.assert_close(graphed(data, forces=False)["energy"], graphed.potential(data, forces=False)["energy"])


@ON_GPU
def test_results_are_not_overwritten_and_nothing_waits() -> None:
    made = potential().to("cuda")
    graphed, data = GraphedPotential(made), to_device(random_cluster([1, 6], CUTOFF), "cuda")
    first = graphed(data)
    kept = first["forces"].clone()
    data.pos = 1.02 * data.pos
    made.train()
    force_loss(graphed(data)).backward()
    torch.cuda.set_sync_debug_mode("error")
    try:
        force_loss(graphed(data)).backward()
        made.eval()
        second = graphed(data)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.equal(first["forces"], kept)
    assert not torch.equal(second["forces"], kept)


@ON_GPU
def test_in_the_calculator() -> None:
    made = potential()
    plain, graphed = EquiREANNCalculator(made), EquiREANNCalculator(made, device="cuda", graphed=True)
    for atoms in (bulk("C", cubic=True), molecule("CH4")):
        for seed in range(4):
            atoms.rattle(0.05, seed=seed)
            expected, actual = ({k: c.get_property(k, atoms) for k in ("energy", "forces")} for c in (plain, graphed))
            assert np.abs(expected["forces"]).max() > 1e-2
            np.testing.assert_allclose(actual["forces"], expected["forces"], rtol=1e-8, atol=1e-9)
            assert actual["energy"] == pytest.approx(expected["energy"], rel=1e-9)


def test_types_have_recordings_of_their_own() -> None:
    """Copied into those of another type, positions would lose digits without a word."""
    graphed, data = GraphedPotential(potential(), EagerRecorder()), SYSTEMS["open"]()
    coarse = data.clone()
    coarse.pos, coarse.cell, coarse.edge_shift = coarse.pos.float(), coarse.cell.float(), coarse.edge_shift.float()
    graphed(coarse)
    forces = graphed(data)["forces"]
    assert forces.dtype == torch.float64
    torch.testing.assert_close(forces, graphed.potential(data)["forces"], rtol=1e-12, atol=1e-13)
    assert len(graphed._recorded) == 2
