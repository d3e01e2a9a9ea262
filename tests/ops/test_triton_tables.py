"""Tables, sizes and shapes that the kernels for CUDA have to notice."""

from __future__ import annotations

from importlib import import_module

import pytest
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from equireann_pyg import ops
from tests.ops.test_triton import test_values_and_two_derivatives as check_derivatives
from tests.ops.triton_cases import CASES, DOUBLE, SIZES, moved, on_device, sums, table

check_derivatives.__test__ = False  # here it is a function


@on_device
def test_tables_too_long_for_a_kernel_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_module("equireann_pyg.ops.cuda.coupled"), "LONGEST", 0)
    check_derivatives("coupled", SIZES[0], DOUBLE)


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
        check_derivatives(name, SIZES[0], DOUBLE)


@on_device
def test_what_is_not_finite_stays_in_its_graph() -> None:
    rows, index = moved(torch.tensor([1.0, torch.nan, 3.0, 4.0]), torch.tensor([0, 2, 1, 0]), dtype=DOUBLE)
    made = ops.row_sum(rows, index, None, 3)
    assert made[:2].tolist() == [5, 3]
    assert bool(made[2].isnan())
