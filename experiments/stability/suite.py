"""What the experiments on stability share: molecules, tables, and potentials trained by the accuracy experiment."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from ase import Atoms
from ase.calculators.calculator import Calculator
from rich.console import Console

from equireann_pyg import EquiREANNCalculator, load_potential
from equireann_pyg.data import read_frames
from equireann_pyg.inference.exported import export_potential
from experiments.accuracy.cases import ACAC, BPA
from experiments.accuracy.suite import SUITE as ACCURACY
from experiments.runs import results
from experiments.runs.case import Part

FOLDER = Path(__file__).parent
SMALL_CUTOFF = 2.0
"""In Angstrom; of graphs that nobody looks at."""


@dataclass(frozen=True)
class Start:
    """Frames that trajectories start from.

    Args:
        part: frames.
        sampled_at: their temperature in K.
    """

    part: Part
    sampled_at: float


BPA_300K, BPA_600K = Start(BPA("test_300K"), 300.0), Start(BPA("test_600K"), 600.0)
ACAC_300K, ACAC_600K = Start(ACAC("test_MD_300K"), 300.0), Start(ACAC("test_MD_600K"), 600.0)
STARTS = {
    "3bpa": {300: BPA_300K, 600: BPA_600K, 1200: BPA_600K},
    "acac": {300: ACAC_300K, 600: ACAC_600K, 1200: ACAC_600K},
}
"""Test frames for each temperature; there are none of 1200 K, so those of 600 K are heated."""


def frame(start: Start, data: Path, replica: int, replicas: int) -> Atoms:
    """The test frame that a replica starts from; replicas are evenly spread over the file.

    Raises:
        FileNotFoundError: if the file is neither there nor can be fetched.
    """
    frames = read_frames(start.part.load(data, SMALL_CUTOFF).file)
    return frames[replica * (len(frames) // replicas)]


def trained(case: str, model: str, seed: int, fast: bool) -> Path:
    """Checkpoint of the accuracy experiment.

    Raises:
        FileNotFoundError: if there is none; says how to make it.
    """
    for row in results.read(ACCURACY.table("results", fast)):
        if results.run_of(row) == (case, model, str(seed)):
            path = ACCURACY.folder / "work" / f"{case}-{model}-seed{seed}-{row['recipe']}" / "best.ckpt"
            if path.is_file():
                return path
    quick = " --quick" * fast
    raise FileNotFoundError(
        f"{case}, {model}, seed {seed}: no trained potential in {ACCURACY.folder / 'work'}: run python -m "
        f"experiments.accuracy.run{quick} --case {case} --model {model} --seed {seed}, or name one by --checkpoint"
    )


def digest(path: Path) -> str:
    """Eight digits of a file's contents."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:8]


def calculator(checkpoint: Path, fast: bool, console: Console) -> Calculator:
    """The fastest calculator of a potential: exported once, by the kernels where it cannot be or in a quick run."""
    if fast:
        return EquiREANNCalculator(checkpoint)
    package = FOLDER / "work" / f"{digest(checkpoint)}.pt2"
    with results.locked(package):
        if not package.is_file():
            console.print(f"exporting {checkpoint}")
            package.parent.mkdir(parents=True, exist_ok=True)
            try:
                export_potential(load_potential(checkpoint), package)
            except (OSError, RuntimeError) as error:
                console.print(f"not exported, by the kernels: {error}")
                return EquiREANNCalculator(checkpoint)
    return EquiREANNCalculator(package)
