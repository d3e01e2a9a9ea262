"""Traced potentials through the kernels for CUDA: what is read of the tables of products, which waits for a GPU."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest
import torch
from torch import Tensor

from equireann_pyg import EquiREANNPlus, Potential, ops
from equireann_pyg.inference.compiled import state_of, trace
from equireann_pyg.nn import SphericalHarmonics
from equireann_pyg.ops.gpu import DEVICE
from equireann_pyg.testing import random_cluster, randomize
from tests.ops.triton_cases import CASES, DOUBLE, SIZES, moved, on_device


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Lengths of the tables that are read."""
    module, found = import_module("equireann_pyg.ops.cuda.coupled"), list[int]()
    checked = module._checked

    def counted(entries: Tensor, *rest: Any) -> Any:
        found.append(len(entries))
        return checked(entries, *rest)

    monkeypatch.setattr(module, "_checked", counted)
    monkeypatch.setattr(module, "_known", {})
    return found


def small_potential(training: bool) -> tuple[Potential, Any]:
    torch.manual_seed(0)
    small: dict[str, Any] = {"num_radial": 3, "num_products": 3, "num_messages": 3, "num_iterations": 1}
    model = EquiREANNPlus(["H", "C"], 3.0, hidden_channels=[4], angular=SphericalHarmonics(1), **small)
    randomize(model)
    potential = Potential(model).double().to(DEVICE).train(training)
    return potential, potential.tensors(random_cluster([1, 6], 3.0, 4).to(DEVICE))


@pytest.mark.slow
@on_device
@pytest.mark.parametrize("training", [False, True])
def test_a_traced_potential_reads_its_tables_once(training: bool, reads: list[int]) -> None:
    potential, tensors = small_potential(training)
    graph = trace(potential, tensors, forces=True, stress=False)

    def evaluate() -> Tensor:
        forces = graph(state_of(potential), *tensors)["forces"]
        if training:
            forces.square().sum().backward()
        return forces.detach()

    first = evaluate()
    assert len(reads) > 3
    before = len(reads)
    again = evaluate()
    assert len(reads) == before
    assert float(first.abs().max()) > 1e-3
    with ops.by_reference():
        expected = potential.evaluate(tensors, True, False)["forces"].detach()
    for forces in (first, again):
        assert torch.allclose(forces, expected, rtol=1e-9, atol=1e-10)


@on_device
def test_what_is_known_of_tables_that_are_gone_is_forgotten(reads: list[int]) -> None:
    module = import_module("equireann_pyg.ops.cuda.coupled")
    for _ in range(4):
        ops.coupled(*moved(*CASES["coupled"][1](*SIZES[0]), dtype=DOUBLE))
    assert len(reads) == 4
    assert 1 <= len(module._known) <= 2
