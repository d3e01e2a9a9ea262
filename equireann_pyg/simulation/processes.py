"""Simulations on all processes that ``torchrun`` has started: the first one runs them, the others compute for it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ase.calculators.calculator import Calculator

from equireann_pyg.engines.domains.calculator import calculator_of_domains
from equireann_pyg.simulation.calculators import calculator_of


@contextmanager
def calculator_of_all(
    models: Sequence[str | Path],
    *,
    device: str = "cpu",
    dtype: str | None = None,
    skin: float = 0.5,
    block_size: int | None = None,
    allow_untrained: bool = False,
    graphed: bool = False,
) -> Iterator[Calculator | None]:
    """Calculator of the first process; None in the others, once they have nothing more to compute for it.

    The others ignore what is to stop them, Ctrl-C or SIGTERM: the first one takes it, writes what there is, and ends them.

    Args:
        models: checkpoints or ``*.pt2`` files; on several processes one checkpoint.
        device: where to compute.
        dtype: as of :func:`~equireann_pyg.simulation.calculators.calculator_of`.
        skin: extra cutoff of the neighbour list in Angstrom.
        allow_untrained: compute elements that the training set had no atom of, too.
        block_size: atoms at a time; all at once by default.
        graphed: replay recorded evaluations, on a CUDA device and in one process.

    Raises:
        ValueError: for a committee, an exported file or recorded evaluations on several processes, and whatever the calculators
            refuse.
        LostProcess: if another process has ended, or does not answer.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield calculator_of(
            models,
            device=device,
            dtype=dtype,
            skin=skin,
            block_size=block_size,
            allow_untrained=allow_untrained,
            graphed=graphed,
        )
        return
    if len(models) > 1:
        raise ValueError(
            f"a committee of {len(models)} works in one process: name one model, or start without torchrun"
        )
    if Path(models[0]).suffix == ".pt2":
        raise ValueError(
            f"{models[0]}: exported files work in one process: name the checkpoint, or start without torchrun"
        )
    if graphed:
        raise ValueError(
            "graphed: processes that wait for each other cannot be recorded: leave it out, or start without torchrun"
        )
    calculator = calculator_of_domains(
        models[0], device, dtype, skin=skin, block_size=block_size, allow_untrained=allow_untrained
    )
    if calculator.rank > 0:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        calculator.serve()
        yield None
        return
    try:
        yield calculator
    finally:
        calculator.close()
