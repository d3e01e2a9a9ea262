"""CUDA graphs: for small systems on a GPU, where starting the operations takes longer than the operations.

All operations of an evaluation are recorded once and started together from then on. A recording has fixed sizes, so the edges
of a graph are padded to a number that is seldom outgrown, by edges that are too long to mean anything.
"""

from __future__ import annotations

import math
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data

from equireann_pyg.potential.potential import Potential
from equireann_pyg.properties.base import GraphTensors

SMALLEST = 64
"""Least number of edges that a recording is made for."""

GROWTH = 1.25
"""Next number of edges over the last."""

KEPT = 8
"""Recordings that are kept, for different numbers of atoms and outputs; the oldest goes first."""

WARM = 3
"""Evaluations before a recording, in which libraries set themselves up and kernels are compiled."""


def capacity(num_edges: int) -> int:
    """Smallest number of edges in the series 64, 80, 100, 125, ... that holds ``num_edges``."""
    size = SMALLEST
    while size < num_edges:
        size = math.ceil(GROWTH * size)
    return size


def padded(graph: GraphTensors, num_edges: int, cutoff: float) -> GraphTensors:
    """One graph with more edges that change nothing: energy, forces and virial of each are exactly zero.

    They join the last atom to an image of itself, along the longest lattice vector, two cutoffs away or farther. The order by
    centres stays. An open system without any lattice vector gets cell vectors of that length, which its own edges, without
    shifts, know nothing of.

    Args:
        graph: fields of one graph with at least one atom.
        num_edges: number of edges wanted, not less than there are.
        cutoff: of the model in Angstrom.

    Raises:
        ValueError: if the graph has no atom, or more edges already.
    """
    missing = num_edges - graph.edge_index.size(1)
    if missing < 0 or not graph.z.numel():
        raise ValueError(
            f"padding: expected at least one atom and at most {num_edges} edges, got {graph.z.numel()} atoms and "
            f"{graph.edge_index.size(1)} edges; evaluate this graph by the potential itself"
        )
    unit = torch.eye(3, dtype=graph.cell.dtype, device=graph.cell.device)
    cell = torch.where((graph.cell == 0).all(), 2 * cutoff * unit, graph.cell)  # -> [1, 3, 3]
    lengths = cell[0].norm(dim=1)  # -> [3]
    steps = torch.ceil(2 * cutoff / lengths.amax())
    shift = unit.index_select(0, lengths.argmax().view(1)) * steps  # -> [1, 3]
    last = graph.edge_index.new_full((2, missing), graph.z.numel() - 1)
    return graph._replace(
        cell=cell,
        edge_index=torch.cat([graph.edge_index, last], dim=1),
        edge_shift=torch.cat([graph.edge_shift, shift.to(graph.edge_shift).expand(missing, 3)]),
    )


class GraphedPotential:
    """A potential on a GPU that replays recorded evaluations (CUDA graphs); results are those of the potential.

    For inference, one graph at a time, with the same number of atoms again and again: molecular dynamics and relaxations of
    small systems. The first evaluation of a number of atoms takes longer, as does one with more edges than ever before. The
    weights may change, and the potential may be moved to another GPU or type.

    Args:
        potential: potential in evaluation mode, on a CUDA device.

    Raises:
        ValueError: if the potential is elsewhere, or in training mode when it is called.
    """

    training = False

    def __init__(self, potential: Potential) -> None:
        if potential.scale.device.type != "cuda":
            raise ValueError(
                f"GraphedPotential: expected a potential on a CUDA device, got one on {potential.scale.device}; move it by "
                'potential.to("cuda"), or use compile_potential there'
            )
        self.potential = potential
        self._recorded: dict[Any, _Recording] = {}
        self._places: list[int] = []

    def __deepcopy__(self, memo: dict[int, Any]) -> GraphedPotential:
        """A copy of the potential, to be recorded anew."""
        return GraphedPotential(deepcopy(self.potential, memo))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled without the recordings."""
        return GraphedPotential, (self.potential,)

    @property
    def cutoff(self) -> float:
        """Cutoff of the potential in Angstrom."""
        return self.potential.cutoff

    @property
    def elements(self) -> list[int]:
        """Atomic numbers the potential knows."""
        return self.potential.elements

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of the arithmetic."""
        return self.potential.dtype

    def __call__(self, data: Data, forces: bool = True, stress: bool | None = None) -> dict[str, Tensor]:
        """Energy, forces and stress; see :meth:`equireann_pyg.Potential.forward`.

        Raises:
            ValueError: as for the potential; also for a batch of several graphs, and in training mode.
        """
        if data.cell.size(0) != 1:
            raise ValueError(f"GraphedPotential: expected one graph at a time, got a batch of {data.cell.size(0)}")
        if self.potential.training:
            raise ValueError(
                "GraphedPotential: a recording has no gradients of parameters; call eval(), or train without it"
            )
        stress = self.potential.check(data, stress)
        graph = self.potential.tensors(data)._replace(batch=None)
        if not graph.z.numel():
            return self.potential.evaluate(graph, forces, stress)
        self._forget_if_moved()
        key = graph.z.numel(), tuple(tensor is None for tensor in graph), forces, stress
        recording, needed = self._recorded.get(key), graph.edge_index.size(1)
        if recording is None or recording.num_edges < needed:
            self._recorded.pop(key, None)
            if len(self._recorded) >= KEPT:
                del self._recorded[next(iter(self._recorded))]
            example = padded(graph, capacity(needed), self.cutoff)
            recording = self._recorded[key] = _Recording(self.potential, example, forces, stress)
        return recording(padded(graph, recording.num_edges, self.cutoff))

    def _forget_if_moved(self) -> None:
        """Drop the recordings where weights are not any more where they read them."""
        places = [tensor.data_ptr() for tensor in (*self.potential.parameters(), *self.potential.buffers())]
        if places != self._places:
            self._recorded.clear()
            self._places = places


class _Recording:
    """One recorded evaluation, with the memory of its inputs and outputs."""

    def __init__(self, potential: Potential, example: GraphTensors, forces: bool, stress: bool) -> None:
        self.num_edges = example.edge_index.size(1)
        self.inputs = GraphTensors(*map(_copied, example))
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(example.pos.device):
            stream, here = torch.cuda.Stream(), torch.cuda.current_stream()
            stream.wait_stream(here)
            with torch.cuda.stream(stream):
                for _ in range(WARM):
                    potential.evaluate(self.inputs, forces, stress)
            here.wait_stream(stream)
            with torch.cuda.graph(self.graph):
                self.outputs = potential.evaluate(self.inputs, forces, stress)

    def __call__(self, graph: GraphTensors) -> dict[str, Tensor]:
        for place, tensor in zip(self.inputs, graph, strict=True):
            if place is not None and tensor is not None:
                place.copy_(tensor)
        self.graph.replay()
        return {name: value.clone() for name, value in self.outputs.items()}


def _copied(tensor: Any) -> Any:
    return None if tensor is None else tensor.clone()
