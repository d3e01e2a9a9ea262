"""Where the kernels for CUDA are tested, and arguments of every size for each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import pytest
import torch
from packaging.version import Version
from torch import Tensor

from equireann_pyg import nn, ops
from equireann_pyg.ops.gpu import DEVICE, INTERPRETED
from equireann_pyg.ops.operator import Operator
from equireann_pyg.ops.polynomials import powers_of

TRITON = Version(version("triton")) if find_spec("triton") else Version("0")
HERE = INTERPRETED or torch.cuda.is_available()
on_device = pytest.mark.skipif(
    not HERE or Version("3.5") > TRITON,
    reason="runs in a process with Triton 3.5 and its interpreter, see the test of it",
)

Sizes = tuple[int, int, int, int, int]
Case = tuple[Operator[Any, Tensor], Callable[..., tuple[Any, ...]], tuple[int, ...]]
"""An operator, what makes its arguments of sizes, and the places of those that it is differentiated with respect to."""

# atoms, edges, components, channels, channels of messages: ragged, more than one block, nothing at all
SIZES: list[Sizes] = [(7, 23, 9, 5, 3), (4, 9, 16, 40, 17), (5, 11, 1, 33, 16), (3, 0, 4, 8, 4), (0, 0, 4, 2, 2)]
WIDE: Sizes = (3, 9, 4, 160, 5)  # channels that no block holds
RAGGED: Sizes = (2, 18, 4, 17, 3)  # more edges of an atom than are worked on at a time
PLUS: Sizes = (3, 7, 16, 64, 16)  # components and channels of a message of EquiREANN-plus-m that arrives directed
FEW: Sizes = (3, 0, 16, 5, 0)
LARGE: list[Sizes] = [(200, 4000, 16, 96, 16), (1000, 30000, 9, 64, 64), (301, 5000, 4, 100, 12)]  # for a GPU
FEWER: dict[Sizes, Sizes] = {SIZES[1]: (4, 9, 4, 40, 17), SIZES[2]: (5, 11, 1, 17, 3), WIDE: (3, 9, 4, 70, 5)}
"""For products in the interpreter: their blocks hold 32 channels, and tables of more components are cases of their own."""

DOUBLE, SINGLE = torch.float64, torch.float32
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


def directed(N: int, E: int, lm: int, n: int, m: int) -> tuple[Any, ...]:
    """Arguments of the product that makes orbitals of directed messages of degrees 0 and 1."""
    coupling = nn.OuterCoupling(3, 1, n)
    return torch.randn(N, 4 * lm, n), torch.randn(N, 1, n), *coupling.table(None), lm


def by_itself(N: int, E: int, lm: int, n: int, m: int) -> tuple[Any, ...]:
    """Arguments of the product of an orbital with itself that rule and descriptor make."""
    coupling = nn.ScaledSelfCoupling(3, n, 3)
    return torch.randn(N, lm, n), *coupling.table(torch.randint(3, (N,))), lm


def of_degree(degree: int) -> Callable[..., tuple[Any, ...]]:
    """Arguments of polynomials up to a degree."""
    count = len(powers_of(degree))
    return lambda N, E, lm, n, m: (torch.randn(E, 3), torch.randn(count, lm, dtype=torch.float64), degree)


CASES: dict[str, Case] = {
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
    "polynomials": (ops.polynomials, of_degree(3), (0,)),
    "polynomials of degree 5": (ops.polynomials, of_degree(5), (0,)),
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
    "row_sum of edges": (
        ops.row_sum,
        lambda N, E, lm, n, m: (torch.randn(E, lm, m), *(end[1] for end in edges(N, E)), N),
        (0,),
    ),
    "row_sum of graphs": (ops.row_sum, lambda N, E, lm, n, m: (torch.randn(E), torch.randint(3, (E,)), None, 3), (0,)),
    "rows_of elements": (ops.rows_of, lambda N, E, lm, n, m: (torch.randn(3, n), torch.randint(3, (N,)), None), (0,)),
    "rows_of atoms": (ops.rows_of, lambda N, E, lm, n, m: (torch.randn(N, n), *(end[0] for end in edges(N, E))), (0,)),
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
    "coupled by the table of directed messages": (ops.coupled, directed, (0, 1, 2)),
    "self_coupled by the table of harmonics": (ops.self_coupled, by_itself, (0, 1)),
}
PRODUCTS = ("coupled", "self_coupled without elements", "product_invariants")
ALONE: dict[str, Sizes] = {
    "polynomials of degree 5": SIZES[0],
    "coupled by the table of directed messages": FEW,
    "self_coupled by the table of harmonics": FEW,
}
"""Long cases, which have one size and float64."""


def sizes_of(name: str, kind: torch.dtype) -> Iterator[Sizes]:
    """Sizes that a case is tested with; the largest ones only where there is a GPU."""
    for sizes in [*SIZES, WIDE] if kind == DOUBLE else [SIZES[0], RAGGED, *SIZES[3:]]:
        yield FEWER.get(sizes, sizes) if INTERPRETED and name in PRODUCTS else sizes
    yield from [PLUS] if name in ("sum of atomic orbitals", "sum beside filtered messages") else []
    yield from [] if INTERPRETED else LARGE


def run_of(name: str, sizes: Sizes, kind: torch.dtype) -> Any:
    """One run; in the interpreter the wide ones, and float32 without edges or atoms, take their time in the slow tests."""
    rare = sizes in RARE or (kind == SINGLE and sizes not in (SIZES[0], RAGGED))
    return pytest.param(name, sizes, kind, marks=[pytest.mark.slow] if INTERPRETED and rare else [])


RARE = [size for wide in (SIZES[2], WIDE) for size in (wide, FEWER[wide])] + [FEWER[SIZES[1]], PLUS]
RUNS = [
    run_of(name, sizes, kind)
    for name in CASES
    if name not in ALONE
    for kind in (DOUBLE, SINGLE)
    for sizes in sizes_of(name, kind)
] + [run_of(name, sizes, DOUBLE) for name, sizes in ALONE.items()]
