"""The runner of the suites: trains what is not finished, and adds its errors to a table."""

from __future__ import annotations

import argparse
import logging
import os
import platform
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from importlib.metadata import version
from pathlib import Path

import lightning
import torch
from rich.console import Console

from equireann_pyg import Potential
from equireann_pyg.evaluation import errors_by_type, predict
from equireann_pyg.files import user_cache
from experiments.benchmarks import results
from experiments.benchmarks.case import Case, Frames, Sets, quick
from experiments.benchmarks.models import Recipe, fingerprint
from experiments.benchmarks.results import COLUMNS, SCAN_COLUMNS, Row
from experiments.benchmarks.train import Trained, train


@dataclass(frozen=True)
class Suite:
    """What is run together.

    Args:
        folder: of the experiment; has the tables, and a folder ``work`` for checkpoints.
        cases: by name.
        models: by name.
        name: of the tables: ``results`` gives ``results.csv``.
        scans: name of the table of scans; None keeps none.
        quick_cases: cases of a quick run; all by default.
    """

    folder: Path
    cases: Mapping[str, Case]
    models: Mapping[str, Recipe]
    name: str = "results"
    scans: str | None = None
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


@dataclass(frozen=True)
class Job:
    """One training.

    Args:
        case: case, with its budget.
        name: name of the model.
        recipe: the model and its training.
        seed: of parameters and shuffling.
    """

    case: Case
    name: str
    recipe: Recipe
    seed: int

    def model(self) -> torch.nn.Module:
        """The untrained model, the same for the same seed."""
        lightning.seed_everything(self.seed, verbose=False)
        return self.recipe.build(self.case.elements, self.case.cutoff, self.case.iterations)

    def mark(self, sets: Sets, model: torch.nn.Module) -> str:
        """Changes whenever the run would be another one."""
        sources = [sets.train.source, sets.val.source, *(f"{k} {v.source}" for k, v in sorted(sets.tests.items()))]
        case = self.case
        budget = [case.epochs, case.batch_size, case.energy_weight, case.stress_weight]
        return fingerprint(model, asdict(self.recipe.training), budget, sources)


def options_of(suite: Suite, description: str | None, arguments: Sequence[str] | None) -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few frames and epochs: shows that it works, no more")
    parser.add_argument("--data", type=Path, default=user_cache() / "datasets", help="folder of the data sets")
    parser.add_argument("--case", nargs="+", choices=list(suite.cases), help="only these cases")
    parser.add_argument("--model", nargs="+", choices=list(suite.models), help="only these models")
    parser.add_argument("--seed", nargs="+", type=int, default=[0])
    parser.add_argument("--epochs", type=int, help="in place of the budget of each case")
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
    os.environ.setdefault("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "1")  # checkpoints are never unpickled
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    logging.getLogger("lightning.fabric").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    torch.set_num_threads(options.threads)
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


def _cases(suite: Suite, options: argparse.Namespace) -> Iterator[Case]:
    chosen = options.case or (suite.quick_cases if options.quick else None) or suite.cases
    for name in chosen:
        yield suite.cases[name]


def _jobs(suite: Suite, case: Case, sets: Sets, options: argparse.Namespace, console: Console) -> Iterator[bool]:
    if options.quick:
        case, sets = quick(case, sets)
    if options.epochs is not None:
        case = replace(case, epochs=options.epochs)
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
    """Train and test one model, unless that is done.

    Raises:
        ValueError: if the model cannot be built or has diverged.
    """
    table, model = suite.table(suite.name, fast), job.model()
    mark, title = job.mark(sets, model), f"{job.case.name}, {job.name}, seed {job.seed}"
    key = (job.case.name, job.name, str(job.seed))
    if any(results.run_of(row) == key and row["recipe"] == mark for row in results.read(table)):
        say(f"{title}: finished before")
        return
    folder = suite.folder / "work" / f"{job.case.name}-{job.name}-seed{job.seed}-{mark}"
    trained = train(model, job.case, sets, job.recipe.training, job.seed, folder, progress=Console().is_terminal)
    rows, scans = measured(job, sets, trained, mark)
    if scans and suite.scans is not None:
        results.append(suite.table(suite.scans, fast), scans, SCAN_COLUMNS)
    results.append(table, rows, COLUMNS)
    first = rows[0]
    say(
        f"{title}: {first['split']}: energy {first['energy_rmse']} meV, forces {first['forces_rmse'] or '-'} meV/A "
        f"(RMSE), {first['seconds']} s"
    )


def measured(job: Job, sets: Sets, trained: Trained, mark: str) -> tuple[list[Row], list[Row]]:
    """Rows of all test sets, and scans."""
    rows, scans = [], []
    common = _common(job, sets, trained) | {"recipe": mark}
    for split, frames in sets.tests.items():
        outputs = predict(trained.potential, frames.graphs)
        errors = errors_by_type(outputs, frames.graphs)
        if len(errors) == 2:  # one kind: the same as all
            errors = {"all": errors["all"]}
        for kind, values in sorted(errors.items(), key=lambda item: item[0] != "all"):
            numbers = {name: f"{value:.4g}" for name, value in values.items()}
            rows.append(common | numbers | {"split": split, "config_type": kind, "source": frames.source})
        if frames.part.scan is not None:
            energies = [float(output["energy"]) for output in outputs]
            scans += _scan(common, split, frames, frames.part.scan, energies)
    return rows, scans


def _scan(common: Row, split: str, frames: Frames, entry: str, energies: list[float]) -> list[Row]:
    kept = {name: common[name] for name in ("case", "model", "seed", "recipe")}
    points = zip(frames.info(entry), frames.graphs, energies, strict=True)
    return [
        kept
        | {"split": split, "group": str(graph.get("config_type") or ""), "x": f"{float(x):.6g}"}
        | {"reference": f"{float(graph.energy):.6f}", "prediction": f"{energy:.6f}"}
        for x, graph, energy in points
    ]


def _common(job: Job, sets: Sets, trained: Trained) -> Row:
    case, potential = job.case, trained.potential
    return {
        "case": case.name,
        "model": job.name,
        "epochs": str(case.epochs),
        "steps": str(trained.steps),
        "train_frames": str(len(sets.train.graphs)),
        "batch_size": str(case.batch_size),
        "cutoff": f"{case.cutoff:g}",
        "iterations": str(getattr(potential.model, "num_iterations", "")),
        "parameters": str(parameters(potential)),
        "seed": str(job.seed),
        "seconds": f"{trained.seconds:.0f}",
        "ms_per_step": f"{trained.ms_per_step:.3g}",
        "threads": str(torch.get_num_threads()),
        "cpu": cpu(),
        "torch": version("torch"),
        "package": version("equireann_pyg"),
        "date": str(date.today()),
    }


def parameters(potential: Potential) -> int:
    """Number of trained parameters."""
    return sum(parameter.numel() for parameter in potential.parameters())


def cpu() -> str:
    """Name of the processor."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
