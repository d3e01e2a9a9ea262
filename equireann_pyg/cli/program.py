"""Command line: ``equireann fit | validate | test | predict | evaluate | export | md | relax | lammps | ...``."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack

from equireann_pyg import models, nn, properties
from equireann_pyg.cli.command import PotentialCLI
from equireann_pyg.cli.ending import Ending
from equireann_pyg.cli.quiet import quiet
from equireann_pyg.training import callbacks


def run_command(args: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        args: arguments instead of those of the process.

    Returns:
        exit status: 0; 2 after an error, which takes one line; 130 or 143 where a signal has stopped a run, after saving.
    """
    words = list(sys.argv[1:] if args is None else args)
    os.environ.setdefault("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "1")  # checkpoints are never unpickled
    os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "off")  # they concern lightning, not its users
    with quiet(), Ending() as ending, ExitStack() as closing:
        PotentialCLI(words, closing)
    if ending.message:
        print(f"equireann: {ending.message}", file=sys.stderr)
    return ending.status


_ = models, nn, properties, callbacks  # short class names in YAML
