"""One case and step: all contestants take turns."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median

from torch_geometric.data import Data

from equireann_pyg import Potential
from experiments.speed.cases import CASES
from experiments.speed.floor import Ceilings, floor_seconds, sizes_of
from experiments.speed.memory import memory_of
from experiments.speed.paths import PATHS, Evaluate, call_of, deviation, gradient_deviation, paths_for
from experiments.speed.peers import MODELS, Mace, OriginalREANN
from experiments.speed.targets import REFERENCE, Measured
from experiments.speed.timing import Stopwatch, interleave, stopwatch

OURS = ("EquiREANN", "REANN")
AGREEMENT = 1e-2
"""Forces and gradients of a path in float32 may differ by that much, relative to the largest, from those of the plain path."""


@dataclass(frozen=True)
class Group:
    """Contestants that are compared with each other.

    Args:
        case: name of a system.
        step: ``"inference"`` or ``"training"``.
        peers: names of other packages' models.
        memory: measure peak memory too.
    """

    case: str
    step: str
    peers: tuple[str, ...] = ()
    memory: bool = False


@dataclass(frozen=True)
class Options:
    """What is available and how long it may take.

    Args:
        seconds: time for the rounds of one group.
        paths: names of the paths to measure.
        ceiling: what the machine does at best.
        mace_python: interpreter with mace-torch, or None to leave MACE out.
        reann: clone of the original REANN code, or None to leave it out.
    """

    seconds: float
    paths: tuple[str, ...]
    ceiling: Ceilings
    mace_python: Path | None = None
    reann: Path | None = None


@cache
def model_of(name: str) -> Potential:
    """One potential of each kind for the whole run: what is compiled is compiled once."""
    return MODELS[name]()


@cache
def evaluator(model: str, path: str) -> Evaluate:
    """A path of a model."""
    return PATHS[path](model_of(model))


def measure(group: Group, options: Options) -> Measured:
    """Check that all paths agree, then time all contestants in turns."""
    data = CASES[group.case]()
    paths = [path for path in paths_for(group.step) if path in options.paths or path == REFERENCE]
    deviations = {
        f"{model} {path}": disagreement(model, path, group.step, data)
        for model in OURS
        for path in paths
        if path != REFERENCE
    }
    with ExitStack() as stack:
        watches = {
            f"{model} {path}": stopwatch(our_call(model, path, group.step, data)) for model in OURS for path in paths
        }
        for peer in group.peers:
            watch = peer_watch(peer, group.step, data, options, stack)
            if watch is not None:
                watches[peer] = watch
        samples = interleave(watches, options.seconds)
    floor = floor_seconds(sizes_of(model_of("EquiREANN").model, data), options.ceiling)  # type: ignore[arg-type]
    memory = memories(group, paths) if group.memory else {}
    return Measured(data.z.numel(), getattr(floor, group.step), samples, memory, deviations)


def our_call(model: str, path: str, step: str, data: Data) -> Callable[[], object]:
    """Call of one of our paths, or of a model in our potential."""
    potential = model_of(model).train(step == "training")
    return call_of(step, evaluator(model, path), data, potential.parameters())


def peer_watch(peer: str, step: str, data: Data, options: Options, stack: ExitStack) -> Stopwatch | None:
    """Stopwatch of another package's model; None where that package was not given."""
    if peer == "SchNet":
        return stopwatch(our_call("SchNet", "kernels", step, data))
    if peer == "MACE-medium" and options.mace_python is not None:
        return stack.enter_context(Mace(options.mace_python, data, step))
    if peer == "original REANN" and options.reann is not None:
        model = OriginalREANN(options.reann).train(step == "training")
        return stopwatch(call_of(step, model, data, model.parameters()))
    return None


def disagreement(model: str, path: str, step: str, data: Data) -> float:
    """Relative difference of a path's forces or gradients from those of the plain path.

    Raises:
        RuntimeError: if it is larger than rounding: then its time means nothing.
    """
    if step == "training":
        call, reference = (our_call(model, name, step, data) for name in (path, REFERENCE))
        value = gradient_deviation(call, reference, model_of(model).parameters())
    else:
        model_of(model).eval()
        value = deviation(evaluator(model, path), evaluator(model, REFERENCE), data)
    if not value < AGREEMENT:
        raise RuntimeError(
            f"{model} {path}, {step}: differs from the plain path by {value:.1e}, expected < {AGREEMENT:g}"
        )
    return value


def memories(group: Group, paths: Iterable[str]) -> dict[str, float]:
    """Peak memory of every path of EquiREANN and of SchNet."""
    contestants = {f"EquiREANN {path}": ("EquiREANN", path) for path in paths}
    if "SchNet" in group.peers:
        contestants["SchNet"] = ("SchNet", "kernels")
    return {name: memory_of(*which, group.case, group.step) for name, which in contestants.items()}


def measure_large(names: Iterable[str], seconds: float) -> dict[str, dict[int, float]]:
    """Seconds of one inference call, whole and in blocks, by path and number of atoms."""
    large = {}
    for path in ("kernels", "blocks"):
        cases = {name: CASES[name]() for name in names}
        watches = {name: stopwatch(our_call("EquiREANN", path, "inference", data)) for name, data in cases.items()}
        samples = interleave(watches, seconds)
        large[path] = {data.z.numel(): median(samples[name]) for name, data in cases.items()}
    return large
