"""From derivatives with respect to edge vectors to forces, virial and stress."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch_geometric.data import Data

from equireann_pyg.graph.edges import edge_differences
from equireann_pyg.graph.known import known, question
from equireann_pyg.ops import edge_order, row_sum
from equireann_pyg.properties.base import GraphTensors, per_graph


def variables(graph: GraphTensors, differentiate: bool) -> tuple[Tensor, ...]:
    """Edge vectors ``[E, 3]`` and, in a field, positions that the edge vectors do not depend on, ``[N, 3]``."""
    edge_vec = edge_differences(graph.pos, graph.cell, graph.edge_index, graph.edge_shift, graph.batch)
    inputs = (edge_vec,) if graph.field is None else (edge_vec, graph.pos.clone())
    for variable in inputs:
        if differentiate and not variable.requires_grad:
            variable.requires_grad_()
    return inputs


def position_gradient(gradients: Sequence[Tensor], graph: GraphTensors, order: Tensor | None = None) -> Tensor:
    """Gradient with respect to the positions ``[N, 3]`` from those with respect to :func:`variables`.

    Args:
        gradients: of the edge vectors ``[E, 3]`` and, if there are more variables, of the positions ``[N, 3]``.
        graph: graph or batch.
        order: :func:`~equireann_pyg.ops.edge_order` of its edges, for callers that know it already.
    """
    leaving, ending = at_ends(gradients[0], graph, order)
    through_edges = leaving - ending
    return through_edges if len(gradients) == 1 else through_edges + gradients[1]


def at_ends(rows: Tensor, graph: GraphTensors, order: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Sums of rows of edges ``[E, ...]`` over those that leave an atom, and that end in it, ``[N, ...]`` each."""
    num_nodes = graph.z.numel()
    order = edge_order(graph.edge_index, num_nodes) if order is None else order
    leaving, ending = (row_sum(rows, *end, num_nodes) for end in zip(graph.edge_index, order, strict=True))
    return leaving, ending


def stress_tensor(edge_vec: Tensor, gradient: Tensor, graph: GraphTensors, order: Tensor | None = None) -> Tensor:
    """Symmetric virial per volume ``[G, 3, 3]``, NaN without volume; the double ``where`` keeps gradients finite."""
    virial = _virial(edge_vec, gradient, graph, order)
    size = volume(graph.cell).view(-1, 1, 1)
    stress = 0.5 * (virial + virial.transpose(1, 2)) / torch.where(size > 0, size, torch.ones_like(size))
    return torch.where(size > 0, stress, torch.full_like(stress, torch.nan))


def _virial(edge_vec: Tensor, gradient: Tensor, graph: GraphTensors, order: Tensor | None) -> Tensor:
    r""":math:`\sum_{ij} \mathbf r_{ij} \otimes \partial E / \partial \mathbf r_{ij}` of every graph, ``[G, 3, 3]``."""
    if graph.batch is None:
        return (edge_vec.T @ gradient).unsqueeze(0)
    num_nodes = graph.z.numel()
    order = edge_order(graph.edge_index, num_nodes) if order is None else order
    outer = edge_vec.unsqueeze(2) * gradient.unsqueeze(1)  # -> [E, 3, 3]
    of_atoms = row_sum(outer, graph.edge_index[1], order[1], num_nodes)  # -> [N, 3, 3]
    return per_graph(of_atoms, graph.batch, graph.cell.size(0))


def volume(cell: Tensor) -> Tensor:
    """Volumes ``[G]`` of the cells ``[G, 3, 3]``, zero for open systems."""
    a, b, c = cell.unbind(1)
    return (torch.linalg.cross(a, b) * c).sum(-1).abs()


@question("cell")
def some_volume(cell: Tensor) -> bool:
    """Whether one of the cells ``[G, 3, 3]`` has a volume."""
    return bool((volume(cell) > 0).any())


@question("cell")
def all_volume(cell: Tensor) -> bool:
    """Whether all of the cells ``[G, 3, 3]`` have a volume."""
    return bool((volume(cell) > 0).all())


def has_volume(data: Data, stress: bool | None = None) -> bool:
    """Whether to compute stress: as asked for, or else if any graph has a cell with a volume.

    Raises:
        ValueError: if it was asked for and a graph has no volume.
    """
    if stress is False:
        return False
    if stress is None:
        return known(some_volume, data.cell)
    if not known(all_volume, data.cell):
        raise ValueError("stress: the graph has no cell volume; set a cell or leave out stress")
    return True
