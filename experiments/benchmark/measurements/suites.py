"""What is measured: a few minutes of everything, or all of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from experiments.benchmark.measurements.records import Measurement
from experiments.benchmark.tasks.systems import SYSTEMS

RATES = (0.3, 1.0, 3.0)
"""Learning rates that are tried, in units of the published one: as many trials for each model."""

GAIN = 0.8
"""How much smaller the error has to be with another learning rate than with the published one: trials are short, and short runs
favour large rates."""

ALL_THREADS = 0
"""As number of threads: as many as there are processors."""


@dataclass(frozen=True)
class Suite:
    """What is measured of every model.

    Args:
        speed: times and memory.
        cases: sets that the models are trained on.
        minutes: of each training, of one core.
        trial_minutes: of each trial of a learning rate; 0 makes none.
        equal_epochs: sets on which all models are trained over the same number of epochs besides.
        checks: see whether the adapters are right.
        own: train by the packages' own programs as well.
        seeds: of every training.
        seconds: of each timing.
    """

    speed: tuple[Measurement, ...]
    cases: tuple[str, ...]
    minutes: float
    trial_minutes: float = 0.0
    equal_epochs: tuple[tuple[str, int], ...] = ()
    checks: bool = True
    own: bool = True
    seeds: tuple[int, ...] = (0,)
    seconds: float = 4.0


def times(systems: Iterable[str], **options: object) -> list[Measurement]:
    """Timings of some systems."""
    return [Measurement("speed", {"system": system, **options}) for system in systems]


def _full_speed() -> tuple[Measurement, ...]:
    inference = [name for name in SYSTEMS if name != "8 molecules"]
    return (
        *times(inference),
        *times(["64 molecules", "copper 108"], dtype="float64"),
        *times(["64 molecules", "copper 1008"], threads=ALL_THREADS),
        *times(["8 molecules", "copper 108"], step="training"),
        *times(["8 molecules"], step="training", dtype="float64"),
        *(time for cutoff in (4.0, 6.0, 7.0) for time in times(["copper 108"], cutoff=cutoff)),
        Measurement("memory", {"system": "8 molecules", "step": "training"}),
        Measurement("memory", {"system": "copper 1008", "step": "inference"}),
    )


SUITES = {
    "quick": Suite(
        (
            *times(["molecule", "copper 108"]),
            *times(["8 molecules"], step="training"),
            Measurement("memory", {"system": "8 molecules", "step": "training"}),
        ),
        cases=("twist",),
        minutes=0.3,
        checks=False,
        own=False,
        seconds=1.0,
    ),
    "full": Suite(
        _full_speed(),
        cases=("3bpa", "c9h4-200", "gnl", "mlearn-Mo"),
        minutes=10.0,
        trial_minutes=1.0,
        equal_epochs=(("c9h4-200", 50),),
    ),
}


def too_long(ms: float | None, atoms: int, system: str, limit: float) -> float | None:
    """Seconds that a larger crystal will take, if that is more than the limit.

    Args:
        ms: measured for a smaller crystal; None if it was not.
        atoms: of the smaller one.
        system: name of the larger one, which ends in its number of atoms.
        limit: in seconds.
    """
    size = system.rsplit(" ", 1)[-1]
    if ms is None or not size.isdigit():
        return None
    expected = 1e-3 * ms * int(size) / atoms
    return expected if expected > limit else None


def named(words: Sequence[str], names: Iterable[str]) -> list[str]:
    """Names that contain one of the words, whatever their case; all of them if there are no words.

    Raises:
        ValueError: for a word that fits nothing.
    """
    names = list(names)
    if set(words) <= set(names):  # whole names
        return [name for name in names if not words or name in words]
    for word in words:
        if not any(word.lower() in name.lower() for name in names):
            raise ValueError(f"--only {word}: no such model; there are {', '.join(names)}")
    return [name for name in names if not words or any(word.lower() in name.lower() for word in words)]
