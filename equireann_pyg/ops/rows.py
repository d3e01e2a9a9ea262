r"""Rows by their numbers, and sums of the rows with the same number: each is the derivative of the other.

The sum of what edges give to their atoms, of what atoms give to their graphs, and of what atoms tell of their elements. On a
GPU torch adds such rows as they come, which rounds otherwise in every run; the kernel has a fixed order.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from equireann_pyg.ops.differentiable import again, kernel_operator


def _sum_derivative(
    needed: Sequence[bool], grad: Tensor, rows: Tensor, index: Tensor, order: Tensor | None, size: int
) -> tuple[Tensor | None]:
    return (again(rows_of, grad)(grad, index, order) if needed[0] else None,)


def _rows_derivative(
    needed: Sequence[bool], grad: Tensor, values: Tensor, index: Tensor, order: Tensor | None
) -> tuple[Tensor | None]:
    return (again(row_sum, grad)(grad, index, order, values.size(0)) if needed[0] else None,)


@kernel_operator(fields="rows", apart="index order", derivative=_sum_derivative)
def row_sum(rows: Tensor, index: Tensor, order: Tensor | None, size: int) -> Tensor:
    r""":math:`\sum_{r: i(r) = a} x_r` of every number a.

    Args:
        rows: x ``[R, ...]``.
        index: number of each row i ``[R]``.
        order: of edges the row of their :func:`~equireann_pyg.ops.edge_order` that belongs to the index, ``[size + 1 + R]``, or
            None; only kernels read it, and where they have none they may have to sort.
        size: how many numbers there are.

    Returns:
        ``[size, ...]``
    """
    return rows.new_zeros(size, *rows.shape[1:]).index_add(0, index, rows)


@kernel_operator(fields="values", apart="index order", derivative=_rows_derivative)
def rows_of(values: Tensor, index: Tensor, order: Tensor | None = None) -> Tensor:
    """The row of each number, ``[R, ...]``.

    Args:
        values: ``[size, ...]``.
        index: numbers ``[R]``.
        order: as for :func:`row_sum`, for the derivative.
    """
    return values.index_select(0, index)
