"""The runner of the suites: trains what is not finished, and adds its errors to a table."""

from __future__ import annotations

import argparse
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from rich.console import Console

from equireann_pyg.files import user_cache
from experiments.runs import results
from experiments.runs.case import Case, Sets, quick
from experiments.runs.job import Job
from experiments.runs.models import Recipe
from experiments.runs.results import COLUMNS, PROGRESS_COLUMNS, SCAN_COLUMNS
from experiments.runs.rows import measured, progress
from experiments.runs.train import train


@dataclass(frozen=True)
class Suite:
    """What is run together.

    Args:
        folder: of the experiment; has the tables, and a folder ``work`` for checkpoints.
        cases: by name.
        models: by name.
        name: of the tables: ``results`` gives ``results.csv``.
        scans: name of the table of scans; None keeps none.
        progress: name of the table of validation errors in the course of the trainings; None keeps none.
        quick_cases: cases of a quick run; all by default.
    """

    folder: Path
    cases: Mapping[str, Case]
    models: Mapping[str, Recipe]
    name: str = "results"
    scans: str | None = None
    progress: str | None = None
    quick_cases: Sequence[str] | None = None

    def table(self, name: str, fast: bool) -> Path:
        """File of a table; those of quick runs lie among the checkpoints and never replace full ones."""
        return self.folder / "work" / f"{name}-quick.csv" if fast else self.folder / f"{name}.csv"

    def rows(self, name: str, fast: bool) -> list[results.Row]:
        """A table in the order of cases and models, whatever was run first."""
        cases, models = list(self.cases), list(self.models)

        def place(row: results.Row) -> tuple[int, int]:
            return tuple(
                names.index(row[column]) if row[column] in names else len(names)
                for column, names in (("case", cases), ("model", models))
            )  # type: ignore[return-value]

        return sorted(results.read(self.table(name, fast)), key=place)


def options_of(suite: Suite, description: str | None, arguments: Sequence[str] | None) -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few frames and epochs: shows that it works, no more")
    parser.add_argument("--data", type=Path, default=user_cache() / "datasets", help="folder of the data sets")
    parser.add_argument("--case", nargs="+", choices=list(suite.cases), help="only these cases")
    parser.add_argument("--model", nargs="+", choices=list(suite.models), help="only these models")
    parser.add_argument("--seed", nargs="+", type=int, default=[0])
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--epochs", type=int, help="in place of the budget of each case")
    budget.add_argument("--minutes", type=float, help="likewise, in minutes of one core")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args(arguments)


def run_suite(suite: Suite, description: str | None = None, arguments: Sequence[str] | None = None) -> int:
    """Train and test all that is not finished.

    Args:
        suite: what to run.
        description: for ``--help``.
        arguments: in place of those of the process.

    Returns:
        number of jobs that failed or could not be started.
    """
    options = options_of(suite, description, arguments)
    be_quiet(options.threads)
    console, failures = Console(soft_wrap=True), 0
    for case in _cases(suite, options):
        try:
            sets = case.load(options.data)
        except (FileNotFoundError, ValueError) as error:
            console.print(f"[red]{case.name}: left out[/red]: {error}")
            failures += 1
            continue
        for name, reason in sets.missing.items():
            console.print(f"{case.name}: no {name}: {reason}")
        failures += sum(not done for done in _jobs(suite, case, sets, options, console))
    return failures


def be_quiet(threads: int) -> None:
    """Threads of the process, no chatter of Lightning, and checkpoints that are never unpickled."""
    os.environ.setdefault("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "1")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    logging.getLogger("lightning.fabric").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    torch.set_num_threads(threads)


def _cases(suite: Suite, options: argparse.Namespace) -> Iterator[Case]:
    chosen = options.case or (suite.quick_cases if options.quick else None) or suite.cases
    for name in chosen:
        yield suite.cases[name]


def _jobs(suite: Suite, case: Case, sets: Sets, options: argparse.Namespace, console: Console) -> Iterator[bool]:
    if options.quick:
        case, sets = quick(case, sets)
    if options.epochs is not None:
        case = replace(case, epochs=options.epochs)
    if options.minutes is not None:
        case = replace(case, epochs=None, minutes=options.minutes, longer={})
    for seed in options.seed:
        for name in options.model or suite.models:
            try:
                run_job(suite, Job(case, name, suite.models[name], seed), sets, options.quick, console.print)
            except ValueError as error:  # a diverged potential, or a model that cannot be built
                console.print(f"[red]{case.name}, {name}, seed {seed}[/red]: {error}")
                yield False
            else:
                yield True


def run_job(suite: Suite, job: Job, sets: Sets, fast: bool, say: Callable[[str], None]) -> None:
    """Train and test one model, unless that is done, or another process does it.

    Raises:
        ValueError: if the model cannot be built or has diverged.
    """
    mark = job.mark(sets, job.model())
    folder = suite.folder / "work" / f"{job.case.name}-{job.name}-seed{job.seed}-{mark}"
    with results.taken(folder) as ours:
        if not ours:
            say(f"{job.title}: another process is at it")
        elif _finished(suite, job, mark, fast):
            say(f"{job.title}: finished before")
        else:
            say(_run(suite, job, sets, fast, folder, mark))


def _finished(suite: Suite, job: Job, mark: str, fast: bool) -> bool:
    key = (job.case.name, job.name, str(job.seed))
    return any(
        results.run_of(row) == key and row["recipe"] == mark for row in results.read(suite.table(suite.name, fast))
    )


def _run(suite: Suite, job: Job, sets: Sets, fast: bool, folder: Path, mark: str) -> str:
    """Train, test and add to the tables; the last one says that all is done."""
    epochs = job.epochs(sets, folder.parent / f"{job.case.name}-{job.name}-{mark}.json")
    case, show = replace(job.case, epochs=epochs), Console().is_terminal
    trained = train(job.model(), case, sets, job.recipe, job.seed, folder, progress=show)
    rows, scans = measured(job, sets, trained, epochs, mark)
    if scans and suite.scans is not None:
        results.append(suite.table(suite.scans, fast), scans, SCAN_COLUMNS)
    if suite.progress is not None:
        results.append(suite.table(suite.progress, fast), progress(job, trained, mark), PROGRESS_COLUMNS)
    results.append(suite.table(suite.name, fast), rows, COLUMNS)
    first = rows[0]
    return (
        f"{job.title}: {first['split']}: energy {first['energy_rmse']} meV, forces {first['forces_rmse'] or '-'} meV/A "
        f"(RMSE), {epochs} epochs, {first['seconds']} s"
    )
