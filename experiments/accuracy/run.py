"""Train REANN, EquiREANN and EquiREANN-plus on public benchmark sets.

    python -m experiments.accuracy.run [--quick] [--data FOLDER] [--case 3bpa acac] [--model EquiREANN] [--seed 0 1]

An interrupted run goes on where it was; what is finished is skipped. Adds to results.csv, then prints and
draws all results so far.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from experiments.accuracy import report
from experiments.accuracy.suite import SUITE
from experiments.runs.run import options_of, run_suite


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, and print the tables; number of jobs that failed."""
    failures = run_suite(SUITE, __doc__, arguments)
    report.main(["--quick"] * options_of(SUITE, __doc__, arguments).quick)
    return failures


if __name__ == "__main__":
    sys.exit(min(main(), 1))
