"""``equireann lammps build``: the plug-in that gives LAMMPS ``pair_style equireann``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from jsonargparse import ArgumentParser

from equireann_pyg.engines.lammps.build import build_plugin


def parser() -> ArgumentParser:
    """Options of ``equireann lammps``."""
    made = ArgumentParser(
        description="Compile the plug-in of LAMMPS, once for the LAMMPS and torch that are installed."
    )
    made.add_argument("action", type=Literal["build"], help="compile it, if it is not there yet")
    made.add_argument("--again", type=bool, default=False, help="compile again even if it is there")
    return made


def run(options: Any) -> Path:
    """``equireann lammps build``: compile the plug-in and say how it is used.

    Raises:
        OSError: without LAMMPS, MPI or a C++ compiler, or if compiling fails.
    """
    path = build_plugin(options.again)
    print(path)
    print("The lmp beside this equireann loads it by itself; any other script of this LAMMPS says: plugin load FILE.")
    return path
