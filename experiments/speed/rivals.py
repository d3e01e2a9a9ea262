"""Everything that takes turns on a CUDA device: our models by each path, PyG's SchNet, MACE and NequIP in other processes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from functools import cache, partial
from pathlib import Path

import torch
from torch import Tensor
from torch_geometric.data import Data

from equireann_pyg import EquiREANN, EquiREANNPlus, Potential
from equireann_pyg.training import Muon
from experiments.speed.cases import potential
from experiments.speed.clock import Sample, Watch
from experiments.speed.paths import PATHS, Evaluate, call_of, plain
from experiments.speed.peers import Worker, schnet

SMALL = partial(EquiREANNPlus, num_radial=64, num_products=48)
LARGE = partial(EquiREANNPlus, num_radial=128, num_products=128, num_messages=32, num_iterations=2)

MODELS: dict[str, Callable[[], Potential]] = {
    "EquiREANN": partial(potential, EquiREANN),
    "plus-s": partial(potential, SMALL),
    "plus-m": partial(potential, EquiREANNPlus),
    "plus-l": partial(potential, LARGE),
    "SchNet": schnet,
}
"""The paper's model, the sizes of the configurations ``equireann-plus-s``, ``-m`` and ``-l``, and SchNet."""

WORKERS = {
    "MACE-medium": ("mace_worker.py", ""),
    "MACE-medium cuEquivariance": ("mace_worker.py", "cueq"),
    "NequIP-M": ("nequip_worker.py", ""),
    "NequIP-M compiled": ("nequip_worker.py", "compile"),
}
"""Scripts of the peers that have processes of their own, and what these are asked for."""


def graphed(potential: Potential) -> Evaluate:
    """Recorded launches that are replayed, where the package has them."""
    from equireann_pyg.inference.graphed import GraphedPotential  # type: ignore[import-not-found]

    return GraphedPotential(potential)


ALL_PATHS = PATHS | {"graphed": graphed}


@cache
def model_of(name: str, device: torch.device) -> Potential:
    """One potential of each kind on the device."""
    return MODELS[name]().to(device)


@cache
def evaluator(model: str, path: str, device: torch.device) -> Evaluate:
    """A path of a model."""
    return ALL_PATHS[path](model_of(model, device))


def our_call(contestant: str, step: str, data: Data) -> Callable[[], object]:
    """Call of a contestant that is named by model and path, such as ``plus-m kernels``."""
    name, _, path = contestant.rpartition(" ")
    made = model_of(name, data.pos.device).train(step == "training")
    return call_of(step, evaluator(name, path, data.pos.device), data, made.parameters())


def optimiser_call(contestant: str, data: Data) -> Callable[[], object]:
    """Step of an optimiser with the gradients of a batch; its rate is zero, so that no other time depends on it."""
    name, _, kind = contestant.rpartition(" ")
    made = model_of(name, data.pos.device).train()
    call_of("training", made, data, made.parameters())()
    if kind == "Muon":
        return Muon(made.parameters(), lr=0.0).step
    return torch.optim.Adam(made.parameters(), lr=0.0, fused=data.pos.is_cuda).step


def worker_watch(contestant: str, step: str, data: Data, sites: Iterable[Path], stack: ExitStack) -> Watch:
    """Watch of a peer in another process, which finds its packages in the folders that hold the peer's own."""
    script, mode = WORKERS[contestant]
    name = script.partition("_")[0]
    folders = [*(str(site) for site in sites if (site / name).is_dir()), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, folders))}
    options = (str(data.pos.device.type), mode)
    worker = stack.enter_context(Worker(Path(sys.executable), data.cpu(), step, script, options, environment))
    return lambda number: Sample(*worker.ask(number))


def results_of(call: Callable[[], object], step: str, parameters: Iterable[Tensor]) -> Tensor:
    """What contestants of a model must agree on: forces, or the gradients of a training step."""
    output = call()
    if step == "inference":
        return output["forces"].detach()  # type: ignore[index]
    return torch.cat([weight.grad.flatten() for weight in parameters if weight.grad is not None]).clone()


def expected_of(model: str, step: str, data: Data) -> Tensor | None:
    """The same by the plain path; None where that does not fit into the memory."""
    made = model_of(model, data.pos.device).train(step == "training")
    try:
        return results_of(call_of(step, plain(made), data, made.parameters()), step, made.parameters())
    except torch.cuda.OutOfMemoryError:
        torch.cuda.empty_cache()
        return None
