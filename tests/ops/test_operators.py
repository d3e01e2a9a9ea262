"""What holds of every operator: the kernel agrees with the reference in all derivatives and under every transform."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad

from equireann_pyg import ops
from equireann_pyg.ops.operator import Operator
from equireann_pyg.testing import assert_close

pytestmark = pytest.mark.usefixtures("kernels")
N, E, LM = 3, 4, 4
SPECIES, EDGES = torch.tensor([2, 0, 2]), torch.tensor([[0, 1, 2, 0], [1, 0, 1, 2]])
ENTRIES = torch.tensor([[0, 1, 2, 0], [1, 1, 0, 1], [2, 3, 3, 2], [0, 0, 1, 1], [3, 1, 2, 2]], dtype=torch.int32)
VALUES = torch.linspace(-1, 1, len(ENTRIES), dtype=torch.float64)


def normal(*shape: int) -> Tensor:
    """Small numbers of either sign."""
    return 0.5 * torch.randn(*shape)


CASES: dict[str, tuple[Operator[Any, Tensor], Callable[[], tuple[Any, ...]], tuple[int, ...]]] = {
    "gaussians": (
        ops.gaussians,
        lambda: (torch.rand(E) + 1, torch.rand(E), torch.arange(E) % 2, torch.rand(2, 2), torch.rand(2, 2)),
        (0, 1, 3, 4),
    ),
    "polynomials": (ops.polynomials, lambda: (normal(E, 3), torch.randn(20, 5, dtype=torch.float64), 3), (0,)),
    "density": (ops.density, lambda: (normal(N, LM, 2), normal(2, 2, 2), [1, 3]), (0, 1)),
    "soft_standardize": (
        ops.soft_standardize,
        lambda: (normal(N, 2), SPECIES, normal(3, 2), torch.rand(3, 2) + 0.5, 2.0),
        (0,),
    ),
    "element_linear": (ops.element_linear, lambda: (normal(N, 2), SPECIES, normal(3, 2, 2)), (0, 2)),
    "degree_linear": (ops.degree_linear, lambda: (normal(N, LM, 2), normal(2, 2, 2), (1, 3)), (0, 1)),
    "degree_dot": (ops.degree_dot, lambda: (normal(N, LM, 2), normal(N, LM, 2), (1, 3)), (0, 1)),
    "coupled": (
        ops.coupled,
        lambda: (normal(N, LM, 2), normal(N, LM, 2), normal(3, 3, 2), SPECIES, ENTRIES, VALUES, LM),
        (0, 1, 2),
    ),
    "self_coupled": (
        ops.self_coupled,
        lambda: (normal(N, LM, 2), normal(3, 3, 2), SPECIES, ENTRIES, VALUES, LM),
        (0, 1),
    ),
    "product_invariants": (
        ops.product_invariants,
        lambda: (normal(N, LM, 2), normal(3, 3, 2), SPECIES, ENTRIES, VALUES, [1, 3], True),
        (0, 1),
    ),
    "orbital_sum": (
        ops.orbital_sum,
        lambda: (
            *(normal(N, 1), normal(N, LM, 1), EDGES, ops.edge_order(EDGES, N)),
            *(normal(E, 1), normal(E, LM), torch.rand(E)),
        ),
        (0, 1, 4, 5, 6),
    ),
    "orbital_sum with channels for messages": (
        ops.orbital_sum,
        lambda: (
            *(normal(N, 1), normal(N, LM, 2), EDGES, ops.edge_order(EDGES, N)),
            *(normal(E, 1), normal(E, LM), torch.rand(E, 2), True),
        ),
        (0, 1, 4, 5, 6),
    ),
    "orbital_sum without orbital": (
        ops.orbital_sum,
        lambda: (normal(N, 2), None, EDGES, ops.edge_order(EDGES, N), normal(E, 2), normal(E, LM), torch.rand(E)),
        (0, 4, 5),
    ),
}
EVERY_OPERATOR = pytest.mark.parametrize("name", CASES)


def case(name: str) -> tuple[Operator[Any, Tensor], Callable[..., Tensor], Callable[..., Tensor], list[Tensor]]:
    """Operator; it and its reference as functions of what varies; and numbers for that."""
    operator, make, places = CASES[name]
    arguments = make()

    def of(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def call(*values: Tensor) -> Tensor:
            changed = dict(zip(places, values, strict=True))
            return function(*(changed.get(place, value) for place, value in enumerate(arguments)))

        return call

    assert operator.serving(arguments) is not None
    return operator, of(operator), of(operator.reference), [arguments[place] for place in places]


def slopes(function: Callable[..., Any]) -> Callable[..., tuple[Tensor, ...]]:
    """Gradients of a nonlinear function of the results."""

    def gradients(*values: Tensor) -> tuple[Tensor, ...]:
        results = function(*values)
        results = results if isinstance(results, tuple) else (results,)
        total = sum((result + 0.3 * result.square()).sum() for result in results)
        return torch.autograd.grad(total, values, create_graph=True, materialize_grads=True)

    return gradients


@EVERY_OPERATOR
def test_derivatives_of_every_order_are_those_of_the_reference(name: str, double: torch.dtype) -> None:
    _, kernel, reference, values = case(name)
    leaves = [x.requires_grad_() for x in values]
    for order in range(5):
        made, expected = kernel(*leaves), reference(*leaves)
        made, expected = ((x if isinstance(x, tuple) else (x,)) for x in (made, expected))
        assert max(float(x.detach().abs().max()) for x in expected) > 1e-2
        size = max(float(x.detach().abs().max()) for x in expected)
        for mine, theirs in zip(made, expected, strict=True):
            assert torch.allclose(mine, theirs, rtol=1e-9, atol=1e-10 * size), f"order {order}"
        kernel, reference = slopes(kernel), slopes(reference)


@EVERY_OPERATOR
def test_third_and_fourth_derivatives_by_differences(name: str, double: torch.dtype) -> None:
    _, kernel, _, values = case(name)
    leaves = [x.requires_grad_() for x in values]
    assert torch.autograd.gradgradcheck(slopes(slopes(kernel)), leaves, atol=1e-5, rtol=1e-3)


@EVERY_OPERATOR
def test_forward_mode_and_transforms(name: str, double: torch.dtype) -> None:
    """The kernels know nothing of them, and the bare dispatcher would give zero without a word."""
    _, kernel, reference, values = case(name)
    tangents = [torch.randn_like(x) for x in values]
    _, slope = torch.func.jvp(kernel, tuple(values), tuple(tangents))
    _, expected = torch.autograd.functional.jvp(reference, tuple(values), tuple(tangents))
    assert_close(slope, expected, 1e-10, "jvp")
    with forward_ad.dual_level():
        pairs = [forward_ad.make_dual(x, t) for x, t in zip(values, tangents, strict=True)]
        assert_close(forward_ad.unpack_dual(kernel(*pairs)).tangent, expected, 1e-10, "dual numbers")
    several = [torch.stack([x, 2 * x, x + t]) for x, t in zip(values, tangents, strict=True)]
    for one, made in enumerate(torch.func.vmap(kernel)(*several)):
        assert_close(made, reference(*(x[one] for x in several)), 1e-12, "vmap")
    gradient = torch.func.grad(lambda *x: kernel(*x).sin().sum())(*values)
    assert_close(gradient, torch.func.grad(lambda *x: reference(*x).sin().sum())(*values), 1e-10, "grad")


@EVERY_OPERATOR
def test_a_batch_of_gradients(name: str, double: torch.dtype) -> None:
    """Of a value that a kernel has made; the transform begins on the way back."""
    _, kernel, _, values = case(name)
    leaves = [x.requires_grad_() for x in values]
    value = kernel(*leaves)
    several = torch.randn(3, *value.shape)
    batched = torch.autograd.grad(value, leaves, several, is_grads_batched=True, retain_graph=True)
    for one, upstream in enumerate(several):
        for mine, theirs in zip(batched, torch.autograd.grad(value, leaves, upstream, retain_graph=True), strict=True):
            assert torch.allclose(mine[one], theirs, rtol=1e-12, atol=1e-12)
    assert any(bool(gradient.any()) for gradient in batched)


@EVERY_OPERATOR
def test_who_serves(name: str, dtype: torch.dtype) -> None:
    operator, kernel, reference, values = case(name)
    _, make, _ = CASES[name]
    arguments = make()
    with ops.by_reference():
        assert operator.serving(arguments) is None
        assert torch.equal(kernel(*values), reference(*values))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert operator.serving(arguments) is None
    half = tuple(x.half() if isinstance(x, Tensor) and x.dtype == dtype else x for x in arguments)
    assert operator.serving(half) is None
    other = torch.float64 if dtype == torch.float32 else torch.float32
    mixed = [arguments[0].to(other), *arguments[1:]]
    alone = sum(isinstance(x, Tensor) and x.is_floating_point() for x in arguments) == 1 or name == "polynomials"
    assert (operator.serving(tuple(mixed)) is None) != alone


def test_keywords_and_missing_arguments() -> None:
    x, weight = torch.randn(N, 2), torch.randn(3, 2, 2)
    expected = ops.element_linear(x, SPECIES, weight)
    assert torch.equal(ops.element_linear(weight=weight, x=x, species=SPECIES), expected)
    with pytest.raises(TypeError, match="weight"):
        ops.element_linear(x, SPECIES)
    with pytest.raises(TypeError, match="too many"):
        ops.element_linear(x, SPECIES, weight, 1)


def test_the_reference_is_wanted_by_one_thread_only() -> None:
    seen: list[bool] = []
    arguments = (torch.ones(1, 3), torch.eye(4, dtype=torch.float64), 1)

    def look() -> None:
        seen.append(ops.polynomials.serving(arguments) is not None)

    def fail() -> None:
        with ops.by_reference():
            thread = threading.Thread(target=look)
            thread.start()
            thread.join()
            look()
            raise KeyError("something else")

    with pytest.raises(KeyError, match="something else"):
        fail()
    look()
    assert seen == [True, False, True]


@EVERY_OPERATOR
def test_devices_without_numbers(name: str, dtype: torch.dtype) -> None:
    operator, make, _ = CASES[name]
    arguments = tuple(x.to("meta") if isinstance(x, Tensor) else x for x in make())
    assert operator(*arguments).shape == operator(*make()).shape


def test_operators_travel_by_name() -> None:
    assert pickle.loads(pickle.dumps(ops.density)) is copy.deepcopy(ops.density) is ops.density


def test_kernels_and_references_refuse_the_same() -> None:
    a, matrices, weight = torch.ones(3, 9, 2), torch.ones(3, 2, 2), torch.ones(3, 3, 2)
    for function in (ops.degree_dot, ops.degree_dot.reference):
        with pytest.raises(RuntimeError, match="split"):
            function(a, a, (1, 3))
    for function in (ops.degree_linear, ops.degree_linear.reference):
        with pytest.raises(ValueError, match="zip"):
            function(a, matrices, (4, 5))
    for function in (ops.coupled, ops.coupled.reference):
        with pytest.raises(ValueError, match="need species"):
            function(a[:, :4], a[:, :4], weight, None, ENTRIES, VALUES, 4)
