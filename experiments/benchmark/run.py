"""Measure models of many packages side by side.

    equireann benchmark --suite quick
    equireann benchmark --suite full --only mace,nequip --install true

What was measured before is not measured again; an interrupted run goes on where it was, and several processes may run the same
command. Writes records.json, tables (CSV and Markdown), figures, and report.html.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from rich.console import Console

from equireann_pyg.files import user_cache
from experiments.benchmark.measurements.records import Measurement, Record, Records, machine, mark_of
from experiments.benchmark.measurements.suites import GAIN, RATES, named, too_long
from experiments.benchmark.peers import REFERENCE, Peer, of_user, peers
from experiments.benchmark.process import Worker
from experiments.benchmark.report import publish
from experiments.benchmark.settings import PARTS, Settings, settings_of
from experiments.runs.results import locked, taken

TIMING = user_cache() / "benchmark" / "timing"
LARGEST = 60.0
"""Seconds of one call beyond which a larger system is left out."""

GIGABYTES = 16.0
"""Memory that a model may take on a CPU, so that one that wants more fails alone."""

Answer = Callable[..., dict[str, Any]]
"""Does a task, by its name and options."""


def train_by_program(program: str, task: str, **options: Any) -> dict[str, Any]:
    """Train a model by its package's own program."""
    from experiments.benchmark.own.training import own_training  # two packages' settings: only where wanted

    return own_training(program, **options)


def possible(peer: Peer, measurement: Measurement) -> bool:
    """Whether a model can be measured so: what cannot be trained here, C++ behind a calculator, is checked and timed only."""
    special = {"step", "dtype", "threads", "cutoff"} & set(measurement.options)
    return peer.trains or (measurement.task in ("check", "speed") and not special)


class Benchmark:
    """One run of the command.

    Args:
        settings: what it was asked for.
        console: for progress.
    """

    def __init__(self, settings: Settings, console: Console | None = None) -> None:
        self.settings, self.console = settings, console or Console(soft_wrap=True)
        self.suite = settings.plan
        self.records = Records(settings.folder / "records.json")
        self.here = machine(settings.device)

    def run(self) -> None:
        """Measure what is missing of every model, and write the report."""
        models = self.models()
        for name, peer in models.items():
            if self.ready(peer):
                self.measure(peer, name)
        publish(self.records, self.settings.folder, peers() | models, self.here)

    def models(self) -> dict[str, Peer]:
        """Models that take part: of the benchmark by name, that of the user by its path.

        Raises:
            ValueError: if there is no such model.
        """
        mine = {} if self.settings.model is None else {self.settings.model: of_user(self.settings.model)}
        only = self.settings.only or ([REFERENCE] if mine else ())
        known = peers()
        return {name: known[name] for name in named(only, known)} | mine

    def ready(self, peer: Peer) -> bool:
        """Whether the package of a model is there, or can be installed."""
        if peer.installed:
            return True
        if not self.settings.install:
            self.console.print(f"{peer.name}: not installed; --install true makes its environment")
            return False
        try:
            peer.environment.install(self.console.print)  # type: ignore[union-attr]
        except (RuntimeError, OSError) as error:
            self.console.print(f"{peer.name}: cannot be installed: {error}", style="red", markup=False)
            return False
        return True

    def measure(self, peer: Peer, name: str) -> None:
        """All that is missing of one model."""
        with ExitStack() as stack:
            worker: Worker | None = None
            for measurement in self.missing(peer, [Measurement("check")] * self.suite.checks, self.suite.speed):
                if measurement.task == "memory":  # by a process that has done nothing else
                    self.ask_fresh(peer, name, measurement)
                    continue
                worker = worker or stack.enter_context(self.worker(peer, name))
                if not self.ask(worker.ask, peer, measurement):
                    worker = None  # what has failed once is not relied on
        for measurement in self.missing(peer, self.trainings(peer)):
            self.ask_fresh(peer, name, measurement)
        for measurement in self.missing(peer, self.by_programs(peer)):
            self.ask(partial(train_by_program, peer.program), peer, measurement)

    def missing(self, peer: Peer, *measurements: Iterable[Measurement]) -> Iterator[Measurement]:
        """Measurements that are wanted and possible and not done; each is looked at when it is due."""
        for measurement in chain(*measurements):
            wanted = measurement.task in self.parts() and possible(peer, measurement)
            if wanted and not self.done(peer, measurement) and not self.hopeless(peer, measurement):
                yield measurement

    def ask_fresh(self, peer: Peer, name: str, measurement: Measurement) -> None:
        """Measure in a process of its own."""
        with self.worker(peer, name) as worker:
            self.ask(worker.ask, peer, measurement)

    def parts(self) -> tuple[str, ...]:
        """Kinds of measurements that are wanted."""
        return self.settings.parts or PARTS

    def worker(self, peer: Peer, name: str) -> Worker:
        """A fresh process of a model."""
        return Worker(peer, name, GIGABYTES if self.settings.device == "cpu" else None)

    def trainings(self, peer: Peer) -> Iterator[Measurement]:
        """Trials of learning rates on a set, then trainings with one of them; each is asked for when it is due."""
        suite = self.suite
        for case in suite.cases:
            rate = float(peer.recipe.training.optimizer["init_args"]["lr"])
            trials = [self.training(case, 0, rate * f, minutes=suite.trial_minutes, test=False) for f in RATES]
            if suite.trial_minutes:
                yield from trials
                if not all(self.done(peer, trial) for trial in trials):
                    continue  # another process is at one of them
                rate = self.best_rate(peer, trials) or rate
            for seed in suite.seeds:
                yield self.training(case, seed, rate, minutes=suite.minutes)
            for epochs in [number for name, number in suite.equal_epochs if name == case]:
                yield self.training(case, 0, rate, epochs=epochs)

    def by_programs(self, peer: Peer) -> Iterator[Measurement]:
        """Trainings by the package's own program, where it has one here."""
        wanted = self.suite.own and bool(peer.program) and self.settings.device == "cpu"
        for case in self.suite.cases * wanted:
            yield Measurement("own", {"case": case, "minutes": self.suite.minutes, "seed": 0})

    def training(self, case: str, seed: int, rate: float, **budget: Any) -> Measurement:
        """A training."""
        return Measurement("train", {"case": case, "seed": seed, "rate": float(f"{rate:.3g}"), **budget})

    def best_rate(self, peer: Peer, trials: list[Measurement]) -> float | None:
        """The published learning rate, unless that of another trial makes the force error on validation frames much smaller."""
        found = {trial.options["rate"]: self.record_of(peer, trial) for trial in trials}
        errors = {
            rate: made.answer["validation"]["forces_rmse"] for rate, made in found.items() if made and made.answer
        }
        if not errors:
            return None
        published, best = trials[RATES.index(1.0)].options["rate"], min(errors, key=errors.__getitem__)
        return published if errors[best] > GAIN * errors.get(published, math.inf) else best

    def done(self, peer: Peer, measurement: Measurement) -> bool:
        """Whether there is a record already; of a failure, too, unless failures are to be tried again."""
        record = self.record_of(peer, measurement)
        return record is not None and not (self.settings.retry and record.error)

    def record_of(self, peer: Peer, measurement: Measurement) -> Record | None:
        """Record of a measurement on this machine, if there is one."""
        return self.records.find(peer, measurement, self.here)

    def hopeless(self, peer: Peer, measurement: Measurement) -> bool:
        """Whether a large crystal would take too long, by what smaller ones took; that is recorded."""
        if measurement.task != "speed":
            return False
        smaller = Measurement("speed", {**measurement.options, "system": "copper 108"})
        record = self.record_of(peer, smaller)
        if record is None or not record.answer:
            return False
        answer = record.answer
        seconds = too_long(answer["ms"], answer["atoms"], str(measurement.options["system"]), LARGEST)
        if seconds is not None:
            self.keep(peer, measurement, error=f"left out: one call would take {seconds:.0f} s")
        return seconds is not None

    def ask(self, answer: Answer, peer: Peer, measurement: Measurement) -> bool:
        """Measure, unless another process is at it, and keep what came of it; whether nothing went wrong."""
        options = dict(measurement.options) | self.surroundings(peer, measurement.task)
        with taken(self.work / f"{peer.name} {measurement.title}".replace("/", "-")) as ours:
            if not ours:
                self.console.print(f"{peer.name}, {measurement.title}: another process is at it")
            if not ours or self.done(peer, measurement):
                return True
            self.console.print(f"{peer.name}, {measurement.title} ...")
            try:
                with self.alone(measurement.task):
                    found = answer(measurement.task, **options)
            except Exception as error:  # a package may fail in any way
                self.console.print(f"{peer.name}, {measurement.title}: {error}", style="red", markup=False)
                self.keep(peer, measurement, error=str(error) or type(error).__name__)
                return False
            self.keep(peer, measurement, found)
            return True

    @contextmanager
    def alone(self, task: str) -> Iterator[None]:
        """Times are taken by one process of this command at once, whatever its folder."""
        with locked(TIMING) if task == "speed" else nullcontext():
            yield

    def surroundings(self, peer: Peer, task: str) -> dict[str, Any]:
        """Options of a task that are no part of the measurement: where it is done, and how long it may take."""
        device = {"device": self.settings.device}
        files = {
            "data": str(self.settings.data),
            "folder": str(self.work / f"{peer.name} {mark_of(peer)}".replace("/", "-")),
        }
        found: dict[str, dict[str, Any]] = {
            "speed": device | {"seconds": self.suite.seconds},
            "memory": device,
            "train": device | files,
            "own": files,
        }
        return found.get(task, {})

    @property
    def work(self) -> Path:
        """Folder of checkpoints and locks."""
        return self.settings.folder / "work"

    def keep(self, peer: Peer, measurement: Measurement, answer: dict[str, Any] | None = None, error: str = "") -> None:
        """Add a record."""
        options = dict(measurement.options)
        self.records.add(Record(peer.name, measurement.task, options, mark_of(peer), answer or {}, error, self.here))


def main(options: Any) -> None:
    """Run what ``equireann benchmark`` asks for.

    Raises:
        ValueError: for a model, part or set that there is not.
    """
    Benchmark(settings_of(options)).run()
