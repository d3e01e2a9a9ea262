"""Measure what a training step costs each model, side by side, relative to REANN.

    python -m experiments.non_local.cost [--quick] [--data FOLDER] [--case c9h4-200 gnl] [--threads 1]

Processor time of energy, forces, loss and gradient of a batch of eight frames, without the optimiser; the models take
turns, and the best of several rounds counts, so that other people's load hardly shows. "REANN, as large" has the radial
channels, degrees and iterations of EquiREANN-plus, which are more than the others'. Writes cost.csv.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path

import torch
from torch_geometric.data import Batch, Data

from equireann_pyg import Potential
from equireann_pyg.files import user_cache
from equireann_pyg.training.preparation import prepare_potential
from experiments.non_local.cases import CASES
from experiments.non_local.suite import SUITE
from experiments.runs import results
from experiments.runs.case import Case
from experiments.runs.models import Recipe, standard
from experiments.runs.results import Row
from experiments.runs.rows import cpu, parameters
from experiments.runs.tables import Sheet, distinct
from experiments.speed.timing import interleave, stopwatch

BATCH_SIZE = 8
REFERENCE, LARGE = "REANN", "REANN, as large"
MEASURED = ("c9h4-200", "gnl", "cumulene", "lode")
COLUMNS = (
    "case",
    "model",
    "seed",
    "iterations",
    "parameters",
    "atoms",
    "edges",
    "ms",
    "ratio",
    "ratio_large",
    "rounds",
    "threads",
    "cpu",
)


def compared() -> dict[str, Recipe]:
    """The models of the suite, and REANN with the orbitals of EquiREANN-plus."""
    plus, plan = SUITE.models[standard(SUITE.models)].plan["init_args"], deepcopy(SUITE.models[REFERENCE].plan)
    plan["init_args"] |= {name: plus[name] for name in ("angular", "num_iterations")}
    plan["init_args"]["num_radial"] = plus["radial"]["init_args"]["num_radial"]
    return {**SUITE.models, LARGE: Recipe(plan)}


def step(potential: Potential, batch: Data) -> Callable[[], None]:
    """A training step without its optimiser."""

    def call() -> None:
        potential.zero_grad()
        output = potential(batch, stress=False)
        energy = (output["energy"] - batch.energy) / batch.z.numel()
        (energy.square().mean() + (output["forces"] - batch.forces).square().mean()).backward()

    return call


def measure(case: Case, graphs: Sequence[Data], seconds: float) -> list[Row]:
    """Cost of every model on the first frames of a training set."""
    batch = Batch.from_data_list(list(graphs[:BATCH_SIZE]))
    potentials = {}
    for name, recipe in compared().items():
        torch.manual_seed(0)
        potentials[name] = Potential(recipe.build(case.elements, case.cutoff, case.iterations))
        prepare_potential(potentials[name], graphs[:BATCH_SIZE])
        potentials[name].train()
    watches = {name: stopwatch(step(potential, batch)) for name, potential in potentials.items()}
    samples = interleave(watches, seconds)
    best = {name: min(times) for name, times in samples.items()}
    shared = {"case": case.name, "seed": "0", "atoms": str(batch.z.numel()), "edges": str(batch.edge_index.size(1))}
    machine = {"threads": str(torch.get_num_threads()), "cpu": cpu()}
    return [
        shared
        | machine
        | {"model": name, "iterations": str(potential.model.num_iterations), "parameters": str(parameters(potential))}
        | {"ms": f"{1e3 * best[name]:.4g}", "ratio": f"{best[name] / best[REFERENCE]:.3g}"}
        | {"ratio_large": f"{best[name] / best[LARGE]:.3g}"}
        | {"rounds": str(len(samples[name]))}
        for name, potential in potentials.items()
    ]


def sheet(rows: Sequence[Row]) -> Sheet:
    """Table of costs."""
    threads = ", ".join(sorted({row["threads"] for row in rows}))
    note = f"Batches of {BATCH_SIZE} frames; best of {rows[0]['rounds']} rounds or so; threads: {threads}; {rows[0]['cpu']}."
    heading = ("case", "model", "T", "parameters", "atoms", "edges", "CPU ms", f"to {REFERENCE}", f"to {LARGE}")
    made = Sheet("Cost of a training step", heading, note=note)
    columns = ("case", "model", "iterations", "parameters", "atoms", "edges", "ms", "ratio", "ratio_large")
    made.rows += [list(entries) for entries in distinct(rows, *columns)]
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one case, few rounds")
    parser.add_argument("--data", type=Path, default=user_cache() / "datasets", help="folder of the data sets")
    parser.add_argument("--case", nargs="+", choices=list(CASES), default=MEASURED)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    for name in options.case[:1] if options.quick else options.case:
        case = CASES[name]
        rows = measure(case, case.train.load(options.data, case.cutoff).graphs, 2.0 if options.quick else 30.0)
        results.append(SUITE.table("cost", options.quick), rows, COLUMNS)
        print(
            *(f"{row['case']}, {row['model']}: {row['ms']} ms, {row['ratio']} x {REFERENCE}" for row in rows), sep="\n"
        )


if __name__ == "__main__":
    main()
