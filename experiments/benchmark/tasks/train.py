"""A training in our loop, on a case of the experiments."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from torch_geometric.data import Batch, Data

from equireann_pyg import Potential
from equireann_pyg.evaluation import errors_by_type, predict
from experiments.benchmark.peers import Peer
from experiments.benchmark.tasks.cases import CASES
from experiments.runs.case import quick as shortened
from experiments.runs.job import Job
from experiments.runs.models import Recipe
from experiments.runs.rows import measured, progress
from experiments.runs.run import be_quiet
from experiments.runs.train import steps_per_epoch
from experiments.runs.train import train as trained_on

FIELDS = ("z", "pos", "cell", "pbc", "edge_index", "edge_shift")
"""Of a graph without labels."""


def train(
    peer: Peer,
    case: str,
    data: str,
    folder: str,
    minutes: float | None = None,
    epochs: int | None = None,
    seed: int = 0,
    rate: float | None = None,
    test: bool = True,
    quick: bool = False,
    device: str = "cpu",
) -> dict[str, Any]:
    """Train a model, or go on with it, and measure its errors.

    Args:
        peer: model.
        case: of :data:`~experiments.benchmark.tasks.cases.CASES`.
        data: folder of the data sets.
        folder: for checkpoints, so that it can be interrupted.
        minutes: budget of the steps, of one core.
        epochs: in place of it.
        seed: of parameters and shuffling.
        rate: learning rate in place of the published one.
        test: look at the test frames; a trial does not.
        quick: few frames.
        device: ``"cpu"`` or ``"cuda"``.
    """
    be_quiet(threads=1)
    chosen = replace(CASES[case], minutes=minutes or CASES[case].minutes, longer={}, epochs=epochs)
    sets = chosen.load(Path(data))
    if quick:
        short, sets = shortened(chosen, sets)
        chosen = chosen if minutes or epochs else short
    job = Job(chosen, peer.name, with_rate(peer.recipe, rate), seed, device)
    mark = job.mark(sets, job.model())
    number = job.epochs(sets, Path(folder) / f"{mark}.json")
    how = warmed_up(job.recipe, number * steps_per_epoch(chosen, sets, job.recipe))
    place = Path(folder) / f"{mark}-seed{seed}"
    result = trained_on(job.model(), replace(chosen, epochs=number), sets, how, seed, place, False, device)
    validation = errors_by_type(predict(result.potential, sets.val.graphs), sets.val.graphs)["all"]
    found = {
        "validation": validation,
        "seconds": result.seconds,
        "ms_per_step": result.ms_per_step,
        "steps": result.steps,
        "us_per_atom": cost(result.potential, sets.val.graphs),
    }
    if not test:
        return found | {"rate": rate}
    rows, scans = measured(job, sets, result, number, mark)
    return found | {"rate": rate, "rows": rows, "scans": scans, "progress": progress(job, result, mark)}


def warmed_up(recipe: Recipe, steps: int) -> Recipe:
    """The recipe with a warm-up of at most a tenth of all steps: slow models make few."""
    warmup = min(recipe.training.warmup_steps, steps // 10)
    return replace(recipe, training=replace(recipe.training, warmup_steps=warmup))


def cost(potential: Potential, graphs: Sequence[Data]) -> float:
    """Microseconds of the processor for each atom: energy and forces of up to eight frames of the set, one thread."""
    batch = Batch.from_data_list([Data(**{name: graph[name] for name in FIELDS}) for graph in graphs[:8]])
    potential = potential.eval()
    times = []
    for _ in range(7):
        start = time.process_time()
        potential(batch, stress=False)
        times.append(time.process_time() - start)
    return 1e6 * median(times[2:]) / batch.z.numel()


def with_rate(recipe: Recipe, rate: float | None) -> Recipe:
    """The recipe with another learning rate."""
    if rate is None:
        return recipe
    optimizer = {**recipe.training.optimizer, "init_args": {**recipe.training.optimizer["init_args"], "lr": rate}}
    return replace(recipe, training=replace(recipe.training, optimizer=optimizer))
