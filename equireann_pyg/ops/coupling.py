r"""Sparse products of two orbitals of an atom; every derivative is again such a product, or its sum over atoms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from equireann_pyg.ops.library import LIBRARY, fake, ops, refuse_transforms, register

TABLE = "Tensor? species, Tensor entries, Tensor values, int[] roles"

LIBRARY.define(f"coupled(Tensor a, Tensor b, Tensor weight, {TABLE}, SymInt size) -> Tensor")
LIBRARY.define(
    f"coupled_weight(Tensor a, Tensor b, Tensor factor, {TABLE}, SymInt num_species, SymInt num_paths) -> Tensor"
)


def coupled(
    a: Tensor, b: Tensor, weight: Tensor, species: Tensor | None, entries: Tensor, values: Tensor, size: int
) -> Tensor:
    r""":math:`P_{icn} = \sum_e v_e\, w_{s_i p_e n}\, a_{i a_e n}\, b_{i b_e n}` over the entries with :math:`c_e = c`.

    Differentiable any number of times with respect to ``a``, ``b`` and ``weight``. Fastest with entries sorted by path.

    Args:
        a: ``[N, la, n]``.
        b: ``[N, lb, n]``.
        weight: ``[S, P, n]``.
        species: element index ``[N]``; may be None where S = 1.
        entries: components of a, b and P, and the path, of each entry: ``[E, 4]``, int32.
        values: coefficients ``[E]``, float64, constants.
        size: number of components of P.

    Returns:
        ``[N, size, n]``

    Raises:
        ValueError: if shapes or types do not fit.
        IndexError: if an entry or an element is out of range.
    """
    refuse_transforms()
    return ops.coupled(a, b, weight, species, entries, values, (0, 1, 2), size)


@fake("coupled")
def _(
    a: Tensor,
    b: Tensor,
    weight: Tensor,
    species: Tensor | None,
    entries: Tensor,
    values: Tensor,
    roles: Sequence[int],
    size: int,
) -> Tensor:
    return a.new_empty(a.size(0), size, a.size(2))


@fake("coupled_weight")
def _(
    a: Tensor,
    b: Tensor,
    factor: Tensor,
    species: Tensor | None,
    entries: Tensor,
    values: Tensor,
    roles: Sequence[int],
    num_species: int,
    num_paths: int,
) -> Tensor:
    return a.new_empty(num_species, num_paths, a.size(2))


def _save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    a, b, third, species, entries, values, ctx.roles, *_ = inputs
    ctx.save_for_backward(a, b, third, species, entries, values)


def _coupled_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    a, b, weight, *table = ctx.saved_tensors
    (i, j, k), (for_a, for_b, for_weight, *_) = ctx.roles, ctx.needs_input_grad
    return (
        ops.coupled(grad, b, weight, *table, (k, j, i), a.size(1)) if for_a else None,
        ops.coupled(a, grad, weight, *table, (i, k, j), b.size(1)) if for_b else None,
        ops.coupled_weight(a, b, grad, *table, (i, j, k), *weight.shape[:2]) if for_weight else None,
        *(None,) * 5,
    )


def _coupled_weight_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    a, b, factor, *table = ctx.saved_tensors
    (i, j, k), (for_a, for_b, for_factor, *_) = ctx.roles, ctx.needs_input_grad
    return (
        ops.coupled(factor, b, grad, *table, (k, j, i), a.size(1)) if for_a else None,
        ops.coupled(a, factor, grad, *table, (i, k, j), b.size(1)) if for_b else None,
        ops.coupled(a, b, grad, *table, (i, j, k), factor.size(1)) if for_factor else None,
        *(None,) * 6,
    )


register("coupled", _coupled_backward, _save)
register("coupled_weight", _coupled_weight_backward, _save)
