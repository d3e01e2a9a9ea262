"""What ``equireann benchmark`` was asked for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from equireann_pyg.files import user_cache
from experiments.benchmark.measurements.suites import SUITES, Suite
from experiments.benchmark.tasks.cases import CASES

FOLDER = Path(__file__).parent
PARTS = ("check", "speed", "memory", "train", "own")


@dataclass(frozen=True)
class Settings:
    """What the command was asked for.

    Args:
        suite: name of the suite.
        only: parts of names of models.
        model: a user's model.
        device: ``"cpu"`` or ``"cuda"``.
        data: folder of data sets.
        out: folder of results.
        install: make environments that are not there.
        retry: measure again what failed before.
        parts: of :data:`PARTS`.
        cases: only these sets.
        seeds: in place of those of the suite.
        minutes: likewise, of each training.
    """

    suite: str = "quick"
    only: tuple[str, ...] = ()
    model: str | None = None
    device: str = "cpu"
    data: Path = user_cache() / "datasets"
    out: Path | None = None
    install: bool = False
    retry: bool = False
    parts: tuple[str, ...] = ()
    cases: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    minutes: float | None = None

    @property
    def folder(self) -> Path:
        """Where the results go."""
        if self.out is not None:
            return self.out
        return FOLDER / "work" / f"{self.suite}-{self.device}"

    @property
    def plan(self) -> Suite:
        """The suite with what was asked for."""
        suite = SUITES[self.suite]
        changes: dict[str, Any] = {"cases": self.cases or suite.cases, "seeds": self.seeds or suite.seeds}
        changes |= {"checks": suite.checks or "check" in self.parts, "own": suite.own or "own" in self.parts}
        return replace(suite, minutes=self.minutes or suite.minutes, **changes)


def settings_of(options: Any) -> Settings:
    """Settings of the command line.

    Raises:
        ValueError: for a model, part or set that there is not.
    """
    given = {
        name: tuple(word.strip() for word in getattr(options, name).split(",") if word.strip())
        for name in ("only", "parts", "cases")
    }
    for name, known in (("parts", PARTS), ("cases", tuple(CASES))):
        wrong = [word for word in given[name] if word not in known]
        if wrong:
            raise ValueError(f"--{name} {', '.join(wrong)}: there are {', '.join(known)}")
    data = {} if options.data is None else {"data": options.data}
    plain = {
        name: getattr(options, name) for name in ("suite", "model", "device", "install", "retry", "minutes", "out")
    }
    return Settings(**plain, **given, **data, seeds=tuple(options.seeds))
