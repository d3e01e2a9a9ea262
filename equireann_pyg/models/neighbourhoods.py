"""Functions of atoms and their neighbours in blocks of atoms: no tensor of all edges, and the memory of one block."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

GraphFunction = Callable[..., Tensor]

EDGES = 20
"""Edges that a block has at most for each atom that it may have."""


class Block(NamedTuple):
    """Consecutive centres, and the consecutive edges that end in them."""

    centres: slice
    edges: slice


class Neighbourhoods:
    """A graph in blocks of atoms, each with the edges that end in them; edges in another order are sorted once.

    Args:
        edge_index: ``[2, E]``, row 0 the neighbours, row 1 the centres.
        edge_vec: ``[E, 3]`` in Angstrom.
        num_nodes: number of atoms N.
        block_size: atoms of a block, or twenty times as many edges; one atom at least, however many edges it has.

    Raises:
        IndexError: if an edge ends in an atom that does not exist.
    """

    def __init__(self, edge_index: Tensor, edge_vec: Tensor, num_nodes: int, block_size: int) -> None:
        centres = edge_index[1]
        if bool((centres[1:] < centres[:-1]).any()):
            order = torch.argsort(centres, stable=True)
            edge_index, edge_vec = edge_index.index_select(1, order), edge_vec.index_select(0, order)
        self.edge_index, self.edge_vec = edge_index, edge_vec
        atoms = torch.arange(num_nodes + 1, device=edge_index.device)
        starts = torch.searchsorted(edge_index[1].contiguous(), atoms).tolist()
        if starts[0] > 0 or starts[-1] < edge_index.size(1):
            raise IndexError(f"edge_index: expected atoms 0 to {num_nodes - 1}")
        self.blocks = cut(starts, block_size)

    def evaluate(self, function: GraphFunction, *nodes: Tensor | None) -> Tensor:
        """Evaluate a function of a graph block by block, for inference.

        Nothing inside of the function is kept for its derivative: the blocks are evaluated again. Parameters of the function
        get no gradients, and there are no second derivatives. The gradient of a node is a sum over the blocks that it has
        edges in, which may round otherwise than the sum over all of its edges at once.

        Args:
            function: from the centres of a block as a slice of its nodes, its ``edge_index [2, e]``, ``edge_vec [e, 3]`` and
                node tensors ``[b, ...]``, of these centres and their neighbours, to a tensor with a row for every centre.
            *nodes: the node tensors of the whole graph, ``[N, ...]``, or None, which the function is given as it is.

        Returns:
            Rows of all atoms, ``[N, ...]``.
        """
        return _InBlocks.apply(function, self.blocks, self.edge_index, self.edge_vec, *nodes)


def cut(starts: Sequence[int], block_size: int) -> list[Block]:
    """Blocks of consecutive atoms, from where the edges of each atom start and the last ones end, N + 1 numbers.

    Args:
        starts: in ascending order.
        block_size: as for :class:`Neighbourhoods`.
    """
    blocks, start, count = [], 0, len(starts) - 1
    while start < count:
        most = min(start + block_size, count)
        stop = bisect_right(starts, starts[start] + EDGES * block_size, start + 1, most + 1) - 1
        stop = max(stop, start + 1)
        blocks.append(Block(slice(start, stop), slice(starts[start], starts[stop])))
        start = stop
    return blocks


class _Part(NamedTuple):
    """One block as a graph of its own."""

    nodes: Tensor
    """Numbers of its centres and their neighbours, ascending ``[b]``."""

    centres: slice
    """Which of the nodes are centres."""

    edge_index: Tensor
    """``[2, e]``, in numbers of these nodes."""


def _part(block: Block, edge_index: Tensor) -> _Part:
    centres, edges = block.centres, edge_index[:, block.edges]
    own = torch.arange(centres.start, centres.stop, device=edges.device)
    nodes, place = torch.unique(torch.cat([edges[0], own]), return_inverse=True)
    first = int(place[edges.size(1)])  # the centres follow one another among the nodes
    local = torch.stack([place[: edges.size(1)], edges[1] + (first - centres.start)])
    return _Part(nodes, slice(first, first + len(own)), local)


def _inputs(block: Block, part: _Part, edge_vec: Tensor, nodes: Sequence[Tensor | None]) -> list[Tensor | None]:
    return [edge_vec[block.edges], *(None if node is None else node.index_select(0, part.nodes) for node in nodes)]


class _InBlocks(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        function: GraphFunction,
        blocks: list[Block],
        edge_index: Tensor,
        edge_vec: Tensor,
        *nodes: Tensor | None,
    ) -> Tensor:
        ctx.function, ctx.blocks = function, blocks
        ctx.save_for_backward(edge_index, edge_vec, *nodes)
        output: Tensor | None = None
        for block in blocks:
            part = _part(block, edge_index)
            rows = function(part.centres, part.edge_index, *_inputs(block, part, edge_vec, nodes))
            output = rows.new_empty(blocks[-1].centres.stop, *rows.shape[1:]) if output is None else output
            output[block.centres] = rows
        return output  # type: ignore[return-value]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        (edge_index, edge_vec, *nodes), (of_vec, *of_nodes) = ctx.saved_tensors, ctx.needs_input_grad[3:]
        to_vec = torch.zeros_like(edge_vec) if of_vec else None
        to_nodes = [torch.zeros_like(node) if need else None for node, need in zip(nodes, of_nodes, strict=True)]
        for block in ctx.blocks:
            part = _part(block, edge_index)
            inputs = [x if x is None else x.detach() for x in _inputs(block, part, edge_vec, nodes)]
            needed = zip(inputs, (of_vec, *of_nodes), strict=True)
            wanted = [x.requires_grad_() for x, need in needed if x is not None and need]
            with torch.enable_grad():
                rows = ctx.function(part.centres, part.edge_index, *inputs)
            made = iter(torch.autograd.grad(rows, wanted, grad[block.centres], materialize_grads=True))
            if to_vec is not None:
                to_vec[block.edges] = next(made)
            for total in to_nodes:
                if total is not None:
                    total.index_add_(0, part.nodes, next(made))
        return None, None, None, to_vec, *to_nodes
