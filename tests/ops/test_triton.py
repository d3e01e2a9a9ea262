"""The kernels for CUDA agree with the references: on a GPU where there is one, else through Triton's interpreter.

The interpreter must be switched on before anything is imported, so these tests then run in a process of their own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from packaging.version import Version
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from equireann_pyg import EquiREANN, EquiREANNPlus, OrbitalNetwork, Potential, ops
from equireann_pyg.nn import SphericalHarmonics
from equireann_pyg.ops.gpu import DEVICE, INTERPRETED
from equireann_pyg.ops.operator import Operator
from equireann_pyg.testing import random_cluster, randomize

TRITON = Version(version("triton")) if find_spec("triton") else Version("0")
pytestmark = pytest.mark.skipif(Version("3.5") > TRITON, reason="needs triton 3.5 or later")
HERE = INTERPRETED or torch.cuda.is_available()
on_device = pytest.mark.skipif(not HERE, reason="runs in a process with Triton's interpreter, see the test of it")

# atoms, edges, components, channels, channels of messages: ragged, more than one block, nothing at all
SIZES = [(7, 23, 9, 5, 3), (4, 9, 16, 40, 17), (5, 11, 1, 33, 16), (3, 0, 4, 8, 4), (0, 0, 4, 2, 2)]
WIDE = (3, 9, 4, 160, 5)  # channels that no block holds
SLOW = [SIZES[2], WIDE]  # for the interpreter, in products of many entries
LARGE = [(200, 4000, 16, 96, 16), (1000, 30000, 9, 64, 64), (301, 5000, 4, 100, 12)]  # too many for the interpreter
DOUBLE, SINGLE = torch.float64, torch.float32
RUNS = [(size, DOUBLE) for size in (*SIZES, WIDE)] + [(SIZES[0], SINGLE)]
RUNS += [] if INTERPRETED else [(size, kind) for size in LARGE for kind in (DOUBLE, SINGLE)]
PRECISION = {DOUBLE: 1e-11, SINGLE: 1e-4}


@pytest.mark.skipif(HERE, reason="these tests run here")
@pytest.mark.skipif(Version("3.9") > TRITON, reason="earlier interpreters do not know NumPy 2.4")
def test_through_the_interpreter() -> None:
    env = os.environ | {"TRITON_INTERPRET": "1", "EQUIREANN_KERNELS": "no"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", __file__]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert "skipped" not in done.stdout.replace("1 skipped", ""), done.stdout[-500:]


def moved(*values: Any, dtype: torch.dtype) -> tuple[Any, ...]:
    """Arguments on the device of the kernels, constants apart in their type."""
    there = (value.to(DEVICE) if isinstance(value, Tensor) else value for value in values)
    return tuple(x.to(dtype) if isinstance(x, Tensor) and x.dtype == torch.float32 else x for x in there)


def edges(num_nodes: int, num_edges: int) -> tuple[Tensor, Tensor]:
    """Edges in no order, some atoms without any, and what orders them."""
    ends = torch.randint(max(1, num_nodes - 1), (2, num_edges))
    return ends, ops.edge_order(ends, num_nodes)


def sums(concat: bool, messages: bool, width: int) -> Callable[..., tuple[Any, ...]]:
    """Arguments of a sum over neighbours."""

    def make(N: int, E: int, lm: int, n: int, m: int) -> tuple[Any, ...]:
        m = m if concat else n
        f = torch.rand(E) if width == 1 else torch.rand(E, m)
        M = torch.randn(N, lm, m) if messages else None
        return torch.randn(N, n), M, *edges(N, E), torch.randn(E, n), torch.randn(E, lm), f, concat

    return make


def degrees(lm: int) -> list[int]:
    """Components of every degree, where there are so many."""
    return {1: [1], 4: [1, 3], 9: [1, 3, 5], 16: [1, 3, 5, 7]}[lm]


def table(lm: int) -> tuple[Tensor, Tensor]:
    """Entries of five paths in no order, some components without any."""
    entries = torch.randint(lm, (37, 4), dtype=torch.int32)
    entries[:, 3] = torch.randint(5, (37,))
    return entries, torch.randn(37, dtype=torch.float64)


def species(N: int) -> Tensor:
    return torch.randint(3, (N,)) * 2 - torch.randint(3, (N,)) // 2


CASES: dict[str, tuple[Operator[Any, Tensor], Callable[..., tuple[Any, ...]], tuple[int, ...]]] = {
    "sum of atomic orbitals": (ops.orbital_sum, sums(False, False, 1), (0, 4, 5)),
    "sum with messages": (ops.orbital_sum, sums(False, True, 1), (0, 1, 4, 5, 6)),
    "sum with filtered messages": (ops.orbital_sum, sums(False, True, 2), (0, 1, 4, 5, 6)),
    "sum beside messages": (ops.orbital_sum, sums(True, True, 1), (0, 1, 4, 5, 6)),
    "sum beside filtered messages": (ops.orbital_sum, sums(True, True, 2), (0, 1, 4, 5, 6)),
    "gaussians": (
        ops.gaussians,
        lambda N, E, lm, n, m: (
            torch.rand(E) + 1,
            torch.rand(E),
            torch.arange(E) % 3,
            torch.rand(3, n),
            torch.rand(3, n),
        ),
        (0, 1, 3, 4),
    ),
    "polynomials": (
        ops.polynomials,
        lambda N, E, lm, n, m: (torch.randn(E, 3), torch.randn(20, lm, dtype=torch.float64), 3),
        (0,),
    ),
    "density": (
        ops.density,
        lambda N, E, lm, n, m: (torch.randn(N, lm, n), torch.randn(len(degrees(lm)), n, m), degrees(lm)),
        (0, 1),
    ),
    "soft_standardize": (
        ops.soft_standardize,
        lambda N, E, lm, n, m: (
            torch.randn(N, n),
            torch.randint(3, (N,)),
            torch.randn(3, n),
            torch.rand(3, n) + 0.5,
            2.0,
        ),
        (0,),
    ),
    "element_linear": (
        ops.element_linear,
        lambda N, E, lm, n, m: (torch.randn(N, n), torch.randint(3, (N,)), torch.randn(3, n, m)),
        (0, 2),
    ),
    "degree_linear": (
        ops.degree_linear,
        lambda N, E, lm, n, m: (torch.randn(N, lm, n), torch.randn(len(degrees(lm)), n, m), degrees(lm)),
        (0, 1),
    ),
    "degree_dot": (
        ops.degree_dot,
        lambda N, E, lm, n, m: (torch.randn(N, lm, n), torch.randn(N, lm, n), degrees(lm)),
        (0, 1),
    ),
    "coupled": (
        ops.coupled,
        lambda N, E, lm, n, m: (
            *(torch.randn(N, lm, n), torch.randn(N, lm, n), torch.randn(3, 5, n), torch.randint(3, (N,))),
            *(*table(lm), lm),
        ),
        (0, 1, 2),
    ),
    "self_coupled without elements": (
        ops.self_coupled,
        lambda N, E, lm, n, m: (torch.randn(N, lm, n), torch.randn(1, 5, n), None, *table(lm), lm),
        (0, 1),
    ),
    "product_invariants": (
        ops.product_invariants,
        lambda N, E, lm, n, m: (
            *(torch.randn(N, lm, n), torch.randn(3, 5, n) / 4, torch.randint(3, (N,))),
            *(*table(lm), degrees(lm), True),
        ),
        (0, 1),
    ),
}


@on_device
@pytest.mark.parametrize(("sizes", "kind"), RUNS, ids=str)
@pytest.mark.parametrize("name", CASES)
def test_values_and_two_derivatives(name: str, sizes: tuple[int, ...], kind: torch.dtype) -> None:
    if INTERPRETED and sizes in SLOW and name in ("coupled", "self_coupled without elements", "product_invariants"):
        return
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
@pytest.mark.parametrize("kind", [EquiREANN, EquiREANNPlus])
def test_energy_forces_and_gradient_of_a_force_loss(kind: type[OrbitalNetwork]) -> None:
    """Of a whole model, by the kernels and by the references."""
    torch.manual_seed(0)
    small: dict[str, Any] = {
        "num_radial": 5,
        "num_iterations": 1,
        "hidden_channels": [4],
        "angular": SphericalHarmonics(1),
    }
    small |= {"num_products": 3, "num_messages": 3} if kind is EquiREANNPlus else {"num_density": 4}
    potential = Potential(kind(["H", "C", "O"], 3.0, **small)).double()
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


@on_device
def test_tables_too_long_for_a_kernel_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_module("equireann_pyg.ops.cuda.coupled"), "LONGEST", 0)
    test_values_and_two_derivatives("coupled", SIZES[0], DOUBLE)


@on_device
@pytest.mark.parametrize("longest", [0, 400])
def test_entries_out_of_range(longest: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_module("equireann_pyg.ops.cuda.coupled"), "LONGEST", longest)
    a, b, weight, species, entries, values, size = moved(*CASES["coupled"][1](*SIZES[0]), dtype=DOUBLE)
    entries[3, 1] = size
    with pytest.raises(IndexError, match=r"below \[9, 9, 5, 9\], got"):
        ops.coupled(a, b, weight, species, entries, values, size)


@on_device
def test_shapes_that_do_not_fit() -> None:
    """Would be read beyond their ends."""
    c, M, edge_index, order, R, Y, f, concat = moved(*sums(True, True, 2)(*SIZES[0]), dtype=DOUBLE)
    for name, changed in {
        "radial": (c, M, edge_index, order, R[:-1], Y, f),
        "orbital": (c, M[:-1], edge_index, order, R, Y, f),
        "order": (c, M, edge_index, order[:, :-1], R, Y, f),
        "envelope": (c, M, edge_index, order, R, Y, f[:, :-1]),
    }.items():
        with pytest.raises(ValueError, match=f"{name}: expected the shape"):
            ops.orbital_sum(*changed, concat)
    with pytest.raises(ValueError, match="elements need species"):
        ops.coupled(*moved(*CASES["coupled"][1](*SIZES[0]), dtype=DOUBLE)[:3], None, *table(9), 9)


@on_device
def test_tables_outlive_the_call_that_made_them() -> None:
    """Inference and tracing first: what is kept of them must serve training."""
    a = moved(torch.randn(3, 9, 7), dtype=DOUBLE)[0]
    with torch.inference_mode():
        ops.degree_dot(a, a, [1, 3, 5])
    make_fx(lambda x: ops.degree_dot(x, x, [1, 3, 5]), tracing_mode="symbolic")(a)
    a.requires_grad_()
    (slope,) = torch.autograd.grad(ops.degree_dot(a, a, [1, 3, 5]).sum(), a)
    assert torch.allclose(slope, 2 * a, rtol=1e-12)


@on_device
@pytest.mark.parametrize("longest", [0, 400])
def test_tables_that_change(longest: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_module("equireann_pyg.ops.cuda.coupled"), "LONGEST", longest)
    a, b, weight, species, entries, values, size = moved(*CASES["coupled"][1](*SIZES[0]), dtype=DOUBLE)

    def right(values: Tensor) -> bool:
        rest = a, b, weight, species, entries, values, size
        return torch.allclose(ops.coupled(*rest), ops.coupled.reference(*rest), rtol=1e-12)

    assert right(values)
    assert right(2 * values)
    values.mul_(3)
    assert right(values)
    entries[0, 0] = (entries[0, 0] + 1) % size
    assert right(values)


@on_device
def test_sums_by_rows_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("gaussians", "element_linear"):
        monkeypatch.setattr(import_module(f"equireann_pyg.ops.cuda.{module}"), "LARGEST", 40)
    for name in ("gaussians", "element_linear"):
        test_values_and_two_derivatives(name, SIZES[0], DOUBLE)
