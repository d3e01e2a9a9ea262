"""Structures brought to the next minimum of their energy."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from ase import Atoms, units
from ase.calculators.singlepoint import SinglePointCalculator
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS, FIRE, LBFGS

from equireann_pyg.graph.labels import LABELS
from equireann_pyg.graph.names import meaning
from equireann_pyg.simulation.progress import Advance
from equireann_pyg.simulation.records import RESULTS
from equireann_pyg.simulation.stopping import Signals
from equireann_pyg.simulation.structures import check_forces

OPTIMIZERS = {"lbfgs": LBFGS, "bfgs": BFGS, "fire": FIRE}


class Relaxed(NamedTuple):
    """How a relaxation has ended.

    Attributes:
        converged: whether the forces are small enough.
        steps: number of steps.
        force: largest force on an atom, in eV/Angstrom.
        pressure: in GPa, None where there is no stress.
    """

    converged: bool
    steps: int
    force: float
    pressure: float | None


class Search(NamedTuple):
    """How to look for a minimum.

    Args:
        fmax: largest force that may remain, in eV/Angstrom; with ``cell`` also the largest derivative of the energy per atom
            by the strain, in eV.
        steps: at most.
        optimizer: one of :data:`OPTIMIZERS`.
        cell: relax the cell, too.
        pressure: outer pressure on the cell, in GPa.
    """

    fmax: float = 0.01
    steps: int = 500
    optimizer: str = "lbfgs"
    cell: bool = False
    pressure: float = 0.0


def relax(atoms: Atoms, search: Search, signals: Signals, progress: Advance) -> Relaxed:
    """Relax positions, and the cell if it is asked for.

    Args:
        atoms: structure with a calculator; it is changed.
        search: how to look for a minimum.
        signals: which stop it after a step.
        progress: where to show it.

    Raises:
        ValueError: for a cell that cannot be relaxed, or forces that are not finite (naming step and atoms).
    """
    moved: Any = atoms
    if search.cell:
        check_cell(atoms)
        moved = FrechetCellFilter(atoms, scalar_pressure=search.pressure * units.GPa)
    dynamics, converged = OPTIMIZERS[search.optimizer](moved, logfile=None), False
    try:
        for small in dynamics.irun(fmax=search.fmax, steps=search.steps):
            converged = bool(small)
            check_forces(atoms)
            progress.update(dynamics.nsteps, f"{_largest(atoms):.4f} eV/Å, {atoms.get_potential_energy():.4f} eV")
            if signals.received is not None:
                break
    except ValueError as error:  # of the calculator
        raise ValueError(f"step {dynamics.nsteps}: {error}") from error
    return Relaxed(converged, dynamics.nsteps, _largest(atoms), _pressure(atoms))


def check_cell(atoms: Atoms) -> None:
    """Refuse a cell that has no three periods.

    Raises:
        ValueError: if so.
    """
    if not atoms.pbc.all() or atoms.cell.rank < 3:
        raise ValueError(
            f"--cell true: expected a cell with a period in all three directions, got pbc {atoms.pbc.tolist()} and a cell of "
            f"rank {atoms.cell.rank}: set both, or leave out --cell"
        )


def relaxed_frame(atoms: Atoms, result: Relaxed) -> Atoms:
    """The relaxed structure with its energy, forces and stress, and how it came about in its info."""
    frame = atoms.copy()
    frame.arrays.pop("momenta", None)
    for place in (frame.info, frame.arrays):  # labels of the structure as it was
        for key in [key for key in place if isinstance(key, str) and len(key) > 1 and meaning(key).label in LABELS]:
            del place[key]
    frame.info |= {"converged": result.converged, "relaxation_steps": result.steps}
    results = atoms.calc.results
    frame.calc = SinglePointCalculator(frame, **{name: results[name] for name in RESULTS if name in results})
    return frame


def _largest(atoms: Atoms) -> float:
    return float(np.linalg.norm(atoms.get_forces(), axis=1).max())


def _pressure(atoms: Atoms) -> float | None:
    if not atoms.pbc.all() or "stress" not in atoms.calc.results:
        return None
    return -float(atoms.get_stress()[:3].mean()) / units.GPa
