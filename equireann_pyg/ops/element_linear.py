r"""Linear maps with a matrix for each chemical element, and for each degree of an orbital."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.nn.functional import one_hot

from equireann_pyg.ops.differentiable import again, kernel_operator
from equireann_pyg.ops.operator import operator, transformed
from equireann_pyg.ops.values import readable


def _linear_derivative(
    needed: Sequence[bool], grad: Tensor, x: Tensor, species: Tensor, weight: Tensor
) -> tuple[Tensor | None, ...]:
    return (
        again(element_linear, grad)(grad, species, weight.transpose(1, 2)) if needed[0] else None,
        again(element_outer, grad)(x, grad, species, weight.size(0)) if needed[2] else None,
    )


def _outer_derivative(
    needed: Sequence[bool], grad: Tensor, x: Tensor, y: Tensor, species: Tensor, num_species: int
) -> tuple[Tensor | None, ...]:
    return (
        again(element_linear, grad)(y, species, grad.transpose(1, 2)) if needed[0] else None,
        again(element_linear, grad)(x, species, grad) if needed[1] else None,
    )


@kernel_operator(
    fields="x",
    weights="weight",
    apart="species",
    derivative=_linear_derivative,
    shape=lambda x, species, weight: x.new_empty(x.size(0), weight.size(2)),
)
def element_linear(x: Tensor, species: Tensor, weight: Tensor) -> Tensor:
    r""":math:`y_a = x_a W_{s(a)}`: multiply the rows of every element by its matrix.

    Args:
        x: ``[N, in]``.
        species: element index of each row ``[N]``.
        weight: ``[S, in, out]``.

    Returns:
        ``[N, out]``
    """
    if weight.size(0) == 1:
        return x @ weight[0]
    if not readable(x) or transformed() or isinstance(x, FakeTensor):  # sizes must not depend on values
        return torch.einsum("as,ai,sio->ao", one_hot(species, weight.size(0)).to(x), x, weight)
    order = torch.argsort(species, stable=True)
    rows = x.index_select(0, order).split(torch.bincount(species, minlength=weight.size(0)).tolist())
    made = torch.cat([some @ W for some, W in zip(rows, weight, strict=True)])
    return made.index_select(0, torch.argsort(order))


@kernel_operator(
    fields="x y",
    apart="species",
    derivative=_outer_derivative,
    shape=lambda x, y, species, num_species: x.new_empty(num_species, x.size(1), y.size(1)),
)
def element_outer(x: Tensor, y: Tensor, species: Tensor, num_species: int) -> Tensor:
    r""":math:`\sum_{a: s(a) = s} x_a \otimes y_a` of every element s: what :func:`element_linear` needs for its derivative.

    Args:
        x: ``[N, in]``.
        y: ``[N, out]``.
        species: element index of each row ``[N]``.
        num_species: number of elements S.

    Returns:
        ``[S, in, out]``
    """
    return torch.einsum("as,ai,ao->sio", one_hot(species, num_species).to(x), x, y)


@operator
def degree_linear(orbital: Tensor, weight: Tensor, components: Sequence[int]) -> Tensor:
    r""":math:`\phi_{lm,k} = \sum_n \psi_{lm,n} W_{lnk}`: multiply the components of every degree by its matrix.

    Args:
        orbital: ``[N, lm, n]``.
        weight: ``[L + 1, n, k]``.
        components: number of components of each l.

    Returns:
        ``[N, lm, k]``
    """
    parts = orbital.split(list(components), dim=1)
    return torch.cat([part @ W for part, W in zip(parts, weight, strict=True)], dim=1)


@degree_linear.kernel(
    "cpu", limit=lambda orbital, W, components: (sum(components), len(components)) == (orbital.size(1), W.size(0))
)
def _(orbital: Tensor, weight: Tensor, components: Sequence[int]) -> Tensor:
    degrees = torch.tensor([degree for degree, count in enumerate(components) for _ in range(count)])
    return element_linear(orbital.flatten(0, 1), degrees.repeat(orbital.size(0)), weight).unflatten(
        0, orbital.shape[:2]
    )
