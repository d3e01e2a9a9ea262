"""A training in our loop, on a case of the experiments."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from equireann_pyg.evaluation import errors_by_type, predict
from experiments.benchmark.peers import Peer
from experiments.benchmark.tasks.cases import CASES
from experiments.runs.case import quick as shortened
from experiments.runs.job import Job
from experiments.runs.models import Recipe
from experiments.runs.rows import measured, progress
from experiments.runs.run import be_quiet
from experiments.runs.train import train as trained_on


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
    place = Path(folder) / mark
    number = job.epochs(sets, place.with_suffix(".json"))
    result = trained_on(job.model(), replace(chosen, epochs=number), sets, job.recipe, seed, place, False, device)
    validation = errors_by_type(predict(result.potential, sets.val.graphs), sets.val.graphs)["all"]
    found = {
        "validation": validation,
        "seconds": result.seconds,
        "ms_per_step": result.ms_per_step,
        "steps": result.steps,
    }
    if not test:
        return found | {"rate": rate}
    rows, scans = measured(job, sets, result, number, mark)
    return found | {"rate": rate, "rows": rows, "scans": scans, "progress": progress(job, result, mark)}


def with_rate(recipe: Recipe, rate: float | None) -> Recipe:
    """The recipe with another learning rate."""
    if rate is None:
        return recipe
    optimizer = {**recipe.training.optimizer, "init_args": {**recipe.training.optimizer["init_args"], "lr": rate}}
    return Recipe(
        recipe.plan, type(recipe.training)(**{**asdict(recipe.training), "optimizer": optimizer}), recipe.repulsion
    )
