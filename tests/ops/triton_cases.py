"""Where the kernels for CUDA are tested, and arguments of every size for each of them."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import pytest
import torch
from packaging.version import Version
from torch import Tensor

from equireann_pyg import ops
from equireann_pyg.ops.gpu import DEVICE, INTERPRETED
from equireann_pyg.ops.operator import Operator

TRITON = Version(version("triton")) if find_spec("triton") else Version("0")
HERE = INTERPRETED or torch.cuda.is_available()
on_device = pytest.mark.skipif(
    not HERE or Version("3.5") > TRITON,
    reason="runs in a process with Triton 3.5 and its interpreter, see the test of it",
)

# atoms, edges, components, channels, channels of messages: ragged, more than one block, nothing at all
SIZES = [(7, 23, 9, 5, 3), (4, 9, 16, 40, 17), (5, 11, 1, 33, 16), (3, 0, 4, 8, 4), (0, 0, 4, 2, 2)]
WIDE = (3, 9, 4, 160, 5)  # channels that no block holds
SLOW = [SIZES[2], WIDE]  # for the interpreter, in products of many entries
LARGE = [(200, 4000, 16, 96, 16), (1000, 30000, 9, 64, 64), (301, 5000, 4, 100, 12)]  # too many for the interpreter
DOUBLE, SINGLE = torch.float64, torch.float32
RUNS = [(size, DOUBLE) for size in (*SIZES, WIDE)] + [(SIZES[0], SINGLE)]
RUNS += [] if INTERPRETED else [(size, kind) for size in LARGE for kind in (DOUBLE, SINGLE)]
PRECISION = {DOUBLE: 1e-11, SINGLE: 1e-4}


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
