r"""Products of an orbital with itself and the invariants made of them, with analytic first and second derivatives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from equireann_pyg.ops.library import LIBRARY, fake, ops, refuse_transforms, register_twice

INPUTS = "Tensor orbital, Tensor weight, Tensor? species, Tensor entries, Tensor values"

for _name, _constants in (("self_coupled", "SymInt size"), ("invariants", "int[] components, bool fourth")):
    LIBRARY.define(f"{_name}({INPUTS}, {_constants}) -> Tensor")
    LIBRARY.define(f"{_name}_backward(Tensor grad, {INPUTS}, {_constants}, bool with_weight) -> (Tensor, Tensor)")
    LIBRARY.define(
        f"{_name}_double_backward(Tensor h_orbital, Tensor h_weight, Tensor grad, {INPUTS}, {_constants}) "
        "-> (Tensor, Tensor, Tensor)"
    )


def self_coupled(
    orbital: Tensor, weight: Tensor, species: Tensor | None, entries: Tensor, values: Tensor, size: int
) -> Tensor:
    r""":math:`P_{icn} = \sum_e v_e\, w_{s_i p_e n}\, \phi_{i a_e n}\, \phi_{i b_e n}` over the entries with :math:`c_e = c`.

    Args:
        orbital: :math:`\phi`, ``[N, lm, n]``.
        weight: ``[S, P, n]``.
        species: element index ``[N]``; may be None where S = 1.
        entries: components of both factors and of P, and the path, of each entry: ``[E, 4]``, int32.
        values: coefficients ``[E]``, float64, constants.
        size: number of components of P.

    Returns:
        ``[N, size, n]``

    Raises:
        ValueError: if shapes or types do not fit.
        IndexError: if an entry or an element is out of range.
    """
    refuse_transforms()
    return ops.self_coupled(orbital, weight, species, entries, values, size)


def invariants(
    orbital: Tensor,
    weight: Tensor,
    species: Tensor | None,
    entries: Tensor,
    values: Tensor,
    components: Sequence[int],
    fourth: bool,
) -> Tensor:
    r"""Invariants of an orbital and its product P with itself, which has the same components.

    .. math:: B = \phi_{00}, \quad \sum_m \phi_{lm}^2, \quad \sum_m \phi_{lm} P_{lm}, \quad \sum_m P_{lm}^2

    Args:
        orbital: ``[N, lm, n]``.
        weight: ``[S, P, n]``, as for :func:`self_coupled`, as all that follows.
        species: ``[N]`` or None.
        entries: ``[E, 4]``.
        values: ``[E]``.
        components: number of components of each degree l = 0..L.
        fourth: whether the last kind, of fourth order, is there.

    Returns:
        ``[N, k, n]`` with k = 1 + 3 (L + 1), or 1 + 2 (L + 1)

    Raises:
        ValueError: if shapes or types do not fit.
        IndexError: if an entry or an element is out of range.
    """
    refuse_transforms()
    return ops.invariants(orbital, weight, species, entries, values, components, fourth)


@fake("self_coupled")
def _(orbital: Tensor, weight: Tensor, species: Any, entries: Tensor, values: Tensor, size: int) -> Tensor:
    return orbital.new_empty(orbital.size(0), size, orbital.size(2))


@fake("invariants")
def _(
    orbital: Tensor, weight: Tensor, species: Any, entries: Tensor, values: Tensor, components: Any, fourth: bool
) -> Tensor:
    return orbital.new_empty(orbital.size(0), 1 + len(components) * (3 if fourth else 2), orbital.size(2))


def _fake_backward(grad: Tensor, orbital: Tensor, weight: Tensor, *constants: Any) -> tuple[Tensor, Tensor]:
    return orbital.new_empty(orbital.shape), weight.new_empty(weight.shape if constants[-1] else (0,))


def _fake_double_backward(
    h_orbital: Tensor, h_weight: Tensor, grad: Tensor, orbital: Tensor, weight: Tensor, *constants: Any
) -> tuple[Tensor, Tensor, Tensor]:
    return grad.new_empty(grad.shape), orbital.new_empty(orbital.shape), weight.new_empty(weight.shape)


def _register(name: str, num_constants: int) -> None:
    backward_of, double_backward_of = getattr(ops, f"{name}_backward"), getattr(ops, f"{name}_double_backward")

    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        with_weight = ctx.needs_input_grad[1]
        d_orbital, d_weight = backward_of(grad, *ctx.saved_tensors, *ctx.constants, with_weight)
        return d_orbital, d_weight if with_weight else None, *(None,) * (3 + num_constants)

    def double_backward(ctx: Any, h_orbital: Tensor, h_weight: Tensor) -> tuple[Tensor | None, ...]:
        *constants, with_weight = ctx.constants
        h_weight = h_weight if with_weight else torch.zeros_like(ctx.saved_tensors[2])
        gradients = double_backward_of(h_orbital, h_weight, *ctx.saved_tensors, *constants)
        return *gradients, *(None,) * (4 + num_constants)

    register_twice(name, backward, double_backward)
    fake(f"{name}_backward")(_fake_backward)
    fake(f"{name}_double_backward")(_fake_double_backward)


_register("self_coupled", 1)
_register("invariants", 2)
