"""The sum over neighbours with messages in channels of their own: it is two sums side by side, in every derivative."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import pytest
import torch
from torch import Tensor

from equireann_pyg.ops import by_reference, edge_order, orbital_sum
from equireann_pyg.testing import assert_close
from tests.ops.test_orbitals import NAMES, Fields, make_edges, make_fields
from tests.ops.threads import with_threads

pytestmark = pytest.mark.usefixtures("kernels", "one_thread")

N, E = 40, 160  # several tasks per thread
SHAPES = [(4, 8, 8), (9, 8, 4), (9, 3, 8), (10, 4, 16), (1, 1, 2), (16, 16, 5), (20, 5, 1), (16, 8, 16)]  # lm, n, m


def fields(lm: int, n: int, m: int, wide: bool = True, num_nodes: int = N, num_edges: int = E) -> Fields:
    """Random inputs with m channels of messages."""
    of_messages = make_fields(lm, m, num_nodes, num_edges, wide)
    return make_fields(lm, n, num_nodes, num_edges) | {name: of_messages[name] for name in ("orbital", "envelope")}


def side_by_side(some: Fields, edge_index: Tensor, concat: bool = True) -> Tensor:
    """The operator."""
    c, M, R, Y, f = (some.get(name) for name in NAMES)
    return orbital_sum(c, M, edge_index, edge_order(edge_index, c.size(0)), R, Y, f, concat)


def two_sums(some: Fields, edge_index: Tensor) -> Tensor:
    """Local orbitals, and messages added to orbitals whose coefficients are zero."""
    m = some["orbital"].size(2)
    local = side_by_side(some | {"orbital": None}, edge_index)
    radial, coefficient = some["radial"].new_ones(E, m), some["coefficient"].new_zeros(N, m)
    passed = side_by_side(some | {"coefficient": coefficient, "radial": radial}, edge_index, concat=False)
    return torch.cat([local, passed], dim=-1)


def derivatives(function: Callable[[Fields, Tensor], Tensor], some: Fields, edge_index: Tensor) -> dict[str, Tensor]:
    """Value, gradients, and gradients of a function of these gradients."""
    leaves = {name: x.detach().clone().requires_grad_() for name, x in some.items()}
    value = function(leaves, edge_index)
    first = torch.autograd.grad(value.sin().sum(), list(leaves.values()), create_graph=True)
    second = torch.autograd.grad(sum(g.square().sum() for g in first), list(leaves.values()))
    found = {"value": value} | dict(zip((f"d {name}" for name in leaves), first, strict=True))
    found |= dict(zip((f"dd {name}" for name in leaves), second, strict=True))
    return {name: x.detach() for name, x in found.items()}


@pytest.mark.parametrize("wide", [True, False], ids=["filters", "one filter"])
@pytest.mark.parametrize("by_centre", [True, False])
@pytest.mark.parametrize(("lm", "n", "m"), SHAPES)
def test_two_sums_side_by_side(lm: int, n: int, m: int, by_centre: bool, wide: bool, dtype: torch.dtype) -> None:
    some, edge_index = fields(lm, n, m, wide), make_edges(by_centre)
    expected = derivatives(two_sums, some, edge_index)
    for name, value in derivatives(side_by_side, some, edge_index).items():
        assert_close(value, expected[name], 2e-5 if dtype == torch.float32 else 1e-13, name, smallest=1e-2)
    with by_reference():
        for name, value in derivatives(side_by_side, some, edge_index).items():
            assert_close(value, expected[name], 2e-5 if dtype == torch.float32 else 1e-13, name, smallest=1e-2)


@pytest.mark.parametrize(("lm", "n", "m"), [(9, 8, 4), (16, 16, 8)])
def test_threads_give_the_same_bits(lm: int, n: int, m: int, dtype: torch.dtype) -> None:
    some, edge_index = fields(lm, n, m), make_edges(by_centre=True)
    one, two = with_threads(lambda: derivatives(side_by_side, some, edge_index))
    for name, value in one.items():
        assert torch.equal(value, two[name]), name


def test_by_differences(double: torch.dtype) -> None:
    edge_index, some = make_edges(False, 4, 6), fields(4, 1, 2, True, 4, 6)

    def function(*inputs: Tensor) -> Tensor:
        return side_by_side(dict(zip(NAMES, inputs, strict=True)), edge_index)

    inputs = [some[name].requires_grad_() for name in NAMES]
    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs)


def test_without_messages_there_are_local_channels_only() -> None:
    some, edge_index = make_fields(9, 8), make_edges()
    del some["orbital"]
    assert torch.equal(side_by_side(some, edge_index), side_by_side(some, edge_index, concat=False))


@pytest.mark.parametrize("num_nodes", [0, 3])
def test_without_edges(num_nodes: int, dtype: torch.dtype) -> None:
    edge_index = torch.zeros(2, 0, dtype=torch.long)
    for name, value in derivatives(side_by_side, fields(9, 8, 4, True, num_nodes, 0), edge_index).items():
        assert not bool(value.any()), name
        assert value.shape[-1] == 12 or name != "value"


WRONG: dict[str, Callable[[Tensor], Tensor]] = {  # by the first word
    "envelope of the local channels": lambda x: torch.rand(E, 8),
    "orbital of other components": lambda x: x[:, 1:],
    "orbital of fewer atoms": lambda x: x[:5],
    "orbital of 2 dimensions": lambda x: x[:, 0],
}


@pytest.mark.parametrize("plain", [False, True], ids=["kernels", "plain"])
@pytest.mark.parametrize("case", WRONG)
def test_wrong_inputs_are_refused(case: str, plain: bool) -> None:
    some, edge_index, field = fields(4, 8, 3), make_edges(), case.split()[0]
    some[field] = WRONG[case](some[field])
    with by_reference() if plain else nullcontext(), pytest.raises((ValueError, IndexError, RuntimeError)):
        side_by_side(some, edge_index)


def test_messages_that_are_added_need_as_many_channels() -> None:
    with pytest.raises((ValueError, RuntimeError), match=r"expected \[160\] or \[160, 8\], got \[160, 3\]"):
        side_by_side(fields(4, 8, 3), make_edges(), concat=False)


def test_operators_tell_torch_the_truth() -> None:
    some, edge_index, operators = fields(4, 8, 4, True, 6, 14), make_edges(False, 6, 14), torch.ops.equireann
    tangents, order = [torch.randn_like(x) for x in some.values()], edge_order(edge_index, 6)
    grad, c, M, R, Y, f = (x.requires_grad_() for x in (torch.randn(6, 4, 12), *some.values()))
    torch.library.opcheck(operators.orbital_sum.default, (c, M, edge_index, order, R, Y, f, True))
    torch.library.opcheck(operators.orbital_sum_backward.default, (grad, c, M, edge_index, order, R, Y, f, True))
    constants = [x.detach() for x in (grad, c, M, edge_index, order, R, Y, f)]
    torch.library.opcheck(operators.orbital_sum_double_backward.default, (*tangents, *constants, True))
