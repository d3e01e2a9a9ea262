"""What it costs to choose, at every call of an operator, between its kernel and its reference.

    python -m experiments.speed.choice

Times EquiREANN with the choice, and with the kernel taken unasked; both take turns. Prints the ratio of the median times.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

import torch
from rich.console import Console
from rich.table import Table

from equireann_pyg import EquiREANN
from equireann_pyg.ops import Operator
from experiments.speed.cases import CASES, potential
from experiments.speed.paths import STEPS, call_of
from experiments.speed.timing import interleave, stopwatch

SECONDS = 20.0  # for the rounds of each case


@contextmanager
def unasked() -> Iterator[None]:
    """Within this context every operator takes its kernel for the CPU, if it has one, whatever the arguments."""
    serving = Operator.serving
    Operator.serving = lambda self, values: self.kernels.get("cpu")  # type: ignore[method-assign]
    try:
        yield
    finally:
        Operator.serving = serving  # type: ignore[method-assign]


def cost(name: str, step: str, seconds: float = SECONDS) -> tuple[float, float]:
    """Milliseconds of a step with the choice and without it."""
    made, data = potential(EquiREANN).train(step == "training"), CASES[name]()
    call = call_of(step, made, data, made.parameters())

    def without() -> None:
        with unasked():
            call()

    samples = interleave({"with": stopwatch(call), "without": stopwatch(without)}, seconds)
    return 1e3 * median(samples["with"]), 1e3 * median(samples["without"])


def main(names: tuple[str, ...] = ("mol1", "train8", "cu864"), seconds: float = SECONDS) -> None:
    """Print the table."""
    torch.set_num_threads(1)
    table = Table("case", "step", "with the choice, ms", "without, ms", "ratio")
    for name in names:
        for step in STEPS:
            chosen, taken = cost(name, step, seconds)
            table.add_row(name, step, f"{chosen:.2f}", f"{taken:.2f}", f"{chosen / taken:.3f}")
    Console().print(table)


if __name__ == "__main__":
    main()
