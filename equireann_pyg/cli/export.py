"""``equireann export CKPT``: a potential compiled ahead of time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from equireann_pyg.inference.exported import export_potential
from equireann_pyg.potential.checkpoint import load_potential


def parser() -> ArgumentParser:
    """Options of ``equireann export``."""
    made = ArgumentParser(description="Compile a potential ahead of time for inference.")
    made.add_argument("checkpoint", type=str, help="file of save_potential or checkpoint of equireann fit")
    made.add_argument("--out", type=str | None, default=None, help="file to write (*.pt2)")
    made.add_argument("--device", type=str, default="cpu", help="device to compile for")
    return made


def run(options: Any) -> Path:
    """``equireann export``: write the exported potential, by default beside the checkpoint, with the ending ``.pt2``."""
    potential = load_potential(options.checkpoint, options.device)
    path = export_potential(potential, options.out or Path(options.checkpoint).with_suffix(".pt2"))
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB; use it as EquiREANNCalculator({str(path)!r})")
    return path
