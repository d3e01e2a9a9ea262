"""Where ``equireann`` begins: nothing is imported yet, so that Ctrl-C ends in one line from the first moment on."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line, see :func:`equireann_pyg.cli.program.run_command`.

    Args:
        args: arguments instead of those of the process.

    Returns:
        exit status.
    """
    try:
        from equireann_pyg.cli.program import run_command  # torch, Lightning and the rest take seconds

        return run_command(args)
    except KeyboardInterrupt:  # at work, commands say so themselves
        print("equireann: stopped by SIGINT", file=sys.stderr)
        return 128 + signal.SIGINT
