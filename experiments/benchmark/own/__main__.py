"""Train by a package's own program.

python -m experiments.benchmark.own --program mace --case cumulene --minutes 1 --folder FOLDER
"""

from __future__ import annotations

import argparse
import json

from equireann_pyg.files import user_cache
from experiments.benchmark.own.training import PROGRAMS, own_training


def main(arguments: list[str] | None = None) -> None:
    """Train, and print what came of it as JSON."""
    parser = argparse.ArgumentParser(prog="python -m experiments.benchmark.own", description="Own training programs")
    parser.add_argument("--program", required=True, choices=list(PROGRAMS))
    parser.add_argument("--case", required=True, help="a set of the benchmark or of another experiment")
    parser.add_argument("--minutes", type=float, default=10.0, help="of one core, for the steps")
    parser.add_argument("--data", default=str(user_cache() / "datasets"), help="folder of the data sets")
    parser.add_argument("--folder", required=True, help="for files of the training")
    parser.add_argument("--seed", type=int, default=0)
    print(json.dumps(own_training(**vars(parser.parse_args(arguments)))))


if __name__ == "__main__":
    main()
