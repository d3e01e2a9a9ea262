"""The kernels for CUDA agree with the references: on a GPU where there is one, else through Triton's interpreter.

The interpreter must be switched on before anything is imported, so these tests then run in a process of their own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from packaging.version import Version
from torch import Tensor

from equireann_pyg import EquiREANN, Potential, ops
from equireann_pyg.nn import SphericalHarmonics
from equireann_pyg.ops.gpu import DEVICE
from equireann_pyg.testing import random_cluster, randomize
from tests.ops.triton_cases import CASES, HERE, PRECISION, RUNS, SINGLE, SIZES, TRITON, moved, on_device, sums

FILES = sorted(map(str, Path(__file__).parent.glob("test_triton*.py")))


@pytest.mark.skipif(HERE, reason="these tests run here")
@pytest.mark.skipif(Version("3.9") > TRITON, reason="earlier interpreters do not know NumPy 2.4")
@pytest.mark.parametrize("chosen", ["not slow", pytest.param("slow", marks=pytest.mark.slow)])
def test_through_the_interpreter(chosen: str) -> None:
    env = os.environ | {"TRITON_INTERPRET": "1", "EQUIREANN_KERNELS": "no"}
    command = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", "-m", chosen, *FILES]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert ", 1 skipped" in done.stdout, done.stdout[-500:]  # this test, there


@on_device
@pytest.mark.parametrize(("name", "sizes", "kind"), RUNS, ids=str)
def test_values_and_two_derivatives(name: str, sizes: tuple[int, ...], kind: torch.dtype) -> None:
    torch.manual_seed(0)
    operator, make, places = CASES[name]
    arguments = moved(*make(*sizes), dtype=kind)
    assert operator.serving(arguments) is not None

    def of(function: Callable[..., Tensor]) -> Callable[..., tuple[Tensor, ...]]:
        changed = dict(enumerate(arguments))
        return lambda *x: (function(*(changed | dict(zip(places, x, strict=True))).values()),)

    leaves = [arguments[place].requires_grad_() for place in places]
    made, expected = of(operator), of(operator.reference)
    for order in range(3):
        results, references = made(*leaves), expected(*leaves)
        size = max((float(x.detach().abs().max()) for x in references if x.numel()), default=0.0)
        assert size > 1e-2 or not sum(x.numel() for x in references) or 0 in sizes
        for mine, theirs in zip(results, references, strict=True):
            assert mine.shape == theirs.shape
            assert torch.allclose(mine, theirs, rtol=PRECISION[kind], atol=PRECISION[kind] * size), f"order {order}"
        made, expected = partial(slopes, made), partial(slopes, expected)


def slopes(function: Callable[..., tuple[Tensor, ...]], *values: Tensor) -> tuple[Tensor, ...]:
    """Gradients of a nonlinear function of the results."""
    total = sum((result + 0.3 * result.square()).sum() for result in function(*values))
    return torch.autograd.grad(total, values, create_graph=True, materialize_grads=True)


@on_device
def test_energy_forces_and_gradient_of_a_force_loss() -> None:
    """Of a whole model, by the kernels and by the references."""
    torch.manual_seed(0)
    small: dict[str, Any] = {
        "num_radial": 5,
        "num_density": 4,
        "num_iterations": 1,
        "hidden_channels": [4],
        "angular": SphericalHarmonics(1),
    }
    potential = Potential(EquiREANN(["H", "C", "O"], 3.0, **small)).double()
    randomize(potential.model)
    potential, data = potential.to(DEVICE), random_cluster([1, 6], 3.0, 4).to(DEVICE)

    def results() -> list[Tensor]:
        output = potential(data)
        loss = output["forces"].square().sum() + output["energy"].square().sum()
        gradients = torch.autograd.grad(loss, list(potential.parameters()), allow_unused=True)
        return [output["energy"], output["forces"], *(g for g in gradients if g is not None)]

    made = results()
    with ops.by_reference():
        expected = results()
    assert len(made) == len(expected) > 10
    for mine, theirs in zip(made, expected, strict=True):
        size = float(theirs.detach().abs().max())
        assert torch.allclose(mine, theirs, rtol=1e-9, atol=1e-9 * size)
    assert float(expected[1].detach().abs().max()) > 1e-3


@on_device
def test_sums_are_the_same_bit_for_bit_every_time() -> None:
    """No atomic adds: the order of every sum is fixed."""
    torch.manual_seed(0)
    arguments = moved(*sums(True, True, 2)(*SIZES[0]), dtype=SINGLE)
    leaves = [arguments[place].requires_grad_() for place in (0, 1, 4, 5, 6)]

    def once() -> list[Tensor]:
        value = ops.orbital_sum(*arguments)
        return [value, *torch.autograd.grad(value.square().sum(), leaves)]

    first = once()
    for _ in range(3):
        assert all(torch.equal(mine, before) for mine, before in zip(once(), first, strict=True))
