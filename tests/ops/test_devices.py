"""What has a kernel for the CPU has one for CUDA, too, and is tested there."""

from __future__ import annotations

import pkgutil
from importlib import import_module

import pytest
import torch
from packaging.version import Version

from equireann_pyg import ops
from equireann_pyg.ops.differentiable import TwiceDifferentiable
from equireann_pyg.ops.gpu import INTERPRETED, load_triton
from equireann_pyg.ops.operator import Operator
from tests.ops.triton_cases import CASES, TRITON

PLAIN = {"edge_order": "torch's sort and searchsorted, once for each graph"}
"""Operators without a kernel for CUDA, and why."""

WITHIN = {"coupled_weight": "coupled", "element_outer": "element_linear"}
"""Derivatives of other operators, in whose cases they are tested."""

pytestmark = [
    pytest.mark.skipif(INTERPRETED, reason="its kernels stand in for those of the CPU"),
    pytest.mark.skipif(Version("3.5") > TRITON, reason="no kernels for CUDA without Triton 3.5"),
]


def operators() -> dict[str, Operator[..., object]]:
    """All operators of the package by name."""
    assert load_triton()
    modules = [import_module(f"{ops.__name__}.{module.name}") for module in pkgutil.iter_modules(ops.__path__)]
    values = [value for module in modules for value in vars(module).values()]
    return {value.__name__: value for value in values if isinstance(value, Operator)}  # type: ignore[attr-defined]


def test_operators_have_kernels_for_both_devices() -> None:
    found = operators()
    lacking = {name for name, operator in found.items() if "cpu" in operator.kernels and "cuda" not in operator.kernels}
    assert lacking == PLAIN.keys(), "write a kernel in ops/cuda, or say above why none is needed"
    assert len(found) > 10


def test_kernels_for_cuda_are_tested() -> None:
    cases = {case[0].__name__ for case in CASES.values()}  # type: ignore[attr-defined]
    kernels = {name for name, operator in operators().items() if "cuda" in operator.kernels}
    assert kernels - cases == WITHIN.keys(), "add a case to tests/ops/triton_cases.py"
    assert set(WITHIN.values()) <= cases


def test_kernels_for_cuda_have_derivatives() -> None:
    """All of an operator's, or none of the library's: then it is made of others."""
    with_kernels = 0
    for name, operator in operators().items():
        if isinstance(operator, TwiceDifferentiable):
            there = {
                torch._C._dispatch_has_kernel_for_dispatch_key(f"equireann::{name}{suffix}", "CUDA")
                for suffix in operator.functions
            }
            assert len(there) == 1, name
            with_kernels += there == {True}
    assert with_kernels > 3
