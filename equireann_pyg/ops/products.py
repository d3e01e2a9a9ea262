r"""Products of an orbital with itself and the invariants made of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from equireann_pyg.ops.coupled import coupled, degree_dot
from equireann_pyg.ops.differentiable import twice_differentiable


@twice_differentiable(fields="orbital", weights="weight", apart="species entries values")
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
        ValueError: if shapes or types do not fit (by the kernel).
        IndexError: if an entry or an element is out of range.
    """
    return coupled.reference(orbital, orbital, weight, species, entries, values, size)


@twice_differentiable(fields="orbital", weights="weight", apart="species entries values")
def product_invariants(
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
        weight: ``[S, P, n]``, as for :func:`self_coupled`, as are species, entries, values and errors.
        species: ``[N]`` or None.
        entries: ``[E, 4]``.
        values: ``[E]``.
        components: number of components of each degree l = 0..L.
        fourth: whether the last kind, of fourth order, is there.

    Returns:
        ``[N, k, n]`` with k = 1 + 3 (L + 1), or 1 + 2 (L + 1)
    """
    product = self_coupled.reference(orbital, weight, species, entries, values, orbital.size(1))  # -> [N, lm, n]
    return invariants(orbital, product, components, fourth, degree_dot.reference)


def invariants(
    orbital: Tensor, product: Tensor, components: Sequence[int], fourth: bool, dot: Callable[..., Tensor]
) -> Tensor:
    """What :func:`product_invariants` makes of an orbital and its product, by a scalar product of every degree."""
    pairs = [(orbital, orbital), (orbital, product), *([(product, product)] if fourth else [])]
    return torch.cat([orbital[:, :1], *(dot(a, b, components) for a, b in pairs)], dim=1)
