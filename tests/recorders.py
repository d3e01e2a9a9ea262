"""A recorder without CUDA, to test what is around one: its memory stays in its place, as that of a recording does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from equireann_pyg import Potential
from equireann_pyg.inference.graphed import GraphedPotential
from equireann_pyg.inference.recording import Forward, Outputs, Recorder, Recording
from equireann_pyg.training import Evaluation


class EagerRecording:
    """Evaluates anew for every replay, and overwrites the results of the last one, as a CUDA graph does."""

    def __init__(self, evaluate: Forward, parameters: Sequence[Tensor]) -> None:
        self.evaluate, self.parameters = evaluate, parameters
        self.live: Outputs = evaluate()
        self.outputs = {name: value.detach().clone() for name, value in self.live.items()}
        self.cotangents = {
            name: torch.full_like(value, torch.nan)  # whoever does not write to it notices
            for name, value in self.live.items()
            if parameters and value.requires_grad
        }
        self.gradients = self._pulled() if self.cotangents else [None] * len(parameters)
        self.closed = False

    def _pulled(self) -> list[Tensor | None]:
        outputs = [self.live[name] for name in self.cotangents]
        return list(
            torch.autograd.grad(outputs, self.parameters, [*self.cotangents.values()], allow_unused=True)  # type: ignore[arg-type]
        )

    def forward(self) -> None:
        """Evaluate."""
        assert not self.closed
        self.live = self.evaluate()
        for name, value in self.live.items():
            self.outputs[name].copy_(value.detach())

    def backward(self) -> None:
        """Overwrite the gradients."""
        assert not self.closed
        for place, gradient in zip(self.gradients, self._pulled(), strict=True):
            if place is not None and gradient is not None:
                place.copy_(gradient)

    def close(self) -> None:
        """Serve no more."""
        self.closed = True


class EagerRecorder(Recorder):
    """Records anywhere; counts what it has made."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[EagerRecording] = []

    def check(self, device: torch.device) -> None:
        """Any device will do."""

    def record(self, device: torch.device, forward: Forward, parameters: Sequence[Tensor]) -> Recording:
        """Record an evaluation."""
        self.replays += 1
        self.made.append(EagerRecording(forward, parameters))
        return self.made[-1]


@dataclass(frozen=True)
class EagerlyGraphed(Evaluation):
    """Recorded evaluations of a task, without CUDA."""

    def __call__(self, potential: Potential) -> GraphedPotential:
        """A potential with a recorder that needs no GPU."""
        return GraphedPotential(potential, EagerRecorder())
