"""What each process of domains does: ``torchrun`` starts them, see :class:`experiments.md.apart.InDomains`."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from equireann_pyg.engines.domains import calculator_of_domains
from experiments.md.apart import answer, job_of
from experiments.md.engines import DTYPE, InASE


def main(folder: Path) -> None:
    """Values of the structure, and a trajectory where one is asked for."""
    torch.set_num_threads(1)
    job, atoms = job_of(folder)
    calculator = calculator_of_domains(job["checkpoint"], dtype=DTYPE)
    engine = InASE(Path(job["checkpoint"]), job["timestep"], calculator)
    values = engine.values(atoms)
    moved = engine.move(atoms, job["steps"], job["every"]) if job["steps"] else None
    answer(folder, calculator.rank, values, moved)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
