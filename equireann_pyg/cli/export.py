"""``equireann export CKPT``: a potential compiled ahead of time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from equireann_pyg.elements import SYMBOLS
from equireann_pyg.engines.lammps import export_lammps
from equireann_pyg.inference.exported import described, export_potential
from equireann_pyg.potential.checkpoint import load_potential
from equireann_pyg.potential.potential import Potential


def parser() -> ArgumentParser:
    """Options of ``equireann export``."""
    made = ArgumentParser(description="Compile a potential ahead of time for inference.")
    made.add_argument("checkpoint", type=str, help="file of save_potential or checkpoint of equireann fit")
    made.add_argument("--out", type=str | None, default=None, help="file (*.pt2); default: beside the checkpoint")
    made.add_argument("--device", type=str, default="cpu", help="device to compile for")
    made.add_argument("--lammps", type=bool, default=False, help="for pair_style equireann of LAMMPS")
    return made


def run(options: Any) -> Path:
    """``equireann export``: write the exported potential, by default beside the checkpoint, with the ending ``.pt2``.

    For LAMMPS the ending is ``.lammps.pt2``.
    """
    potential = load_potential(options.checkpoint, options.device)
    out = options.out or Path(options.checkpoint).with_suffix(".lammps.pt2" if options.lammps else ".pt2")
    path = export_lammps(potential, out) if options.lammps else export_potential(potential, out)
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB; {_use(potential, path, options.lammps)}")
    return path


def _use(potential: Potential, path: Path, lammps: bool) -> str:
    if not lammps:
        return f"use it as EquiREANNCalculator({str(path)!r})"
    symbols = " ".join(SYMBOLS[number] for number in described(potential)["elements"])
    return (
        f"in LAMMPS: pair_style equireann, then pair_coeff * * {path} and the element of each atom type, of {symbols}"
    )
