"""Names, shapes and derivatives of the operators; their arithmetic is in the C++ files of this folder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.autograd import forward_ad

FIELDS = (
    "Tensor coefficient, Tensor? orbital, Tensor edge_index, Tensor order, Tensor radial, Tensor angular, Tensor filter"
)
TANGENTS = "Tensor h_coefficient, Tensor? h_orbital, Tensor h_radial, Tensor h_angular, Tensor h_filter"
FIVE = "(Tensor, Tensor, Tensor, Tensor, Tensor)"
SIX = "(Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)"

LIBRARY = torch.library.Library("equireann", "DEF")
for _schema in (
    "edge_order(Tensor edge_index, SymInt num_nodes) -> Tensor",
    f"orbital_sum({FIELDS}) -> Tensor",
    f"orbital_sum_backward(Tensor grad, {FIELDS}) -> {FIVE}",
    f"orbital_sum_double_backward({TANGENTS}, Tensor grad, {FIELDS}) -> {SIX}",
    "gaussians(Tensor r, Tensor envelope, Tensor row, Tensor centre, Tensor exponent) -> Tensor",
    "gaussians_backward(Tensor grad, Tensor r, Tensor envelope, Tensor row, Tensor centre, Tensor exponent, bool tables) "
    "-> (Tensor, Tensor, Tensor, Tensor)",
    "gaussians_double_backward(Tensor h_r, Tensor h_envelope, Tensor h_centre, Tensor h_exponent, Tensor grad, Tensor r, "
    f"Tensor envelope, Tensor row, Tensor centre, Tensor exponent) -> {FIVE}",
    "polynomials(Tensor vec, Tensor combination, int max_degree) -> Tensor",
    "polynomials_backward(Tensor grad, Tensor vec, Tensor combination, int max_degree) -> Tensor",
    "polynomials_double_backward(Tensor tangent, Tensor grad, Tensor vec, Tensor combination, int max_degree) "
    "-> (Tensor, Tensor)",
    "density(Tensor orbital, Tensor weight, int[] components) -> Tensor",
    "density_backward(Tensor grad, Tensor orbital, Tensor weight, int[] components, bool with_weight) -> (Tensor, Tensor)",
    "density_double_backward(Tensor h_orbital, Tensor h_weight, Tensor grad, Tensor orbital, Tensor weight, "
    "int[] components) -> (Tensor, Tensor, Tensor)",
    "bent(Tensor x, Tensor species, Tensor mean, Tensor scale, float limit) -> Tensor",
    "bent_backward(Tensor grad, Tensor x, Tensor species, Tensor mean, Tensor scale, float limit) -> Tensor",
    "bent_double_backward(Tensor tangent, Tensor grad, Tensor x, Tensor species, Tensor mean, Tensor scale, float limit) "
    "-> (Tensor, Tensor)",
    "element_linear(Tensor x, Tensor species, Tensor weight) -> Tensor",
    "element_outer(Tensor x, Tensor y, Tensor species, SymInt num_species) -> Tensor",
):
    LIBRARY.define(_schema)

ops = torch.ops.equireann

Function = TypeVar("Function", bound=Callable[..., Any])


def transformed() -> bool:
    """Whether forward-mode derivatives or transforms of ``torch.func`` are at work, which the operators know nothing of."""
    if torch.compiler.is_compiling():
        return False
    return forward_ad._current_level >= 0 or torch._C._functorch.peek_interpreter_stack() is not None


def refuse_transforms() -> None:
    """Raise where an operator would silently give wrong derivatives."""
    if transformed():
        raise NotImplementedError(
            "compiled kernels have no forward-mode derivative and no torch.func transforms: use the layers of "
            "equireann_pyg.nn, which then take the plain path"
        )


def fake(name: str) -> Callable[[Function], Function]:
    """Decorator of the function that tells the shapes of an operator's results."""

    def decorate(function: Function) -> Function:
        torch.library.register_fake(f"{LIBRARY.ns}::{name}", function, lib=LIBRARY)
        return function

    return decorate


def save_inputs(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    """Keep all inputs for the derivative: tensors (or None) in ``saved_tensors``, what follows them in ``constants``."""
    count = sum(value is None or isinstance(value, Tensor) for value in inputs)
    ctx.save_for_backward(*inputs[:count])
    ctx.constants = inputs[count:]


def register(name: str, backward: Any = None, setup_context: Any = save_inputs) -> None:
    """Give an operator its derivative; without ``backward`` it has none."""

    def no_derivative(ctx: Any, *grads: Any) -> None:
        raise NotImplementedError(f"{name} has no derivative: take it within equireann_pyg.ops.plain_path()")

    save = setup_context if backward else None
    torch.library.register_autograd(f"{LIBRARY.ns}::{name}", backward or no_derivative, setup_context=save, lib=LIBRARY)


def register_twice(name: str, backward: Any, double_backward: Any) -> None:
    """Give an operator its first two derivatives, by ``{name}_backward`` and ``{name}_double_backward``, and no third."""
    register(name, backward)
    register(f"{name}_backward", double_backward)
    register(f"{name}_double_backward")
