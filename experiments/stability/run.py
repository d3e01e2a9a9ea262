"""Molecular dynamics at constant energy, and the scans of acetylacetone, with potentials of the accuracy experiment.

    python -m experiments.stability.run [--quick] [--data FOLDER] [--case 3bpa acac] [--model EquiREANN-plus-m]
    python -m experiments.stability.run --checkpoint best.ckpt --case acac --model mine

Starts from test frames at 300, 600 and 1200 K, 50 ps each. An interrupted run goes on where it was; what is finished is
skipped; two processes may share the work. Adds to results.csv, traces.csv and scans.csv, then prints and draws all so far.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
from ase.calculators.calculator import Calculator
from rich.console import Console

from equireann_pyg import load_potential
from equireann_pyg.evaluation import predict
from equireann_pyg.files import user_cache
from experiments.accuracy.cases import CASES
from experiments.runs import results
from experiments.runs.models import standard
from experiments.runs.results import SCAN_COLUMNS, Row
from experiments.runs.rows import cpu, scan_rows
from experiments.runs.run import be_quiet
from experiments.stability import report
from experiments.stability.dynamics import TIMESTEP, Trace, propagate, thermalised
from experiments.stability.molecule import Bonds
from experiments.stability.suite import FOLDER, STARTS, calculator, digest, frame, trained

COLUMNS = (
    *(
        "case",
        "model",
        "seed",
        "temperature",
        "replica",
        "ps",
        "wanted_ps",
        "left",
        "mean_temperature",
        "drift",
        "spread",
    ),
    *("ms_per_step", "cpu", "date", "recipe"),
)
"""Columns of ``results.csv``: drift in meV per atom and ps, spread in meV per atom, times in ps."""

TRACE_COLUMNS = ("case", "model", "seed", "temperature", "replica", "ps", "energy", "kelvin")
"""Columns of ``traces.csv``: total energy since the start in meV per atom, temperature in K."""

KEY = ("case", "model", "seed", "temperature", "replica")
SHOWN = 100
"""Samples of a trajectory that are kept in ``traces.csv``."""

QUICK_PS = 0.2


@dataclass(frozen=True)
class Trajectory:
    """One trajectory.

    Args:
        case: molecule.
        model: name of the model.
        seed: of its training.
        temperature: in K.
        replica: number of the trajectory.
        replicas: how many there are.
    """

    case: str
    model: str
    seed: int
    temperature: int
    replica: int
    replicas: int

    @property
    def key(self) -> Row:
        """Entries that tell it from others."""
        return {name: str(getattr(self, name)) for name in KEY}

    @property
    def title(self) -> str:
        """For messages."""
        return f"{self.case}, {self.model}, {self.temperature} K, replica {self.replica}"


def options_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_PS} ps of quickly trained potentials")
    parser.add_argument("--case", nargs="+", choices=list(STARTS), default=list(STARTS))
    parser.add_argument("--model", default=standard(), help="name of the model (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of its training")
    parser.add_argument("--checkpoint", type=Path, help="in place of the potential of the accuracy experiment")
    parser.add_argument("--temperature", nargs="+", type=int, choices=(300, 600, 1200), default=[300, 600, 1200])
    parser.add_argument("--replicas", type=int, default=1)
    parser.add_argument("--ps", type=float, default=50.0)
    parser.add_argument("--data", type=Path, default=user_cache() / "datasets", help="folder of the data sets")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the tables")
    return parser.parse_args(arguments)


def table(options: argparse.Namespace, name: str) -> Path:
    """File of a table; those of quick runs lie among the states."""
    return options.out / "work" / f"{name}-quick.csv" if options.quick else options.out / f"{name}.csv"


def run_trajectory(job: Trajectory, checkpoint: Path, potential: Calculator, options: argparse.Namespace) -> str:
    """Propagate, unless that is done or another process does it; what to say of it."""
    mark, ps = digest(checkpoint), QUICK_PS if options.quick else options.ps
    file = options.out / "work" / ("-".join([*job.key.values(), mark]) + ".npz")
    done = job.key | {"recipe": mark, "wanted_ps": f"{ps:g}"}
    with results.taken(file) as ours:
        if not ours:
            return f"{job.title}: another process is at it"
        if any(
            all(row[name] == value for name, value in done.items()) for row in results.read(table(options, "results"))
        ):
            return f"{job.title}: finished before"
        start = STARTS[job.case][job.temperature]
        atoms = frame(start, options.data, job.replica, job.replicas)
        atoms = thermalised(atoms, job.temperature, start.sampled_at, job.replica)
        atoms.calc = potential
        steps = round(1000 * ps / TIMESTEP)
        trace = propagate(atoms, job.temperature, steps, Bonds.of(atoms), file)
        results.append(table(options, "traces"), traces(job, trace), TRACE_COLUMNS, KEY)
        row = measured(trace) | done | {"ms_per_step": f"{1e3 * trace.busy / max(1.0, trace.samples[-1, 0]):.3g}"}
        results.append(table(options, "results"), [row | {"cpu": cpu(), "date": str(date.today())}], COLUMNS, KEY)
        return f"{job.title}: {trace.left or 'stays'} ({row['ps']} ps), drift {row['drift']} meV/atom/ps"


def measured(trace: Trace) -> Row:
    """What a trajectory says."""
    return {
        "ps": f"{trace.ps[-1]:g}",
        "left": trace.left,
        "mean_temperature": f"{np.nanmean(trace.samples[:, 2]):.4g}",
        "drift": f"{trace.drift():.3g}",
        "spread": f"{trace.spread():.3g}",
    }


def traces(job: Trajectory, trace: Trace) -> list[Row]:
    """Some samples of a trajectory."""
    stride = -(-len(trace.samples) // SHOWN)
    points = zip(trace.ps[::stride], trace.energy[::stride], trace.samples[::stride, 2], strict=True)
    return [job.key | {"ps": f"{t:g}", "energy": f"{e:.4g}", "kelvin": f"{k:.4g}"} for t, e, k in points]


def scans(case: str, model: str, checkpoint: Path, options: argparse.Namespace) -> list[Row]:
    """Energies along the scans of a molecule."""
    kept = {"case": case, "model": model, "seed": str(options.seed), "recipe": digest(checkpoint)}
    potential, rows = load_potential(checkpoint), []
    for split, part in CASES[case].tests.items():
        if part.scan is not None and not part.optional:
            frames = part.load(options.data, potential.cutoff)
            energies = [float(output["energy"]) for output in predict(potential, frames.graphs)]
            rows += scan_rows(kept, split, frames, part.scan, energies)
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, and print the tables; number of cases that could not be run."""
    options, console, failures = options_of(arguments), Console(soft_wrap=True), 0
    be_quiet(options.threads)
    for case in options.case:
        try:
            checkpoint = options.checkpoint or trained(case, options.model, options.seed, options.quick)
            potential = calculator(checkpoint, options.quick, console)
            found = scans(case, options.model, checkpoint, options)
        except (FileNotFoundError, ValueError) as error:
            console.print(f"[red]{case}: left out[/red]: {error}")
            failures += 1
            continue
        if found:
            results.append(table(options, "scans"), found, SCAN_COLUMNS)
        for temperature in options.temperature:
            for replica in range(options.replicas):
                job = Trajectory(case, options.model, options.seed, temperature, replica, options.replicas)
                console.print(run_trajectory(job, checkpoint, potential, options))
    report.write(options.out, options.quick)
    return failures


if __name__ == "__main__":
    sys.exit(min(main(), 1))
