"""Matrices in stacks: they come back as they were, an optimiser's step is that of each on its own, and has few operations."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from equireann_pyg.training.muon import Muon, orthogonalized
from equireann_pyg.training.stacks import Stacks, unit_for

SHAPES = [
    (16, 96),
    (3, 15, 64),
    (96, 16),
    (4, 96, 16),
    (9, 96),
    (32, 32),
    (2, 2, 32, 8),
    (3, 32, 96),
    (128, 64),
    (96, 9),
]
OTHERS = [(4, 64, 1), (7,), (), (5, 300)]
UNITS = [1, 8, 64]


def weights(shapes: list[tuple[int, ...]], kind: torch.dtype = torch.float64) -> list[torch.nn.Parameter]:
    """Parameters with gradients whose sizes span six orders of magnitude."""
    torch.manual_seed(0)
    made = [torch.nn.Parameter(torch.randn(shape, dtype=kind)) for shape in shapes]
    for index, weight in enumerate(made):
        weight.grad = torch.randn_like(weight) * 10.0 ** -(index % 7)
    return made


@pytest.mark.parametrize("unit", UNITS)
def test_what_is_filled_comes_back(unit: int) -> None:
    matrices = [weight.detach() for weight in weights(SHAPES)]
    stacks = Stacks([matrix.shape for matrix in matrices], torch.device("cpu"), unit)
    filled = stacks.filled(matrices)
    assert [stack.shape for stack in filled] == stacks.sizes
    assert all(stack.size(1) <= stack.size(2) for stack in filled)
    assert all(side % unit == 0 for stack in filled for side in stack.shape[1:])
    assert sum(int((stack != 0).sum()) for stack in filled) == sum(matrix.numel() for matrix in matrices)
    assert len(filled) == {1: 7, 8: 6, 64: 2}[unit]
    for mine, matrix in zip(stacks.emptied(filled), matrices, strict=True):
        assert torch.equal(mine, matrix)
    norms = torch.cat([stack.norm(dim=(-2, -1)) for stack in filled]).sort().values
    expected = torch.cat([matrix.norm(dim=(-2, -1)).view(-1) for matrix in matrices]).sort().values
    torch.testing.assert_close(norms, expected, rtol=1e-12, atol=0)  # matrices are whole


def one_by_one(weight: Tensor, gradient: Tensor, mean: Tensor, group: dict[str, Any]) -> None:
    """The equations of Muon for one parameter."""
    mean.copy_(group["momentum"] * mean + (1 - group["momentum"]) * gradient)
    towards = group["momentum"] * mean + (1 - group["momentum"]) * gradient
    rate = group["lr"] * group["matrices"]
    step = rate * max(weight.shape[-2:]) ** 0.5 * orthogonalized(towards, group["eps"], group["steps"])
    weight.copy_((1 - rate * group["weight_decay"]) * weight - step)


@pytest.mark.parametrize("unit", UNITS)
def test_steps_are_those_of_every_matrix_on_its_own(unit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("equireann_pyg.training.muon.unit_for", lambda device: unit)
    mine, single = weights([*SHAPES, *OTHERS]), weights(SHAPES[:2], torch.float32)
    before = [weight.detach().clone() for weight in mine]
    theirs, means = copy.deepcopy(before), [torch.zeros_like(weight) for weight in before]
    optimizer = Muon([*mine, *single], lr=0.1, weight_decay=0.3)
    (group,) = optimizer.param_groups
    for _ in range(3):
        optimizer.step()
        for weight, other, mean in zip(mine[: len(SHAPES)], theirs, means, strict=False):
            assert weight.grad is not None
            one_by_one(other, weight.grad, mean, group)
            weight.grad = weight.grad.roll(1, -1)
    for weight, other, mean, old in zip(mine[: len(SHAPES)], theirs, means, before, strict=False):
        torch.testing.assert_close(weight.detach(), other, rtol=1e-10, atol=1e-12)
        assert (other - old).abs().max() > 0.05
        assert set(optimizer.state[weight]) == {"momentum"}
        torch.testing.assert_close(optimizer.state[weight]["momentum"], mean, rtol=1e-12, atol=0)
    assert all(set(optimizer.state[weight]) == {"step", "mean", "square"} for weight in mine[len(SHAPES) :])
    assert all(weight.dtype == torch.float32 and weight.isfinite().all() for weight in single)


class Counted(TorchDispatchMode):
    """Counts operations, but not those that only look at memory in another way."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += not func.is_view
        return func(*args, **(kwargs or {}))


def operations(shapes: list[tuple[int, ...]], device: str) -> int:
    """Number of operations of the second step."""
    made = [torch.nn.Parameter(weight.detach().to(device)) for weight in weights(shapes)]
    for weight in made:
        weight.grad = torch.empty_like(weight)
    optimizer = Muon(made)
    optimizer.step()
    with Counted() as counted:
        optimizer.step()
    return counted.count


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_operations_do_not_grow_with_the_number_of_matrices(device: str) -> None:
    few = operations(SHAPES, device)
    assert operations(5 * SHAPES, device) == few
    alone = operations(SHAPES[:1], device)
    assert 10 < alone < few < len(SHAPES) * alone


def test_a_gpu_fills_up_more_than_a_cpu() -> None:
    assert operations(SHAPES, "meta") < 0.5 * operations(SHAPES, "cpu")
    assert unit_for(torch.device("cuda")) > unit_for(torch.device("cpu"))
