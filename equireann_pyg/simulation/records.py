"""What is recorded of a step: a frame of the trajectory, and a line of the log."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from ase import Atoms, units
from ase.calculators.singlepoint import SinglePointCalculator

from equireann_pyg.graph.conditions import condition_keys
from equireann_pyg.simulation.structures import held

RESULTS = ("energy", "forces", "stress")
WIDTHS = {
    "step": "10d",
    "time_fs": "14.4f",
    "E_pot_eV": "18.8f",
    "E_kin_eV": "16.8f",
    "E_tot_eV": "18.8f",
    "T_K": "11.3f",
    "P_GPa": "12.5f",
    "F_spread_eV_per_A": "18.6f",
}
"""Columns of the log and their formats."""


def values_of(atoms: Atoms, step: int, time: float) -> dict[str, float]:
    """Columns of the log at one step.

    The pressure is there where the structure fills space, and counts the motion of the atoms. The spread is that of a
    committee: of the atom where it is largest.

    Args:
        atoms: structure with a calculator that has computed it.
        step: number of steps.
        time: in fs.
    """
    potential, kinetic = atoms.get_potential_energy(), atoms.get_kinetic_energy()
    values = {
        "step": step,
        "time_fs": time,
        "E_pot_eV": potential,
        "E_kin_eV": kinetic,
        "E_tot_eV": potential + kinetic,
    }
    values["T_K"] = atoms.get_temperature()
    if atoms.pbc.all() and "stress" in atoms.calc.results:
        values["P_GPa"] = -float(atoms.get_stress(include_ideal_gas=True)[:3].mean()) / units.GPa
    if "forces_std" in atoms.calc.results:
        values["F_spread_eV_per_A"] = float(np.linalg.norm(atoms.calc.results["forces_std"], axis=1).max())
    return values


def head_of(names: Iterable[str]) -> str:
    """First line of the log."""
    line = "".join(f" {name:>{_width(name)}}" for name in names)
    return "#" + line[1:]  # the first column is wider than its name


def row_of(values: dict[str, float]) -> str:
    """A line of the log."""
    return "".join(f" {value:{WIDTHS[name]}}" for name, value in values.items())


def _width(name: str) -> int:
    return int(WIDTHS[name].rstrip("df").partition(".")[0])


def frame_of(atoms: Atoms, step: int, time: float) -> Atoms:
    """A frame of the trajectory: positions (not wrapped), momenta, cell, what is held, energy, forces, stress, step and time.

    Args:
        atoms: structure with a calculator that has computed it.
        step: number of steps.
        time: in fs.
    """
    frame = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    frame.set_momenta(atoms.get_momenta())
    if atoms.has("masses"):
        frame.set_masses(atoms.get_masses())
    frame.info = {"step": step, "time_fs": time} | {key: atoms.info[key] for key in condition_keys(atoms)}
    results = atoms.calc.results
    if "forces_std" in results:
        frame.arrays["forces_std"] = results["forces_std"].copy()
    frame.set_constraint(held(atoms))
    frame.calc = SinglePointCalculator(frame, **{name: results[name] for name in RESULTS if name in results})
    return frame
