"""Command line: ``equireann fit | validate | test | predict | evaluate | export | md | relax | lammps | ...``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from equireann_pyg.lazy import lazy_names

if TYPE_CHECKING:
    from equireann_pyg.cli.command import PotentialCLI
    from equireann_pyg.cli.entry import main

__all__ = ["PotentialCLI", "main"]

# Imported at first use, so that a module of this package brings no more than it needs.
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "command": ("PotentialCLI",),
        "entry": ("main",),
    },
)
