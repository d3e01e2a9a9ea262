r"""One linear map per chemical element, :math:`y_a = x_a W_{s(a)}`, for all atoms at once."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from equireann_pyg.ops.library import fake, ops, refuse_transforms, register


def element_linear(x: Tensor, species: Tensor, weight: Tensor) -> Tensor:
    """Multiply the rows of every element by its matrix.

    Args:
        x: ``[N, in]``.
        species: element index of each row ``[N]``.
        weight: ``[S, in, out]``.

    Returns:
        ``[N, out]``
    """
    refuse_transforms()
    return ops.element_linear(x, species, weight)


@fake("element_linear")
def _(x: Tensor, species: Tensor, weight: Tensor) -> Tensor:
    return x.new_empty(x.size(0), weight.size(2))


@fake("element_outer")
def _(x: Tensor, y: Tensor, species: Tensor, num_species: int) -> Tensor:
    return x.new_empty(num_species, x.size(1), y.size(1))


def _linear_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, species, weight = ctx.saved_tensors
    needs_x, _, needs_weight = ctx.needs_input_grad
    return (
        ops.element_linear(grad, species, weight.transpose(1, 2)) if needs_x else None,
        None,
        ops.element_outer(x, grad, species, weight.size(0)) if needs_weight else None,
    )


def _outer_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, y, species = ctx.saved_tensors
    return (
        ops.element_linear(y, species, grad.transpose(1, 2)),
        ops.element_linear(x, species, grad),
        None,
        None,
    )


register("element_linear", _linear_backward)
register("element_outer", _outer_backward)
