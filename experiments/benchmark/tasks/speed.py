"""Time and memory of a model, beside the reference model in the same process."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

import torch
from torch_geometric.data import Data

from equireann_pyg import Potential, radius_graph
from equireann_pyg.potential import fit_statistics
from experiments.benchmark.peers import REFERENCE, Peer, peer_of
from experiments.benchmark.peers.calculated import Calculated
from experiments.benchmark.tasks.systems import ELEMENTS, SYSTEMS
from experiments.speed.clock import Sample, Watch, middle, peak_bytes, spread, take_turns, watch_of
from experiments.speed.paths import call_of
from experiments.speed.timing import peak_memory

LARGE = 5000
"""Atoms beyond which one round is enough, after two calls to warm up."""

DTYPES = {"float32": torch.float32, "float64": torch.float64}


def speed(
    peer: Peer,
    system: str,
    step: str = "inference",
    dtype: str = "float32",
    threads: int = 1,
    cutoff: float = 5.0,
    seconds: float = 4.0,
    device: str = "cpu",
) -> dict[str, Any]:
    """Milliseconds of one call, and its ratio to the reference model, which takes turns with it.

    Args:
        peer: model.
        system: of :data:`~experiments.benchmark.tasks.systems.SYSTEMS`.
        step: ``"inference"``, energy and forces, or ``"training"``, with the gradient of a loss on both.
        dtype: ``"float32"`` or ``"float64"``.
        threads: of torch; 0 for as many as there are processors; with several it is the time on the wall that counts.
        cutoff: in Angstrom.
        seconds: for all rounds.
        device: ``"cpu"`` or ``"cuda"``.
    """
    torch.set_num_threads(threads or len(os.sched_getaffinity(0)))
    place, data = torch.device(device), SYSTEMS[system](cutoff)
    names = dict.fromkeys([peer.name, REFERENCE])
    watches, potentials = {}, {}
    for name in names:
        potentials[name] = potential_of(peer if name == peer.name else peer_of(name), data, dtype, cutoff).to(place)
        watches[name] = warmed(watch_of(call_on(potentials[name], step, data.to(device)), place))
    turns = take_turns(watches, seconds, min_rounds=1 if data.z.numel() > LARGE else 3, max_rounds=30)
    if peer.name in turns.failed:
        raise RuntimeError(turns.failed[peer.name])
    kind = "wall" if threads != 1 or device == "cuda" else "device"
    mine, reference = turns.samples[peer.name], turns.samples.get(REFERENCE, [])
    return {
        "ms": 1e3 * middle(mine, kind),
        "spread": spread(mine),
        "rounds": len(mine),
        "threads_used": torch.get_num_threads(),
        **ratios(mine, reference, kind),
        "atoms": data.z.numel(),
        "edges": data.edge_index.size(1),
        "neighbours_ms": 1e3 * neighbours(data, cutoff),
        "parameters": sum(parameter.numel() for parameter in potentials[peer.name].parameters()),
    }


def warmed(watch: Watch) -> Watch:
    """A watch with an untimed call before: the model whose turn it was has left the memory in another state."""

    def run(number: int) -> Sample:
        watch(1)
        return watch(number)

    return run


def memory(peer: Peer, system: str, step: str = "training", device: str = "cpu") -> dict[str, Any]:
    """Rise of the memory during one call, in MB; in a process that does nothing else."""
    torch.set_num_threads(1)
    data = SYSTEMS[system](5.0)
    call = call_on(potential_of(peer, data, "float32", 5.0).to(device), step, data.to(device))
    if device == "cpu":
        return {"MB": peak_memory(call)}
    call()
    return {"MB": peak_bytes(call, torch.device(device)) / 1e6}


def potential_of(peer: Peer, data: Data, dtype: str, cutoff: float) -> Potential | Calculated:
    """The untrained model with the statistics of the system, in our potential unless only its own code computes it."""
    torch.manual_seed(0)
    model = peer.recipe.build(ELEMENTS, cutoff).to(DTYPES[dtype])
    if isinstance(model, Calculated):
        return model
    fit_statistics(model, data, DTYPES[dtype])
    return Potential(model)


def call_on(potential: Potential | Calculated, step: str, data: Data) -> Callable[[], object]:
    """One call; parameters that no force depends on stay without a gradient."""
    return call_of(step, potential.train(step == "training"), data, potential.parameters())


def ratios(mine: list[Sample], reference: list[Sample], kind: str) -> dict[str, float]:
    """Median and quartiles of the ratios within each round."""
    found = sorted(getattr(a, kind) / getattr(b, kind) for a, b in zip(mine, reference, strict=False))
    if not found:
        return {}
    quarter = len(found) // 4
    return {
        "ratio": median(found),
        "low": found[quarter],
        "high": found[-1 - quarter],
        "reference_ms": 1e3 * middle(reference, kind),
    }


def neighbours(data: Data, cutoff: float) -> float:
    """Seconds of the search of neighbours, graph by graph."""
    graphs = data.to_data_list() if hasattr(data, "to_data_list") else [data]
    times = []
    for _ in range(3):
        start = time.process_time()
        for search in [partial(radius_graph, g.pos, cutoff, g.cell[0], g.pbc[0]) for g in graphs]:
            search()
        times.append(time.process_time() - start)
    return median(times)
