"""Functions of atoms and their neighbours in blocks of atoms: no functions of all edges, and the memory of one block."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from equireann_pyg.ops import edge_order

EDGES = 20
"""Edges that a block has at most for each atom that it may have."""


class Block(NamedTuple):
    """Atoms that follow one another, the edges that end in them and the neighbours where these begin: a graph of its own."""

    atoms: slice
    """Its atoms in the whole graph."""

    edges: slice
    """Its edges there."""

    nodes: Tensor
    """Numbers there of its nodes, which are its atoms and their neighbours, ascending ``[b]``."""

    centres: slice
    """Its atoms among the nodes."""

    edge_index: Tensor
    """Edges between the nodes, ``[2, e]``."""

    order: Tensor
    """Their :func:`~equireann_pyg.ops.edge_order`."""

    def of(self, edge_vec: Tensor, nodes: Sequence[Tensor | None]) -> list[Tensor | None]:
        """What belongs to it of edge vectors ``[E, 3]`` and of node tensors ``[N, ...]``."""
        return [edge_vec[self.edges], *(None if node is None else node.index_select(0, self.nodes) for node in nodes)]

    def own(self, rows: Tensor) -> Tensor:
        """Rows of its atoms, from those of its nodes ``[b, ...]``."""
        return rows[self.centres]


GraphFunction = Callable[..., Tensor]


class Neighbourhoods:
    """A graph in blocks of atoms, each with the edges that end in them; edges in another order are sorted once.

    Args:
        edge_index: ``[2, E]``, row 0 the neighbours, row 1 the centres.
        edge_vec: ``[E, 3]`` in Angstrom.
        num_nodes: number of atoms N, one or more.
        block_size: atoms of a block, or twenty times as many edges; one atom at least, however many edges it has.

    Raises:
        IndexError: if an edge ends in an atom that does not exist.
    """

    def __init__(self, edge_index: Tensor, edge_vec: Tensor, num_nodes: int, block_size: int) -> None:
        centres = edge_index[1]
        if bool((centres[1:] < centres[:-1]).any()):
            order = torch.argsort(centres, stable=True)
            edge_index, edge_vec = edge_index.index_select(1, order), edge_vec.index_select(0, order)
        atoms = torch.arange(num_nodes + 1, device=edge_index.device)
        starts = torch.searchsorted(edge_index[1].contiguous(), atoms).tolist()
        if starts[0] > 0 or starts[-1] < edge_index.size(1):
            raise IndexError(f"edge_index: expected atoms 0 to {num_nodes - 1}")
        self.edge_vec = edge_vec
        self.blocks = [_block(edge_index, *slices) for slices in cut(starts, block_size)]

    def evaluate(self, function: GraphFunction, *nodes: Tensor | None) -> Tensor:
        """Evaluate a function of a graph block by block, for inference.

        Nothing inside of the function is kept for its derivative: the blocks are evaluated again. Parameters of the function
        get no gradients, and there are no second derivatives. The gradient of a node is a sum over the blocks that it has
        edges in, which may round otherwise than the sum over all of its edges at once.

        Args:
            function: from a :class:`Block`, its edge vectors ``[e, 3]`` and its rows of the node tensors, ``[b, ...]``, to a
                tensor with a row for each of its atoms.
            *nodes: tensors of the whole graph, ``[N, ...]``, or None, which the function is given as it is.

        Returns:
            Rows of all atoms, ``[N, ...]``.
        """
        return _InBlocks.apply(function, self.blocks, self.edge_vec, *nodes)


def cut(starts: Sequence[int], block_size: int) -> list[tuple[slice, slice]]:
    """Atoms of every block and the edges that end in them, both one after the other.

    Args:
        starts: where the edges of every atom start, and the last ones end, N + 1 numbers.
        block_size: as for :class:`Neighbourhoods`.
    """
    blocks, start, count = [], 0, len(starts) - 1
    while start < count:
        most = min(start + block_size, count)
        stop = bisect_right(starts, starts[start] + EDGES * block_size, start + 1, most + 1) - 1
        stop = max(stop, start + 1)
        blocks.append((slice(start, stop), slice(starts[start], starts[stop])))
        start = stop
    return blocks


def _block(edge_index: Tensor, atoms: slice, edges: slice) -> Block:
    neighbours, centres = edge_index[:, edges]
    own = torch.arange(atoms.start, atoms.stop, device=edge_index.device)
    nodes, place = torch.unique(torch.cat([neighbours, own]), return_inverse=True)
    first = int(place[neighbours.numel()])  # among the nodes, too, the atoms follow one another
    local = torch.stack([place[: neighbours.numel()], centres + (first - atoms.start)])
    return Block(atoms, edges, nodes, slice(first, first + own.numel()), local, edge_order(local, nodes.numel()))


class _InBlocks(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, function: GraphFunction, blocks: list[Block], edge_vec: Tensor, *nodes: Tensor | None
    ) -> Tensor:
        ctx.function, ctx.blocks = function, blocks
        ctx.save_for_backward(edge_vec, *nodes)
        output: Tensor | None = None
        for block in blocks:
            rows = function(block, *block.of(edge_vec, nodes))
            output = rows.new_empty(blocks[-1].atoms.stop, *rows.shape[1:]) if output is None else output
            output[block.atoms] = rows
        return output  # type: ignore[return-value]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        (edge_vec, *nodes), (of_vec, *of_nodes) = ctx.saved_tensors, ctx.needs_input_grad[2:]
        to_vec = torch.empty_like(edge_vec) if of_vec else None
        to_nodes = [torch.zeros_like(node) if need else None for node, need in zip(nodes, of_nodes, strict=True)]
        for block in ctx.blocks:
            inputs = [x if x is None else x.detach() for x in block.of(edge_vec, nodes)]
            needed = zip(inputs, (of_vec, *of_nodes), strict=True)
            wanted = [x.requires_grad_() for x, need in needed if x is not None and need]
            with torch.enable_grad():
                rows = ctx.function(block, *inputs)
            made = iter(torch.autograd.grad(rows, wanted, grad[block.atoms], materialize_grads=True))
            if to_vec is not None:
                to_vec[block.edges] = next(made)
            for total in to_nodes:
                if total is not None:
                    total.index_add_(0, block.nodes, next(made))
        return None, None, to_vec, *to_nodes
