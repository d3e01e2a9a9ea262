"""What the commands that move atoms have in common: the potential, and where it computes."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Literal

from ase.calculators.calculator import Calculator
from jsonargparse import ArgumentParser
from jsonargparse.typing import PositiveInt

from equireann_pyg.simulation.processes import calculator_of_all


def add_calculator(parser: ArgumentParser) -> None:
    """Options of the calculator of the ``models``."""
    kinds = Literal["float32", "float64"] | None
    parser.add_argument("--device", type=str, default="cpu", help="cpu, cuda, ...")
    parser.add_argument("--dtype", type=kinds, default=None, help="default: that of the file")
    parser.add_argument("--skin", type=float, default=0.5, help="Angstrom, of the neighbour list")
    parser.add_argument(
        "--allow_untrained", type=bool, default=False, help="compute elements without training atoms, too"
    )
    parser.add_argument(
        "--block_size", type=PositiveInt | None, default=None, help="atoms at a time, for large systems; default: all"
    )
    parser.add_argument(
        "--graphed", type=bool, default=False, help="replay recorded evaluations, on a GPU and for up to 100,000 atoms"
    )


def calculator(options: Any) -> AbstractContextManager[Calculator | None]:
    """The calculator that the options name; see :func:`~equireann_pyg.simulation.processes.calculator_of_all`."""
    return calculator_of_all(
        options.models,
        device=options.device,
        dtype=options.dtype,
        skin=options.skin,
        block_size=options.block_size,
        allow_untrained=options.allow_untrained,
        graphed=options.graphed,
    )
