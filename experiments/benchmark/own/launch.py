"""Runs MACE's own training program, and times its steps: python -m experiments.benchmark.own.launch LAPS OPTION ...

``mace_run_train`` itself, in this process; only its function for one step is wrapped.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

from experiments.benchmark.own.laps import Laps


def main() -> None:
    """Run the program with the options of the command line."""
    laps = Laps(sys.argv[1])
    program = importlib.import_module("mace.cli.run_train")
    loop: Any = importlib.import_module("mace.tools.train")
    step = loop.take_step

    def timed(*arguments: Any, **options: Any) -> Any:
        laps.start()
        found = step(*arguments, **options)
        laps.end()
        return found

    loop.take_step = timed
    sys.argv = ["mace_run_train", *sys.argv[2:]]
    try:
        program.main()
    finally:
        laps.save()


if __name__ == "__main__":
    main()
