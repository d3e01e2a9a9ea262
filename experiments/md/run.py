"""Checks of the engines by physics: a solid, a liquid and a molecule, with potentials that are trained for them first.

    python -m experiments.md.run [--quick] [--data FOLDER] [--system solid liquid] [--minutes 6] [--steps 2000]

Trains EquiREANN-plus-s for some minutes of one core each, compares every engine that is installed with the calculator in
ASE, and measures what the potentials say about silicon, water and ethanol. An interrupted run goes on where it was; what is
finished is skipped. Adds to results/ (names of files end in -quick with --quick), prints all so far and draws it.
"""

from __future__ import annotations

import argparse
import hashlib
import platform
import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path

import torch
from ase import Atoms
from rich.console import Console

from equireann_pyg import EquiREANNCalculator
from equireann_pyg.files import replacing, user_cache
from experiments.md import tables
from experiments.md.apart import InDomains, InIPI
from experiments.md.engines import DTYPE, Engine, InASE, InOpenMM, InTorchSim
from experiments.md.in_lammps import InLammps
from experiments.md.long import parts_of
from experiments.md.physics import PHYSICS, Setting
from experiments.md.suite import FOLDER, MINUTES, QUICK_MINUTES, SYSTEMS, System, reference_frames, thermal, trained
from experiments.runs import results
from experiments.runs.rows import cpu
from experiments.runs.run import be_quiet

ENGINES: dict[str, type[Engine]] = {
    engine.name: engine for engine in (InASE, InTorchSim, InOpenMM, InIPI, InLammps, InDomains)
}
SAMPLES = 50
"""Of a trajectory at constant energy."""

QUICK_SHARE = 0.02
"""Of the length of the long runs in LAMMPS: that in a quick run."""


def options_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="shorter trainings and trajectories")
    parser.add_argument("--data", type=Path, default=user_cache() / "datasets", help="folder of the data sets")
    parser.add_argument("--system", nargs="+", choices=list(SYSTEMS), default=list(SYSTEMS))
    parser.add_argument("--engine", nargs="+", choices=list(ENGINES), default=list(ENGINES))
    parser.add_argument("--minutes", type=float, help="of one core, for each training")
    parser.add_argument(
        "--steps", type=int, help="of each trajectory at constant energy, in place of those of the system"
    )
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the tables and the work")
    return parser.parse_args(arguments)


class Runner:
    """What is done for one system, each part once.

    Args:
        name: of the system.
        options: of the command line.
        console: takes what there is to say.
    """

    def __init__(self, name: str, options: argparse.Namespace, console: Console) -> None:
        self.name, self.options, self.console = name, options, console
        self.system: System = SYSTEMS[name]
        self.fast: bool = options.quick
        minutes = options.minutes or (QUICK_MINUTES if self.fast else MINUTES)
        self.checkpoint = trained(self.system, minutes, self.fast, options.data, options.out, console.print)
        self.digest = hashlib.sha256(self.checkpoint.read_bytes()).hexdigest()[:8]
        wanted = options.steps or (self.system.quick_steps if self.fast else self.system.steps)
        self.every = max(1, wanted // SAMPLES)
        self.steps = self.every * (wanted // self.every)
        self.calculator = EquiREANNCalculator(self.checkpoint, dtype=DTYPE)
        self.frames = reference_frames(self.system, options.data)
        path = options.out / "work" / f"{name}-{self.digest}-{self.steps}.extxyz"
        self.snapshot = thermal(self.system, self.calculator, self.frames, self.steps // 2, path)

    def run(self) -> int:
        """All parts; number of those that failed."""
        setting = Setting(self.system, self.calculator, self.frames, self.snapshot, self.fast)
        length = f"{self.digest}-{'quick' if self.fast else 'full'}"
        parts = [(name, f"{self.digest}-{self.steps}", self._of(ENGINES[name])) for name in self.options.engine]
        parts += [(name, length, partial(measure, setting)) for name, measure in PHYSICS[self.name].items()]
        ps = self.system.long_ps * (QUICK_SHARE if self.fast else 1.0)
        for name, measure in parts_of(self.snapshot).items() if InLammps.name in self.options.engine else ():
            parts.append((name, f"{length}-{ps:g}", partial(measure, self.checkpoint, self.system, self.snapshot, ps)))
        return sum(not self._part(*part) for part in parts)

    def _of(self, kind: type[Engine]) -> Callable[[], tables.Found]:
        return lambda: self._engine(kind)

    def _engine(self, kind: type[Engine]) -> tables.Found:
        """Differences from the calculator on the snapshot, and a trajectory."""
        engine = kind(self.checkpoint, self.system.timestep)
        reference = InASE(self.checkpoint, self.system.timestep, self.calculator).values(self.snapshot)
        alone = sum(self._alone(number) for number in self.snapshot.numbers)
        numbers = tables.differences(engine.values(self.snapshot), reference, abs(reference.energy - alone))
        found = tables.moved(engine.move(self.snapshot, self.steps, self.every))
        return tables.Found(numbers + found.numbers, found.curves)

    def _alone(self, number: int) -> float:
        return Atoms([number], calculator=self.calculator).get_potential_energy()

    def _part(self, part: str, recipe: str, measure: Callable[[], tables.Found]) -> bool:
        """Measure a part, unless that is done or another process does it; False if it fails."""
        folder, ending = tables_of(self.options)
        title = f"{self.name}, {part}"
        with results.taken(self.options.out / "work" / f"{self.name}-{part}-{recipe}".replace(" ", "_")) as ours:
            done = tables.chosen(
                results.read(folder / f"results{ending}.csv"), case=self.name, part=part, recipe=recipe
            )
            if done or not ours:
                self.console.print(f"{title}: {'finished before' if done else 'another process is at it'}")
                return True
            try:
                tables.keep(folder, ending, self.name, part, recipe, measure())
            except ImportError as error:
                self.console.print(f"{title}: left out: {error}")
            except (OSError, RuntimeError, ValueError) as error:
                self.console.print(f"[red]{title}[/red]: {error}")
                return False
            else:
                self.console.print(f"{title}: done")
        return True


def tables_of(options: argparse.Namespace) -> tuple[Path, str]:
    """Folder of the tables and ending of their names."""
    return options.out / "results", "-quick" if options.quick else ""


def machine() -> str:
    """Processor and versions in a line."""
    names = ("torch", "ase", "equireann_pyg", "torch-sim-atomistic", "OpenMM", "ipi", "lammps", "phonopy")
    found = []
    for name in names:
        try:
            found.append(f"{name} {version(name)}")
        except ModuleNotFoundError:
            continue
    return f"{cpu()}, one thread, float64; Python {platform.python_version()}, {', '.join(found)}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print and draw; number of parts that failed."""
    options, console, failures = options_of(arguments), Console(soft_wrap=True), 0
    be_quiet(1)
    torch.manual_seed(0)
    for name in options.system:
        try:
            failures += Runner(name, options, console).run()
        except (FileNotFoundError, ValueError) as error:
            console.print(f"[red]{name}: left out[/red]: {error}")
            failures += 1
    folder, ending = tables_of(options)
    rows = results.read(folder / f"results{ending}.csv")
    if rows:
        tables.show(rows, console)
        tables.draw(results.read(folder / f"curves{ending}.csv"), folder / f"md{ending}.png")
        with replacing(folder / f"machine{ending}.txt") as file:
            file.write_text(machine() + "\n", encoding="utf-8")
    return failures


if __name__ == "__main__":
    sys.exit(min(main(), 1))
