"""Ways to evaluate a potential, and the two things that are timed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data

from equireann_pyg import BlockPotential, Potential, compile_potential
from equireann_pyg.ops import by_reference

Evaluate = Callable[..., dict[str, Tensor]]
BLOCK_SIZE = {"cpu": 2048, "cuda": 65536}  # atoms of one block

STEPS = ("inference", "training")


def plain(potential: Potential) -> Evaluate:
    """The reference: torch operations only."""

    def evaluate(data: Data, **options: Any) -> dict[str, Tensor]:
        with by_reference():
            return potential(data, **options)

    return evaluate


def kernels(potential: Potential) -> Evaluate:
    """The default on a CPU: compiled kernels, called from Python."""
    return potential


def compiled(potential: Potential) -> Evaluate:
    """One graph through torch's compiler."""
    return compile_potential(potential)


def blocks(potential: Potential) -> Evaluate:
    """Blocks of centres, for large systems."""
    return BlockPotential(potential, block_size=BLOCK_SIZE[potential.scale.device.type])


PATHS: dict[str, Callable[[Potential], Evaluate]] = {
    "plain": plain,
    "kernels": kernels,
    "compiled": compiled,
    "blocks": blocks,
}


def paths_for(step: str) -> list[str]:
    """Names of the paths that there are for a step."""
    return [name for name in PATHS if not (name == "blocks" and step == "training")]


def call_of(step: str, evaluate: Evaluate, data: Data, parameters: Iterable[Tensor]) -> Callable[[], object]:
    """One energy-and-forces call, or one training step without its optimiser.

    Args:
        step: ``"inference"`` or ``"training"``.
        evaluate: see :data:`PATHS`; its potential must be in evaluation or training mode.
        data: graph or batch.
        parameters: what the loss is differentiated by.
    """
    if step == "inference":
        return lambda: evaluate(data, stress=False)
    parameters = list(parameters)

    def train() -> None:
        for parameter in parameters:
            parameter.grad = None
        output = evaluate(data, stress=False)
        loss = (output["energy"] / data.z.numel()).square().mean() + output["forces"].square().mean()
        loss.backward()

    return train


def deviation(evaluate: Evaluate, reference: Evaluate, data: Data) -> float:
    """Largest difference of the forces relative to the largest force."""
    forces, expected = (function(data, stress=False)["forces"].detach() for function in (evaluate, reference))
    return float((forces - expected).abs().max() / expected.abs().max())


def gradient_deviation(
    call: Callable[[], object], reference: Callable[[], object], parameters: Iterable[Tensor]
) -> float:
    """The same for the gradient of a training step."""
    parameters, gradients = list(parameters), []
    for step in (call, reference):
        step()
        gradients.append(
            torch.cat([parameter.grad.flatten() for parameter in parameters if parameter.grad is not None])
        )
    return float((gradients[0] - gradients[1]).abs().max() / gradients[1].abs().max())
