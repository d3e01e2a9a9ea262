"""Bonds of ethanol stretched and compressed, with and without the repulsion of nuclei.

    python -m experiments.stability.ethanol [--quick] [--data FOLDER] [--model EquiREANN-plus-m]
    python -m experiments.stability.ethanol --checkpoint best.ckpt --label mine

Trains both on rMD17 ethanol (950 + 50 frames, 15 minutes each), relaxes the molecule, and moves one end of each bond from 0.6
to 2.5 A. A good curve has one minimum and no maximum: no hole to fall into. Adds to stretch.csv; prints a table and draws
figures/stretch.png.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from equireann_pyg.data import read_frames
from equireann_pyg.files import user_cache
from experiments.accuracy.cases import CASES
from experiments.runs import results
from experiments.runs.models import models, standard
from experiments.runs.run import Suite, be_quiet, run_suite
from experiments.stability import report, stretch
from experiments.stability.suite import FOLDER, SMALL_CUTOFF

ETHANOL = replace(CASES["rmd17-ethanol"], name="ethanol", minutes=15.0)


def suite(name: str) -> Suite:
    """A model with and without the repulsion, trained on ethanol."""
    recipe = models()[name]
    variants = {name: recipe, f"{name}{stretch.BARE}": replace(recipe, repulsion=None)}
    return Suite(FOLDER, {"ethanol": ETHANOL}, variants, "ethanol")


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, scan, and print the tables; number of trainings that failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="hardly trained")
    parser.add_argument("--model", default=standard(), choices=list(models()))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--checkpoint", type=Path, help="train nothing, take this potential")
    parser.add_argument("--label", default="checkpoint", help="its name")
    parser.add_argument("--data", type=Path, default=user_cache() / "datasets", help="folder of the data sets")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(arguments)
    be_quiet(options.threads)
    trained, failures = {options.label: options.checkpoint}, 0
    if options.checkpoint is None:
        both = suite(options.model)
        more = [
            "--data",
            str(options.data),
            "--seed",
            str(options.seed),
            "--threads",
            str(options.threads),
            *["--quick"] * options.quick,
        ]
        failures = run_suite(both, None, more)
        trained = {name: _checkpoint(both, name, options.seed, options.quick) for name in both.models}
    start = read_frames(ETHANOL.val.load(options.data, SMALL_CUTOFF).file)[0]
    lengths = stretch.LENGTHS[::10] if options.quick else stretch.LENGTHS
    table = FOLDER / "work" / "stretch-quick.csv" if options.quick else FOLDER / "stretch.csv"
    for name, checkpoint in trained.items():
        if checkpoint is not None:
            results.append(table, stretch.curves(name, checkpoint, start, options.seed, lengths), stretch.COLUMNS)
    report.write(FOLDER, options.quick)
    return failures


def _checkpoint(both: Suite, name: str, seed: int, fast: bool) -> Path | None:
    """Checkpoint of a training, if it is finished."""
    for row in results.read(both.table("ethanol", fast)):
        if results.run_of(row) == ("ethanol", name, str(seed)):
            return both.folder / "work" / f"ethanol-{name}-seed{seed}-{row['recipe']}" / "best.ckpt"
    return None


if __name__ == "__main__":
    sys.exit(min(main(), 1))
