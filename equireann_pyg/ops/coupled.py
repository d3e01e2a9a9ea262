r"""Sparse products of two orbitals of an atom; every derivative is again such a product, or its sum over atoms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from equireann_pyg.ops.differentiable import again, kernel_operator
from equireann_pyg.ops.operator import operator


def _product_derivative(
    needed: Sequence[bool], grad: Tensor, a: Tensor, b: Tensor, weight: Tensor, *rest: Any
) -> tuple[Tensor | None, ...]:
    *table, _, (i, j, k) = rest
    product = again(coupled, grad)
    return (
        product(grad, b, weight, *table, a.size(1), (k, j, i)) if needed[0] else None,
        product(a, grad, weight, *table, b.size(1), (i, k, j)) if needed[1] else None,
        again(coupled_weight, grad)(a, b, grad, *table, *weight.shape[:2], (i, j, k)) if needed[2] else None,
    )


def _weight_derivative(
    needed: Sequence[bool], grad: Tensor, a: Tensor, b: Tensor, factor: Tensor, *rest: Any
) -> tuple[Tensor | None, ...]:
    *table, _, _, (i, j, k) = rest
    product = again(coupled, grad)
    return (
        product(factor, b, grad, *table, a.size(1), (k, j, i)) if needed[0] else None,
        product(a, factor, grad, *table, b.size(1), (i, k, j)) if needed[1] else None,
        product(a, b, grad, *table, factor.size(1), (i, j, k)) if needed[2] else None,
    )


@kernel_operator(fields="a b", weights="weight", apart="species entries values", derivative=_product_derivative)
def coupled(
    a: Tensor,
    b: Tensor,
    weight: Tensor,
    species: Tensor | None,
    entries: Tensor,
    values: Tensor,
    size: int,
    roles: Sequence[int] = (0, 1, 2),
) -> Tensor:
    r""":math:`P_{icn} = \sum_e v_e\, w_{s_i p_e n}\, a_{i a_e n}\, b_{i b_e n}` over the entries with :math:`c_e = c`.

    Fastest with entries sorted by path.

    Args:
        a: ``[N, la, n]``.
        b: ``[N, lb, n]``.
        weight: ``[S, P, n]``.
        species: element index ``[N]``; may be None where S = 1.
        entries: components of a, b and P, and the path, of each entry: ``[E, 4]``, int32.
        values: coefficients ``[E]``, float64, constants.
        size: number of components of P.
        roles: columns of the entries that belong to a, b and P.

    Returns:
        ``[N, size, n]``

    Raises:
        ValueError: if shapes or types do not fit.
        IndexError: if an entry or an element is out of range (by the kernel).
    """
    if species is None and weight.size(0) > 1:
        raise ValueError(f"coupled: weights of {weight.size(0)} elements need species [N]")
    of_a, of_b, of_product, path = _columns(entries, roles)
    weight = weight if species is None or weight.size(0) == 1 else weight.index_select(0, species)
    terms = a.index_select(1, of_a) * b.index_select(1, of_b) * weight.index_select(1, path)  # -> [N, E, n]
    return _placed(of_product, size, values, terms)


@kernel_operator(fields="a b factor", apart="species entries values", derivative=_weight_derivative)
def coupled_weight(
    a: Tensor,
    b: Tensor,
    factor: Tensor,
    species: Tensor | None,
    entries: Tensor,
    values: Tensor,
    num_species: int,
    num_paths: int,
    roles: Sequence[int] = (0, 1, 2),
) -> Tensor:
    r""":math:`W_{spn} = \sum_{i: s_i = s} \sum_e v_e\, a_{i a_e n}\, b_{i b_e n}\, g_{i c_e n}` over the entries of path p.

    The gradient of :func:`coupled` with respect to the weights ``[S, P, n]``, where the factor g ``[N, size, n]`` is that with
    respect to the product; all other arguments as there.
    """
    of_a, of_b, of_factor, path = _columns(entries, roles)
    terms = a.index_select(1, of_a) * b.index_select(1, of_b) * factor.index_select(1, of_factor)  # -> [N, E, n]
    parts = _placed(path, num_paths, values, terms)  # -> [N, P, n]
    species = entries.new_zeros(a.size(0), dtype=torch.int64) if species is None else species
    return parts.new_zeros(num_species, *parts.shape[1:]).index_add(0, species, parts)


def _columns(entries: Tensor, roles: Sequence[int]) -> tuple[Tensor, ...]:
    """Components of the three factors, and the path, of each entry."""
    return tuple(entries[:, column].long() for column in (*roles, 3))


def _placed(place: Tensor, size: int, values: Tensor, terms: Tensor) -> Tensor:
    """Sum of the terms ``[N, E, n]`` at each place, ``[N, size, n]``."""
    at = place == torch.arange(size, device=place.device).unsqueeze(1)  # -> [size, E]
    return (at * values).to(terms.dtype) @ terms


@operator
def degree_dot(a: Tensor, b: Tensor, components: Sequence[int]) -> Tensor:
    r"""Scalar products of every degree, :math:`\sum_m a_{lm,n} b_{lm,n}`.

    Args:
        a: ``[N, lm, n]``.
        b: ``[N, lm, n]``.
        components: number of components of each l.

    Returns:
        ``[N, L + 1, n]``
    """
    return torch.stack([part.sum(1) for part in (a * b).split(list(components), dim=1)], dim=1)


@degree_dot.kernel("cpu", limit=lambda a, b, components: sum(components) == a.size(1))
def _(a: Tensor, b: Tensor, components: Sequence[int]) -> Tensor:
    degrees = [degree for degree, count in enumerate(components) for _ in range(count)]
    entries = torch.tensor([[m, m, degree, 0] for m, degree in enumerate(degrees)], dtype=torch.int32)
    ones = torch.ones(len(degrees), dtype=torch.float64)
    return coupled(a, b, a.new_ones(1, 1, a.size(2)), None, entries, ones, len(components))
