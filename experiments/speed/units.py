"""Parts of the measurement on a CUDA device: which contestants take turns on which case, and how one part is measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from torch_geometric.data import Data

from equireann_pyg import EquiREANN
from experiments.speed import rivals
from experiments.speed.card import CardCeilings
from experiments.speed.cases import CASES
from experiments.speed.clock import Sample, Watch, middle, peak_bytes, reason, require_device, spread, take_turns
from experiments.speed.clock import watch_of as watch_of_call
from experiments.speed.floor import Ceilings, floor_seconds, sizes_of
from experiments.speed.measure import AGREEMENT
from experiments.speed.report import Row

GROUPS = ("operators", "latency", "training", "crystal", "million", "peers")
REFERENCE = "plus-m kernels"  # what all other times of a case are compared with


@dataclass(frozen=True)
class Unit:
    """Contestants that take turns.

    Args:
        group: one of :data:`GROUPS`.
        case: name of a system; of the group ``million`` with the number of atoms of a cube of copper.
        step: ``"inference"``, ``"training"`` or ``"optimiser"``.
        contestants: names of them.
    """

    group: str
    case: str
    step: str
    contestants: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.group}/{self.case}/{self.step}"


@dataclass(frozen=True)
class Choice:
    """What is measured.

    Args:
        groups: of :data:`GROUPS`.
        models: of :data:`~experiments.speed.rivals.MODELS`.
        paths: of :data:`~experiments.speed.rivals.ALL_PATHS`.
        quick: few cases, and nothing that torch compiles.
    """

    groups: tuple[str, ...]
    models: tuple[str, ...]
    paths: tuple[str, ...]
    quick: bool = False


def units_of(choice: Choice) -> list[Unit]:
    """All parts, the most important ones first."""
    return [unit for group in GROUPS if group in choice.groups for unit in _units(group, choice)]


def _units(group: str, choice: Choice) -> Iterator[Unit]:
    quick = choice.quick
    if group == "operators":
        yield from (Unit(group, case, "operators") for case in ("cu10192", "mol64"))
    if group == "latency":
        for case in ("mol1",) if quick else ("mol1", "cu108"):
            yield Unit(group, case, "inference", _ours(choice, ("plain", "kernels", "compiled", "graphed")))
    if group == "training":
        for case in ("mol64",) if quick else ("mol64", "train8", "cu864"):
            yield Unit(group, case, "training", _ours(choice, ("plain", "kernels", "compiled", "graphed")))
        yield Unit(group, "mol64", "optimiser", ("plus-m Muon", "plus-m Adam"))
    if group == "crystal":
        paths = ("plain", "kernels", "compiled", "graphed", "blocks")
        for case in ("cu10192",) if quick else ("cu10192", "cu864", "mol64"):
            yield Unit(group, case, "inference", _ours(choice, paths))
        if not quick:
            yield Unit(group, "cu100920", "inference", _ours(choice, ("kernels", "graphed", "blocks")))
    if group == "million":
        for case in ("cu131072",) if quick else ("cu131072", "cu1000188"):
            yield Unit(group, case, "inference", ("plus-m blocks",))
    if group == "peers":
        ours = (*_ours(choice, ("kernels", "graphed"), ("plus-m", "EquiREANN")), "SchNet kernels")
        cases = [("mol64", "inference"), ("cu864", "inference"), ("mol64", "training"), ("cu10192", "inference")]
        for case, step in cases:
            yield Unit(group, case, step, (*ours, *rivals.WORKERS))


def _ours(choice: Choice, paths: Sequence[str], models: Sequence[str] = ("plus-m", "EquiREANN")) -> tuple[str, ...]:
    """Contestants of our models: every path of the two main ones, of the others the kernels."""
    names = []
    for model in dict.fromkeys((*models, *choice.models)):
        wanted = paths if model in models else paths[paths.index("kernels") : paths.index("kernels") + 1]
        if model in choice.models and model != "SchNet":
            names += [f"{model} {path}" for path in wanted if path in choice.paths]
    return tuple(names)


@dataclass
class Measuring:
    """Measures one unit.

    Args:
        device: where.
        seconds: time for its rounds.
        ceilings: what the device does at best.
        sites: folders with packages of the peers.
        note: called with a contestant before anything of it runs.
        without: contestants that are left out, since they broke an earlier process.
    """

    device: torch.device
    seconds: float
    ceilings: CardCeilings
    sites: tuple[Path, ...] = ()
    note: Callable[[str], None] = lambda name: None
    without: frozenset[str] = frozenset()
    _expected: dict[str, Tensor | None] = field(default_factory=dict)

    def rows(self, unit: Unit) -> list[Row]:
        """Rows of all contestants; of those that failed with the reason."""
        self._expected.clear()
        data = CASES[unit.case]().to(str(self.device))
        names = [name for name in unit.contestants if name not in self.without]
        watches, facts = dict[str, Watch](), {name: Row() for name in names}
        with ExitStack() as stack:
            for name in names:
                self.note(name)
                try:
                    watches[name] = self._prepared(name, unit.step, data, facts[name], stack)
                except Exception as error:
                    facts[name]["note"] = f"failed: {reason(error)}"
                    require_device()
            turns = take_turns(watches, self.seconds, note=self.note)
        for name, why in turns.failed.items():
            facts[name]["note"] = f"failed: {why}"
        floor = self._floor(data) if unit.step in ("inference", "training") else None
        for name, samples in turns.samples.items():
            facts[name] |= figures(samples, data.z.numel(), turns.samples.get(REFERENCE))
            if name.startswith("EquiREANN ") and floor is not None:
                facts[name]["to floor"] = f"{middle(samples) / getattr(floor, unit.step):.3g}"
        start = {"case": unit.case, "step": unit.step}
        return [start | {"contestant": name} | facts[name] for name in names]

    def _prepared(self, name: str, step: str, data: Data, facts: Row, stack: ExitStack) -> Watch:
        """Watch of a contestant that has run once, and agrees with the plain path where it is ours."""
        if name in rivals.WORKERS:
            watch = rivals.worker_watch(name, step, data, self.sites, stack)
            watch(1)
            return watch
        if step == "optimiser":
            call = rivals.optimiser_call(name, data)
            call()
            return watch_of_call(call, self.device)
        call = rivals.our_call(name, step, data)
        model, _, path = name.rpartition(" ")
        parameters = list(rivals.model_of(model, self.device).parameters())
        found = rivals.results_of(call, step, parameters)
        if path != "plain" and data.z.numel() < 20000 and model != "SchNet":
            self._compare(model, step, data, found, facts)
        if peak := peak_bytes(call, self.device):
            facts["peak MB"] = f"{1e-6 * peak:.4g}"
        return watch_of_call(call, self.device)

    def _compare(self, model: str, step: str, data: Data, found: Tensor, facts: Row) -> None:
        if model not in self._expected:
            self._expected[model] = rivals.expected_of(model, step, data)
        expected = self._expected[model]
        if expected is None:
            return
        value = float((found - expected).abs().max() / expected.abs().max())
        facts["deviation"] = f"{value:.1e}"
        if not value < AGREEMENT:
            raise RuntimeError(f"differs from the plain path by {value:.1e}; expected < {AGREEMENT:g}")

    def _floor(self, data: Data) -> object:
        """Least time of the paper's model on this device."""
        model = rivals.model_of("EquiREANN", self.device).model
        assert isinstance(model, EquiREANN)
        return floor_seconds(sizes_of(model, data), Ceilings(self.ceilings.gflops, self.ceilings.gbytes))


def figures(samples: list[Sample], atoms: int, reference: Iterable[Sample] | None) -> Row:
    """Times of a contestant as they stand in the table."""
    seconds = middle(samples)
    row: Row = {
        "rounds": len(samples),
        "ms": f"{1e3 * seconds:.4g}",
        "spread": f"{spread(samples):.3f}",
        "wall ms": f"{1e3 * middle(samples, 'wall'):.4g}",
        "us/atom": f"{1e6 * seconds / atoms:.4g}",
    }
    if reference:
        row["to plus-m"] = f"{seconds / middle(list(reference)):.3g}"
    return row
