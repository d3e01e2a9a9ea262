"""Every operator by its kernel and by its reference: time, bytes per second and deviation, for each order of derivative.

    python -m experiments.speed.operators [--device cuda] [--cases cu10192 mol64] [--names orbital_sum] [--seconds 0.3]

The arguments are those that EquiREANN-plus-m gives its operators for a case; the densities are those of EquiREANN. Bytes are
counted as if every input were read once and every result written once.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from equireann_pyg import EquiREANN, EquiREANNPlus, edge_vectors
from equireann_pyg.ops import Operator, by_reference
from experiments.speed.card import card_ceilings, card_line, card_name, device_of
from experiments.speed.cases import CASES, potential
from experiments.speed.clock import LostDeviceError, Sample, middle, reason, require_device, take_turns, watch_of
from experiments.speed.report import Row, table
from experiments.speed.rows import OPERATOR_COLUMNS, OPERATOR_KEYS, merge, say_machine

ORDERS = ("forward", "first", "second")
DEFAULT_CASES = {"cuda": ("cu10192", "mol64"), "cpu": ("mol1",)}


@dataclass(frozen=True)
class Recorded:
    """One call of an operator.

    Args:
        operator: which.
        values: its arguments.
        fields: places of what forces are differentiated by.
        varying: places of what a training step is differentiated by.
    """

    operator: Operator[Any, Any]
    values: tuple[Any, ...]
    fields: tuple[int, ...] = ()
    varying: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """Name of the operator."""
        return self.operator.__name__  # type: ignore[attr-defined]

    @property
    def shapes(self) -> str:
        """Shapes of what varies: ``10192x16x96 4x96x64``."""
        varying = [value for value in self.values if isinstance(value, Tensor) and value.is_floating_point()]
        return " ".join("x".join(map(str, value.shape)) or "1" for value in varying)


@contextmanager
def recording() -> Iterator[list[Recorded]]:
    """Within this context the outermost calls of all operators are written down."""
    calls: list[Recorded] = []
    original, inside = Operator.__call__, [False]

    def call(self: Operator[Any, Any], *args: Any, **kwargs: Any) -> Any:
        if inside[0]:
            return original(self, *args, **kwargs)
        values = self._all(args, kwargs)
        wanted = tuple(k for k, value in enumerate(values) if isinstance(value, Tensor) and value.requires_grad)
        calls.append(Recorded(self, tuple(v.detach() if isinstance(v, Tensor) else v for v in values), wanted, wanted))
        inside[0] = True
        try:
            return original(self, *args, **kwargs)
        finally:
            inside[0] = False

    Operator.__call__ = call  # type: ignore[method-assign]
    try:
        yield calls
    finally:
        Operator.__call__ = original  # type: ignore[method-assign]


def recorded(case: str, device: torch.device) -> list[Recorded]:
    """Calls of EquiREANN-plus-m, and the densities of EquiREANN; those of equal shapes once."""
    data, found = CASES[case]().to(str(device)), dict[tuple[str, str], Recorded]()
    for kind, names in ((EquiREANNPlus, None), (EquiREANN, ("density",))):
        model, calls = potential(kind).to(device).model.train(), []  # type: ignore[var-annotated]
        for training in (False, True):
            model.requires_grad_(training)
            with recording() as made:
                model(data.z, data.edge_index, edge_vectors(data).float().requires_grad_())
            calls.append(made)
        for inference, trained in zip(*calls, strict=True):
            one = Recorded(inference.operator, inference.values, inference.fields, trained.varying)
            if names is None or one.name in names:
                found.setdefault((one.name, one.shapes), one)
    return list(found.values())


def size_of(values: Iterable[Any]) -> int:
    """Bytes of all tensors among some values."""
    return sum(value.numel() * value.element_size() for value in values if isinstance(value, Tensor))


def orbital_sum_bytes(atoms: int, edges: int, radial: int, messages: int, components: int) -> int:
    """Bytes of the sum over neighbours with messages in channels of their own, forward, in float32.

    Coefficients, messages and their filters, radial and angular functions, edges (8 bytes an index) and their order (4), and
    the sum itself.
    """
    of_atom = 4 * (radial + components * messages + components * (radial + messages))
    of_edge = 4 * (radial + components + messages) + 2 * 8 + 2 * 4
    return atoms * of_atom + edges * of_edge + 2 * 4 * (atoms + 1)


@dataclass(frozen=True)
class Work:
    """Something to be timed.

    Args:
        call: does it; gives its results.
        moved: bytes that it reads and writes.
    """

    call: Callable[[], Sequence[Tensor]]
    moved: int


def work_of(one: Recorded, order: str) -> Work | None:
    """The operator or the derivatives of it that an evaluation needs; None where there are none."""
    seed = torch.Generator(device=one.values[0].device).manual_seed(1)
    values = list(one.values)
    if order == "forward":
        with torch.no_grad():
            moved = size_of([*values, one.operator(*values)])
        return Work(torch.no_grad()(lambda: (one.operator(*values),)), moved)
    places = one.fields if order == "first" else one.varying
    if not one.fields:
        return None
    for place in places:
        values[place] = values[place].clone().requires_grad_()
    result = one.operator(*values)
    cotangent = _like(result, seed)
    fields = [values[place] for place in one.fields]
    if order == "first":
        call = partial(torch.autograd.grad, result, fields, cotangent, retain_graph=True, materialize_grads=True)
        return Work(call, size_of([*values, cotangent, *fields]))
    cotangent.requires_grad_()
    gradients = torch.autograd.grad(result, fields, cotangent, create_graph=True, materialize_grads=True)
    pairs = [(gradient, _like(gradient, seed)) for gradient in gradients if gradient.requires_grad]
    ends, tangents = [end for end, _ in pairs], [tangent for _, tangent in pairs]
    inputs = [*(values[place] for place in places), cotangent]
    call = partial(torch.autograd.grad, ends, inputs, tangents, retain_graph=True, materialize_grads=True)
    return Work(call, size_of([*values, cotangent, *tangents, *inputs]))


def _like(tensor: Tensor, seed: torch.Generator) -> Tensor:
    return torch.randn(tensor.shape, generator=seed, dtype=tensor.dtype, device=tensor.device)


def compare(one: Recorded, order: str, seconds: float, device: torch.device) -> Row | None:
    """Times of kernel and reference, and how far apart they are."""
    row: Row = {"operator": one.name, "order": order, "shapes": one.shapes}
    served = one.operator.serving(one.values) is not None
    watches, results, moved = {}, {}, 0
    for way in ("kernel", "reference") if served else ("reference",):
        context = by_reference if way == "reference" else nullcontext
        try:
            with context():
                work = work_of(one, order)
                if work is None:
                    return None
                results[way], moved = [part.detach() for part in work.call()], work.moved
            watches[way] = watch_of(_within(context, work.call), device)
        except Exception as error:
            row["note"] = f"{row.get('note', '')} {way} {reason(error)}".strip()
            require_device()
    turns = take_turns(watches, seconds, max_rounds=10)
    for way, why in turns.failed.items():
        row["note"] = f"{row.get('note', '')} {way} {why}".strip()
    row |= figures(turns.samples, moved)
    if len(results) == 2:
        row["deviation"] = f"{deviation(results['kernel'], results['reference']):.1e}"
    return row


def _within(context: Callable[[], Any], call: Callable[[], object]) -> Callable[[], None]:
    def run() -> None:
        with context():
            call()

    return run


def figures(samples: dict[str, list[Sample]], moved: int) -> Row:
    """Microseconds of both ways, megabytes, and gigabytes per second of the kernel, or else of the reference."""
    row: Row = {"MB": f"{1e-6 * moved:.4g}"}
    times = {way: middle(some) for way, some in samples.items()}
    row |= {f"{way} us": f"{1e6 * value:.4g}" for way, value in times.items()}
    if len(times) == 2:
        row["gain"] = f"{times['reference'] / times['kernel']:.3g}"
    if times:
        row["GB/s"] = f"{1e-9 * moved / times.get('kernel', times.get('reference', 1.0)):.4g}"
    return row


def deviation(values: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """Largest difference relative to the largest number of the same tensor."""
    parts = [
        float((a - b).abs().max() / b.abs().max().clamp(min=1e-30))
        for a, b in zip(values, expected, strict=True)
        if b.numel() and bool(b.abs().max() > 0)
    ]
    return max(parts, default=0.0)


def rows_of(
    case: str, device: torch.device, seconds: float, gbytes: float, names: Sequence[str] | None = None
) -> Iterator[Row]:
    """All operators of a case; ends early, with a note, where one of them breaks the device."""
    for one in recorded(case, device):
        if names is not None and one.name not in names:
            continue
        for order in ORDERS:
            start: Row = {"card": card_name(device), "case": case}
            try:
                row = compare(one, order, seconds, device)
            except LostDeviceError as error:
                yield start | {"operator": one.name, "order": order, "shapes": one.shapes, "note": f"lost: {error}"}
                return
            if row is not None:
                share = f"{float(row['GB/s']) / gbytes:.3f}" if "GB/s" in row else ""
                yield start | row | {"of copy": share}


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--cases", nargs="+", choices=CASES, help="default: cu10192 mol64, on the CPU mol1")
    parser.add_argument("--names", nargs="+", help="operators; default all")
    parser.add_argument("--seconds", type=float, default=0.2, help="time for the rounds of one line")
    parser.add_argument("--out", type=Path, help="folder for operators.csv; default: nothing is written")
    args = parser.parse_args(arguments)
    device = device_of(args.device)
    torch.set_num_threads(1)
    small = device.type == "cpu"
    ceilings = card_ceilings(device, *((512, 1 << 24) if small else ()))
    console, rows = Console(width=170), list[Row]()
    console.print(card_line(device, ceilings), soft_wrap=True)
    for case in args.cases or DEFAULT_CASES[args.device]:
        rows += rows_of(case, device, args.seconds, ceilings.gbytes, args.names)
        if args.out is not None:
            merge(args.out / "operators.csv", rows, OPERATOR_COLUMNS, OPERATOR_KEYS)
            say_machine(args.out / "machine.txt", card_line(device, ceilings))
    console.print(table("Operators", rows, OPERATOR_COLUMNS[1:]))


if __name__ == "__main__":
    main()
