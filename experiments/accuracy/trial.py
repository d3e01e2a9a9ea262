r"""One trial on development sets: a shipped configuration, a few changes, and the errors on frames that are held out.

    python -m experiments.accuracy.trial --case dev-aspirin --model equireann-plus --epochs 100 --note "more messages" \
        --set rule.num_messages=16 --set optimizer.lr=0.005 --set case.energy_weight=40 --batch 4

Changes may be named in full too: model.model.init_args.rule.init_args.num_messages=16. Test sets take no part. Adds a
line for each case and seed to trials.csv; an interrupted trial goes on where it was. --table prints all lines so far as
Markdown.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from equireann_pyg.evaluation import errors_by_type, predict
from equireann_pyg.files import user_cache
from experiments.accuracy.development import DEVELOPMENT
from experiments.runs import results
from experiments.runs.case import Case, Frames, Sets
from experiments.runs.config import parsed
from experiments.runs.job import Job
from experiments.runs.models import from_config
from experiments.runs.results import Row
from experiments.runs.rows import parameters
from experiments.runs.run import be_quiet
from experiments.runs.tables import Sheet
from experiments.runs.train import Trained, batch_size, train

FOLDER = Path(__file__).parent
COLUMNS = (
    *("date", "case", "model", "changes", "note", "train_energy", "train_forces", "val_energy", "val_energy_shifted"),
    *(
        "val_forces",
        "val_stress",
        "far_energy",
        "far_forces",
        "parameters",
        "ms_per_step",
        "epochs",
        "steps",
        "batch_size",
        "seconds",
        "seed",
        "recipe",
    ),
)
"""Columns of ``trials.csv``: RMSE of the total energy in meV, of forces in meV/Angstrom, of stress in meV/Angstrom^3."""

CHECKED = 100
"""Training frames on which the training error is measured."""


def options_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", nargs="+", choices=list(DEVELOPMENT), default=["dev-aspirin"])
    parser.add_argument("--model", default="equireann-plus", help="a configuration, shipped or of a file")
    parser.add_argument("--set", action="append", default=[], dest="changes", metavar="NAME=VALUE", help="change it")
    parser.add_argument("--note", default="", help="what for")
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--epochs", type=int, default=None)
    budget.add_argument("--minutes", type=float, default=5.0, help="of one core, in place of epochs (default: 5)")
    parser.add_argument("--batch", type=int, help="frames per step")
    parser.add_argument("--seed", nargs="+", type=int, default=[0])
    parser.add_argument("--data", type=Path, default=user_cache() / "datasets", help="folder of the data sets")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of trials.csv and of the checkpoints")
    parser.add_argument("--table", action="store_true", help="train nothing, print trials.csv as Markdown")
    return parser.parse_args(arguments)


def job_of(name: str, options: argparse.Namespace, seed: int) -> Job:
    """The training that the options ask for.

    Raises:
        ValueError: for a change that cannot be made.
        FileNotFoundError: for an unknown configuration.
    """
    changes = [*options.changes, *([f"case.batch_size={options.batch}"] if options.batch else [])]
    of_case = dict(parsed(change.removeprefix("case.")) for change in changes if change.startswith("case."))
    recipe = from_config(options.model, [change for change in changes if not change.startswith("case.")])
    return Job(changed(DEVELOPMENT[name], options, of_case), options.model, recipe, seed)


def changed(case: Case, options: argparse.Namespace, entries: dict[str, Any]) -> Case:
    """The case with the budget of the options and other entries.

    Raises:
        ValueError: if a case has no such entry.
    """
    try:
        return replace(case, epochs=options.epochs, minutes=options.minutes, longer={}, **entries)
    except TypeError as error:
        raise ValueError(f"case.{', case.'.join(entries)}: {error}; see experiments.runs.case.Case") from error


def errors(trained: Trained, frames: Frames) -> dict[str, float]:
    """Errors on some frames; those of the energy also without the mean error of each composition."""
    outputs = predict(trained.potential, frames.graphs)
    found = errors_by_type(outputs, frames.graphs)["all"]
    off: dict[tuple[int, ...], list[float]] = {}
    for output, graph in zip(outputs, frames.graphs, strict=True):
        composition = tuple(graph.z.sort().values.tolist())
        off.setdefault(composition, []).append(1e3 * float(output["energy"] - graph.energy))
    rest = torch.cat([torch.tensor(values) - torch.tensor(values).mean() for values in off.values()])
    return {**found, "shifted": float(rest.square().mean().sqrt())}


def run(job: Job, sets: Sets, options: argparse.Namespace) -> Row:
    """Train and measure; a training that diverges leaves a line without errors."""
    mark = job.mark(sets, job.model())
    folder = options.out / "work" / f"trial-{job.case.name}-{mark}-seed{job.seed}"
    epochs = job.epochs(sets, folder.parent / f"trial-{job.case.name}-{mark}.json")
    row = dict.fromkeys(COLUMNS, "") | {
        "date": str(date.today()),
        "case": job.case.name,
        "model": job.name,
        "changes": " ".join(options.changes),
        "note": options.note,
        "epochs": str(epochs),
        "batch_size": str(batch_size(job.case, job.recipe)),
        "seed": str(job.seed),
        "recipe": mark,
    }
    try:
        case = replace(job.case, epochs=epochs)
        trained = train(job.model(), case, sets, job.recipe, job.seed, folder, progress=Console().is_terminal)
        row |= measured(trained, sets)
    except ValueError as error:
        row["note"] += f" [no result: {error}]"
    shutil.rmtree(folder, ignore_errors=True)
    return row


def measured(trained: Trained, sets: Sets) -> Row:
    """Numbers of a trained model."""
    train_errors, val_errors = errors(trained, sets.train.thinned(CHECKED)), errors(trained, sets.val)
    numbers = {
        "train_energy": train_errors["energy_rmse"],
        "train_forces": train_errors["forces_rmse"],
        "val_energy": val_errors["energy_rmse"],
        "val_energy_shifted": val_errors["shifted"],
        "val_forces": val_errors["forces_rmse"],
        **far_from(trained, sets),
        "ms_per_step": trained.ms_per_step,
        **({"val_stress": val_errors["stress_rmse"]} if "stress_rmse" in val_errors else {}),
    }
    counts = {"parameters": parameters(trained.potential), "steps": trained.steps, "seconds": round(trained.seconds)}
    return {name: f"{value:.4g}" for name, value in numbers.items()} | {k: str(v) for k, v in counts.items()}


def far_from(trained: Trained, sets: Sets) -> dict[str, float]:
    """Errors on frames that are unlike those of the training set, where the case has such."""
    if "far" not in sets.tests:
        return {}
    found = errors(trained, sets.tests["far"])
    return {"far_energy": found["energy_rmse"], "far_forces": found["forces_rmse"]}


def sheet(rows: Sequence[Row]) -> Sheet:
    """All trials, for Markdown."""
    heading = (
        "trial",
        "case",
        "seed",
        "train",
        "validation",
        "shifted",
        "far",
        "parameters",
        "CPU ms/step",
        "steps",
        "s",
    )
    made = Sheet("Trials: RMSE, energy meV / forces meV/Å", heading)
    for row in rows:
        what = ": ".join(text for text in (f"{row['model']} {row['changes']}".strip(), row["note"]) if text)
        pairs = [f"{row[f'{part}_energy']} / {row[f'{part}_forces']}" for part in ("train", "val")]
        far = f"{row['far_energy']} / {row['far_forces']}" if row.get("far_forces") else ""
        rest = [row[name] for name in ("parameters", "ms_per_step", "steps", "seconds")]
        made.rows.append([what, row["case"], row["seed"], *pairs, row["val_energy_shifted"], far, *rest])
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the trials, one after the other; number of those without a result."""
    options, failures = options_of(arguments), 0
    table = options.out / "trials.csv"
    if options.table:
        print(sheet(results.read(table)).markdown())
        return 0
    be_quiet(options.threads)
    for name in options.case:
        try:
            sets = job_of(name, options, 0).case.load(options.data)
            for seed in options.seed:
                row = run(job_of(name, options, seed), sets, options)
                results.add(table, [row], COLUMNS)
                print(sheet([row]).markdown().splitlines()[-1], flush=True)
                failures += not row["val_forces"]
        except (ValueError, FileNotFoundError) as error:  # nothing that a line would tell
            sys.exit(f"{name}: {error}")
    return failures


if __name__ == "__main__":
    sys.exit(min(main(), 1))
