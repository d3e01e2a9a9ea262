"""CUDA graphs: on a GPU, where starting the operations takes longer than the operations.

All operations of an evaluation are recorded once and started together from then on; in training, those of its derivative too.
A recording has fixed sizes, so a batch is filled up by ghosts (:mod:`equireann_pyg.inference.padding`), and one recording
serves all batches of about its size.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data

from equireann_pyg.graph.labels import PER_ATOM
from equireann_pyg.inference.form import Form
from equireann_pyg.inference.padding import Sizes, empty_like, fill, fill_ghosts, fits, room_for, sizes_of
from equireann_pyg.inference.recording import Recorder, Replay
from equireann_pyg.potential.potential import Potential
from equireann_pyg.properties.base import GraphTensors

KEPT = 12
"""Recordings that are kept, for different sizes, outputs and modes; that which has not been used for longest goes first."""


class GraphedPotential(Form):
    """A potential on a GPU that replays recorded evaluations (CUDA graphs); use and results are those of the potential.

    For molecular dynamics and relaxations of small systems, and for training. It shares the weights and the mode of the
    potential. The first evaluation of a size takes longer, as does one that has no room in any recording so far. The weights
    may change in their places, as optimisers change them; where they move, to another GPU or type, or where others of them are
    to be trained, everything is recorded anew.

    In training mode the outputs carry a graph for the loss, with these limits, which a loop over batches keeps by itself:
    gradients are those of the parameters only, and of first order; ``backward`` comes once after each evaluation and before
    the next one; and where a loss leaves out an output, a parameter that nothing but this output depends on gets a gradient of
    zeros in place of none. Outputs and gradients are never overwritten. Gradients may be accumulated, clipped, and averaged
    over processes (``DistributedDataParallel``).

    Args:
        potential: potential on a CUDA device, in either mode.
        recorder: what records.

    Raises:
        ValueError: if the potential is elsewhere.
    """

    def __init__(self, potential: Potential, recorder: Recorder | None = None) -> None:
        self.recorder = Recorder() if recorder is None else recorder
        self.recorder.check(potential.scale.device)
        self.potential = potential
        self._recorded: list[_Recorded] = []  # the last one used is the last
        self._places: list[tuple[int, bool]] = []

    def __deepcopy__(self, memo: dict[int, Any]) -> GraphedPotential:
        """A copy of the potential, to be recorded anew."""
        return GraphedPotential(deepcopy(self.potential, memo), type(self.recorder)())

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled without the recordings."""
        return GraphedPotential, (self.potential,)

    @property
    def training(self) -> bool:
        """Whether the potential is in training mode."""
        return self.potential.training

    def __call__(self, data: Data, forces: bool = True, stress: bool | None = None) -> dict[str, Tensor]:
        """Energy, forces and stress; see :meth:`equireann_pyg.Potential.forward`.

        Raises:
            ValueError: as for the potential; also in training, where the positions are to get a gradient.
        """
        potential = self.potential
        self.recorder.check(potential.scale.device)
        if potential.training and data.pos.requires_grad:
            raise ValueError(
                "GraphedPotential: a recording has gradients of the parameters only, and pos requires one; use the potential"
            )
        stress = potential.check(data, stress)
        graph = potential.tensors(data)
        if not graph.z.numel():
            return potential.evaluate(graph, forces, stress)
        self._forget_if_moved()
        types = tuple(None if tensor is None else tensor.dtype for tensor in graph._replace(batch=None))
        return self._serving((potential.training, forces, stress, types), graph)(graph)

    def forget(self) -> None:
        """Drop all recordings, and give their memory back."""
        for recorded in self._recorded:
            recorded.recording.close()
        self._recorded.clear()
        self.recorder.forget()

    def _serving(self, kind: tuple[Any, ...], graph: GraphTensors) -> _Recorded:
        """The smallest recording that will do, or a new one."""
        sizes = sizes_of(graph)
        found = [old for old in self._recorded if old.kind == kind and fits(sizes, old.room)]
        if found:
            best = min(found, key=lambda old: old.room)
            self._recorded.remove(best)
        else:
            while len(self._recorded) >= KEPT:
                self._recorded.pop(0).recording.close()
            best = _Recorded(self, kind, graph)
        self._recorded.append(best)
        return best

    def _forget_if_moved(self) -> None:
        """Drop the recordings where weights are not any more where they read them, or others are to be trained."""
        places = [(tensor.data_ptr(), tensor.requires_grad) for tensor in _tensors(self.potential)]
        if places != self._places:
            self.forget()
            self._places = places


def _tensors(module: torch.nn.Module) -> Iterator[Tensor]:
    """Parameters and buffers, in a fraction of the time that torch takes to name them: this is done before every evaluation."""
    for table in (module._parameters, module._buffers):
        for tensor in table.values():
            if tensor is not None:
                yield tensor
    for child in module._modules.values():
        if child is not None:
            yield from _tensors(child)


class _Recorded:
    """A recorded evaluation of batches of about one size, with the memory of its inputs.

    Args:
        owner: potential and recorder.
        kind: whether in training, with forces, with stress, and the type of each field but the batch.
        graph: first batch that it is to serve.
    """

    def __init__(self, owner: GraphedPotential, kind: tuple[Any, ...], graph: GraphTensors) -> None:
        potential, (training, forces, stress, _) = owner.potential, kind
        self.kind, self.room, self.recorder = kind, room_for(sizes_of(graph)), owner.recorder
        self.cutoff, self._ghosts_behind = potential.cutoff, Sizes(0, 0, 0)
        self.parameters = [weight for weight in potential.parameters() if weight.requires_grad] if training else []

        def evaluate() -> dict[str, Tensor]:
            with torch.set_grad_enabled(training):
                return potential.evaluate(self.inputs, forces, stress)

        with torch.inference_mode(False):  # whatever the first batch comes in: its memory serves others, too
            self.inputs = empty_like(graph, self.room)
            self._fill(graph)
            self.recording = owner.recorder.record(graph.pos.device, evaluate, self.parameters)

    def __call__(self, graph: GraphTensors) -> dict[str, Tensor]:
        """Outputs for a batch."""
        self._fill(graph)
        sizes = sizes_of(graph)
        rows = {name: sizes.atoms if name in PER_ATOM else sizes.graphs for name in self.recording.outputs}
        return Replay(self.recorder, self.recording, rows)(self.parameters)

    @torch.no_grad()
    def _fill(self, graph: GraphTensors) -> None:
        fill(self.inputs, graph)
        sizes = sizes_of(graph)
        if sizes != self._ghosts_behind:
            fill_ghosts(self.inputs, sizes, self.cutoff)
            self._ghosts_behind = sizes
