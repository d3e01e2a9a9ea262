"""How a task evaluates its potential."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from equireann_pyg.inference.compiled import CompiledPotential
from equireann_pyg.inference.graphed import GraphedPotential
from equireann_pyg.potential.potential import Potential

Evaluating = Potential | CompiledPotential | GraphedPotential


@dataclass(frozen=True)
class Evaluation:
    """The potential itself, which is the default, or one of its faster forms; the numbers are the same.

    Args:
        compiled: through torch's compiler (see :class:`~equireann_pyg.inference.CompiledPotential`): a minute or so before the
            first step, faster steps from then on.
        graphed: by recorded evaluations (see :class:`~equireann_pyg.inference.GraphedPotential`), on CUDA devices: for batches
            that a GPU works through faster than the CPU can start its operations.

    Raises:
        ValueError: if both are asked for.
    """

    compiled: bool = False
    graphed: bool = False

    def __post_init__(self) -> None:
        if self.compiled and self.graphed:
            raise ValueError("evaluation: compiled and graphed exclude each other; ask for one of them")

    def check(self, device: torch.device) -> None:
        """Refuse a device on which the potential cannot be evaluated so.

        Raises:
            ValueError: for recorded evaluations beside CUDA.
        """
        if self.graphed and device.type != "cuda":
            raise ValueError(
                f"model.evaluation.graphed: evaluations are recorded on CUDA devices, and this run is on {device}; leave it "
                "out, or take model.evaluation.compiled"
            )

    def __call__(self, potential: Potential) -> Evaluating:
        """The form of a potential that is evaluated."""
        if self.graphed:
            return GraphedPotential(potential)
        return CompiledPotential(potential) if self.compiled else potential
