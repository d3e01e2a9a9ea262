"""Train EANN, REANN, EquiREANN and EquiREANN-plus on the cases of non-locality.

    python -m experiments.non_local.run [--quick] [--data FOLDER] [--case c9h4-200 gnl] [--model EquiREANN] [--seed 0 1]

An interrupted run goes on where it was; what is finished is skipped. Adds to results.csv and scans.csv, then prints
and draws all results so far.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from experiments.non_local import report
from experiments.non_local.suite import SUITE
from experiments.runs.run import options_of, run_suite


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, and print the tables; number of jobs that failed."""
    failures = run_suite(SUITE, __doc__, arguments)
    report.main(["--quick"] * options_of(SUITE, __doc__, arguments).quick)
    return failures


if __name__ == "__main__":
    sys.exit(min(main(), 1))
