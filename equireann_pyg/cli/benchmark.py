"""Compare models of many packages: ``equireann benchmark``, which belongs to a clone of the repository."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any, Literal

from jsonargparse import ArgumentParser
from jsonargparse.typing import NonNegativeInt, PositiveFloat

CLONE = Path(__file__).parents[2]
"""Folder above the package: that of the repository, unless the package was installed from a wheel."""


def parser() -> ArgumentParser:
    """Options of ``equireann benchmark``."""
    made = ArgumentParser(
        prog="equireann benchmark",
        description="Compare models of many packages: times, memory, errors (in a clone of the repository).",
    )
    made.add_argument(
        "--suite", type=Literal["quick", "full"], default="quick", help="a minute for each model, or everything"
    )
    made.add_argument("--only", type=str, default="", help="parts of names of models, with commas: mace,nequip")
    made.add_argument("--model", type=str | None, default=None, help="a model of yours, MODULE:CLASS")
    made.add_argument("--device", type=Literal["cpu", "cuda"], default="cpu", help="where to measure")
    made.add_argument(
        "--install", type=bool, default=False, help="make the environments of packages that are not there"
    )
    made.add_argument("--retry", type=bool, default=False, help="measure again what failed before")
    made.add_argument("--parts", type=str, default="", help="of check,speed,memory,train,own; default: all")
    made.add_argument("--cases", type=str, default="", help="only these sets, with commas")
    made.add_argument("--seeds", type=list[NonNegativeInt], default=[], help="of every training")
    made.add_argument("--minutes", type=PositiveFloat | None, default=None, help="of each training")
    made.add_argument("--data", type=Path | None, default=None, help="folder of data sets; default: the user's cache")
    made.add_argument("--out", type=Path | None, default=None, help="folder of the results")
    return made


def run(options: Any) -> None:
    """``equireann benchmark``.

    Raises:
        ValueError: if there is no clone of the repository, or an option names what there is not.
    """
    if not (CLONE / "experiments" / "benchmark" / "run.py").is_file():
        raise ValueError(
            "benchmark: the other models and the cases belong to the repository, not to the wheel: clone it, "
            "`pip install -e .` there, and run the command again"
        )
    for folder in (str(CLONE), str(Path.cwd())):  # a user's model may lie here
        if folder not in sys.path:
            sys.path.insert(0, folder)
    importlib.import_module("experiments.benchmark.run").main(options)
