"""Train REANN, EquiREANN and EquiREANN-plus on public benchmark sets.

    python -m experiments.accuracy.run [--quick] [--data FOLDER] [--case 3bpa acac] [--model EquiREANN] [--seed 0 1]

An interrupted run goes on where it was; what is finished is skipped. Adds to results.csv, then prints and
draws all results so far.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from experiments.accuracy.cases import CASES
from experiments.benchmarks.models import models
from experiments.benchmarks.run import Suite, options_of, run_suite

MODELS = {name: recipe for name, recipe in models().items() if name != "EANN"}
SUITE = Suite(Path(__file__).parent, CASES, MODELS)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, and print the tables; number of jobs that failed."""
    from experiments.accuracy import report  # which needs the suite

    failures = run_suite(SUITE, __doc__, arguments)
    report.main(["--quick"] * options_of(SUITE, __doc__, arguments).quick)
    return failures


if __name__ == "__main__":
    sys.exit(min(main(), 1))
