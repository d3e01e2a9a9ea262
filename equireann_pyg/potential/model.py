"""What a potential asks of a model of atomic energies."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from inspect import signature
from typing import Protocol, cast

import torch
from torch import Tensor
from torch_geometric.data import Data

from equireann_pyg.graph.edges import edge_vectors
from equireann_pyg.properties.base import GraphTensors


class AtomicEnergyModel(Protocol):
    """What :class:`Potential` asks of a model; any :class:`torch.nn.Module` with these members will do."""

    cutoff: float
    elements: list[int]

    def __call__(self, z: Tensor, edge_index: Tensor, edge_vec: Tensor) -> Tensor:
        """Atomic energies ``[N]`` from atomic numbers ``[N]``, edges ``[2, E]`` and vectors r_j - r_i ``[E, 3]``.

        A ``forward`` that also has an argument ``batch`` gets the graph of each atom, ``[N]``, and one that has an argument
        ``edge_order`` the :func:`~equireann_pyg.ops.edge_order` of the edges.
        """
        ...


@cache
def takes(method: Callable[..., object], name: str) -> bool:
    """Whether a method of a class of models, such as ``forward``, has an argument of this name."""
    return name in signature(method).parameters


def atomic_energies(
    model: torch.nn.Module, graph: GraphTensors, z: Tensor, edge_vec: Tensor, order: Tensor | None = None
) -> Tensor:
    """Energies of all atoms ``z``; those beyond the atoms of the graph are graphs of their own.

    Args:
        model: see :class:`AtomicEnergyModel`.
        graph: graph or batch.
        z: atomic numbers ``[N + n]``, of which the first are those of the graph.
        edge_vec: ``[E, 3]`` in the type of the model.
        order: :func:`~equireann_pyg.ops.edge_order` of the edges among all atoms.
    """
    forward, known = type(model).forward, dict[str, Tensor | None]()
    if takes(forward, "edge_order"):
        known["edge_order"] = order
    if takes(forward, "batch"):
        batch = torch.zeros_like(graph.z) if graph.batch is None else graph.batch
        alone = graph.cell.size(0) + torch.arange(z.numel() - batch.numel(), device=z.device)
        known["batch"] = torch.cat([batch, alone])
    return cast(Tensor, model(z, graph.edge_index, edge_vec, **known))


@torch.no_grad()
def fit_statistics(model: torch.nn.Module, data: Data, dtype: torch.dtype) -> None:
    """Let an untrained model take what it wants to know of a training set, if it has a method ``fit_statistics``.

    Args:
        model: see :class:`AtomicEnergyModel`.
        data: one graph or batch that holds the set, or a sample of it.
        dtype: type of the edge vectors that the model is given.
    """
    fit = getattr(model, "fit_statistics", None)
    if fit is not None:
        fit(data.z, data.edge_index, edge_vectors(data).to(dtype))


def repulsive_energies(
    repulsion: torch.nn.Module, graph: GraphTensors, edge_vec: Tensor, cutoff: float, order: Tensor
) -> Tensor:
    """Energies ``[N]`` in eV of a repulsion, which is given the order of the edges where it has an argument ``edge_order``."""
    known = {"edge_order": order} if takes(type(repulsion).forward, "edge_order") else {}
    return cast(Tensor, repulsion(graph.z, graph.edge_index, edge_vec, cutoff, **known))
