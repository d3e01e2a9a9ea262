"""What the package promises, and how each promise is read off the measurements."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from statistics import median

import numpy as np

REFERENCE = "plain"  # the path that fast ones are compared with


@dataclass
class Measured:
    """One case and step.

    Args:
        atoms: number of atoms.
        floor: least seconds for EquiREANN, see :mod:`experiments.speed.floor`.
        samples: seconds of each contestant in each round; named ``model path``, or ``peer``.
        memory: peak memory of a call in MB, of some contestants.
        deviation: largest difference from the plain path relative to the largest force or gradient, of some contestants.
    """

    atoms: int
    floor: float
    samples: dict[str, list[float]]
    memory: dict[str, float] = field(default_factory=dict)
    deviation: dict[str, float] = field(default_factory=dict)

    def seconds(self, name: str) -> float:
        """Median seconds of one call."""
        return median(self.samples[name])

    def ratio(self, name: str, other: str) -> float:
        """Median over the rounds of the ratio of two contestants."""
        return median(a / b for a, b in zip(self.samples[name], self.samples[other], strict=True))

    def fastest(self, model: str) -> str | None:
        """The quickest contestant of a model, its reference path left out."""
        return min(_fast(self.samples, model), key=self.seconds, default=None)


@dataclass
class Results:
    """Everything that was measured.

    Args:
        cases: by case and step.
        large: seconds of one call on large systems, by path and number of atoms.
    """

    cases: dict[tuple[str, str], Measured] = field(default_factory=dict)
    large: dict[str, dict[int, float]] = field(default_factory=dict)


Reading = tuple[float, str] | None
"""Value and the path that gave it; None where something was not measured."""


@dataclass(frozen=True)
class Target:
    """One promise.

    Args:
        name: what is compared, and where.
        bound: limit of the value.
        read: value from the measurements.
        at_least: the bound is a lower one.
    """

    name: str
    bound: float
    read: Callable[[Results], Reading]
    at_least: bool = False

    def met(self, value: float) -> bool:
        """Whether a value keeps the promise."""
        return value >= self.bound if self.at_least else value <= self.bound


def against(other: str, case: str, step: str) -> Callable[[Results], Reading]:
    """Time of EquiREANN over that of another model, each by its fastest path."""

    def read(results: Results) -> Reading:
        measured = results.cases.get((case, step))
        names = [measured.fastest("EquiREANN"), measured.fastest(other)] if measured else []
        if measured is None or None in names:
            return None
        return measured.ratio(*names), " / ".join(str(name) for name in names)  # type: ignore[arg-type]

    return read


def speed_up(case: str, step: str) -> Callable[[Results], Reading]:
    """Time of the plain path over that of the fastest."""

    def read(results: Results) -> Reading:
        measured = results.cases.get((case, step))
        name = measured.fastest("EquiREANN") if measured else None
        if measured is None or name is None or f"EquiREANN {REFERENCE}" not in measured.samples:
            return None
        return measured.ratio(f"EquiREANN {REFERENCE}", name), name

    return read


def memory_share(case: str, step: str) -> Callable[[Results], Reading]:
    """Peak memory of the fastest path over that of the plain one."""

    def read(results: Results) -> Reading:
        measured = results.cases.get((case, step))
        name = measured.fastest("EquiREANN") if measured else None
        if measured is None or name not in measured.memory or f"EquiREANN {REFERENCE}" not in measured.memory:
            return None
        return measured.memory[name] / measured.memory[f"EquiREANN {REFERENCE}"], name

    return read


def over_floor(case: str, step: str) -> Callable[[Results], Reading]:
    """Time of the fastest path over the machine's floor."""

    def read(results: Results) -> Reading:
        measured = results.cases.get((case, step))
        name = measured.fastest("EquiREANN") if measured else None
        return None if measured is None or name is None else (measured.seconds(name) / measured.floor, name)

    return read


def slope(path: str) -> Callable[[Results], Reading]:
    """Exponent of the time of a path as a power of the number of atoms."""

    def read(results: Results) -> Reading:
        times = results.large.get(path, {})
        if len(times) < 2:
            return None
        atoms, seconds = zip(*times.items(), strict=True)
        return float(np.polyfit(np.log(atoms), np.log(seconds), 1)[0]), f"EquiREANN {path}"

    return read


def _fast(names: Iterable[str], model: str) -> list[str]:
    return [name for name in names if name == model or (_is_path_of(name, model) and name != f"{model} {REFERENCE}")]


def _is_path_of(name: str, model: str) -> bool:
    return name.rpartition(" ")[0] == model


TARGETS = [
    Target("EquiREANN / REANN, cu864 inference", 1.15, against("REANN", "cu864", "inference")),
    Target("EquiREANN / REANN, train8 training", 1.2, against("REANN", "train8", "training")),
    Target("EquiREANN / SchNet, cu108 inference", 0.15, against("SchNet", "cu108", "inference")),
    Target("EquiREANN / SchNet, cu864 inference", 0.10, against("SchNet", "cu864", "inference")),
    Target("EquiREANN / SchNet, mol64 inference", 0.25, against("SchNet", "mol64", "inference")),
    Target("EquiREANN / SchNet, train8 training", 0.4, against("SchNet", "train8", "training")),
    Target("EquiREANN / MACE-medium, cu108 inference", 1 / 60, against("MACE-medium", "cu108", "inference")),
    Target("EquiREANN / MACE-medium, train8 training", 1 / 40, against("MACE-medium", "train8", "training")),
    Target("plain / fast, cu864 inference", 4, speed_up("cu864", "inference"), at_least=True),
    Target("plain / fast, mol64 inference", 4, speed_up("mol64", "inference"), at_least=True),
    Target("plain / fast, train8 training", 3, speed_up("train8", "training"), at_least=True),
    Target("plain / fast, cu864 training", 3, speed_up("cu864", "training"), at_least=True),
    Target("peak memory, fast / plain, cu864 inference", 0.25, memory_share("cu864", "inference")),
    Target("peak memory, fast / plain, cu864 training", 0.25, memory_share("cu864", "training")),
    Target("time / floor, cu864 inference", 6, over_floor("cu864", "inference")),
    Target("time / floor, cu4000 inference", 6, over_floor("cu4000", "inference")),
    Target("power of atoms, 1,000 to 100,000 atoms", 1.02, slope("kernels")),
    Target("power of atoms, 1,000 to 100,000 atoms, in blocks", 1.02, slope("blocks")),
]
