"""From derivatives with respect to edge vectors to forces, virial and stress."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.utils import scatter

from equireann_pyg.graph.edges import edge_differences
from equireann_pyg.graph.known import known, question
from equireann_pyg.properties.base import GraphTensors


def variables(graph: GraphTensors, differentiate: bool) -> tuple[Tensor, ...]:
    """Edge vectors ``[E, 3]`` and, in a field, positions that the edge vectors do not depend on, ``[N, 3]``."""
    edge_vec = edge_differences(graph.pos, graph.cell, graph.edge_index, graph.edge_shift, graph.batch)
    inputs = (edge_vec,) if graph.field is None else (edge_vec, graph.pos.clone())
    for variable in inputs:
        if differentiate and not variable.requires_grad:
            variable.requires_grad_()
    return inputs


def position_gradient(gradients: Sequence[Tensor], graph: GraphTensors) -> Tensor:
    """Gradient with respect to the positions ``[N, 3]`` from those with respect to :func:`variables`."""
    source, target = graph.edge_index
    num_nodes = graph.z.numel()
    through_edges = scatter(gradients[0], source, dim_size=num_nodes) - scatter(
        gradients[0], target, dim_size=num_nodes
    )
    return through_edges if len(gradients) == 1 else through_edges + gradients[1]


def stress_tensor(edge_vec: Tensor, gradient: Tensor, graph: GraphTensors) -> Tensor:
    """Symmetric virial per volume ``[G, 3, 3]``, NaN without volume; the double ``where`` keeps gradients finite."""
    virial = _virial(edge_vec, gradient, graph.edge_index, graph.batch, graph.cell.size(0))
    size = volume(graph.cell).view(-1, 1, 1)
    stress = 0.5 * (virial + virial.transpose(1, 2)) / torch.where(size > 0, size, torch.ones_like(size))
    return torch.where(size > 0, stress, torch.full_like(stress, torch.nan))


def _virial(edge_vec: Tensor, gradient: Tensor, edge_index: Tensor, batch: Tensor | None, num_graphs: int) -> Tensor:
    r""":math:`\sum_{ij} \mathbf r_{ij} \otimes \partial E / \partial \mathbf r_{ij}` of every graph, ``[G, 3, 3]``."""
    if batch is None:
        return (edge_vec.T @ gradient).unsqueeze(0)
    outer = edge_vec.unsqueeze(2) * gradient.unsqueeze(1)  # -> [E, 3, 3]
    return scatter(outer, batch[edge_index[1]], dim_size=num_graphs)


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
