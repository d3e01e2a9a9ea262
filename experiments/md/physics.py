"""What the potentials of the three systems say about them, by the calculator in ASE."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.build import bulk

from equireann_pyg import EquiREANNCalculator
from experiments.md import elastic
from experiments.md.liquid import Distribution, distribution
from experiments.md.suite import System, density, langevin
from experiments.md.tables import Found, Number
from experiments.md.vibrations import Phonons, velocity, wavenumbers

FMAX = 1e-4
"""Largest force of a relaxed structure in eV/Angstrom."""

REACH = 6.0
"""Largest distance of the pairs of the liquid in Angstrom."""


@dataclass(frozen=True)
class Setting:
    """What physics is done with.

    Args:
        system: what it is.
        calculator: potential in double precision.
        frames: reference frames of training and test.
        snapshot: thermal structure.
        fast: fewer steps and a smaller supercell.
    """

    system: System
    calculator: EquiREANNCalculator
    frames: list[Atoms]
    snapshot: Atoms
    fast: bool


def crystal(setting: Setting) -> tuple[Atoms, elastic.EquationOfState, list[Atoms]]:
    """Conventional cell of silicon at its own lattice constant, the equation of state, and the strained reference frames."""
    frames = [frame for frame in setting.frames if frame.info.get("group") == "Elastic"]
    guess = float(elastic.unstrained(frames).cell.lengths().mean()) / 2
    atoms = bulk("Si", "diamond", a=guess, cubic=True)
    atoms.calc = setting.calculator
    found = elastic.equation_of_state(atoms)
    atoms.set_cell(np.eye(3) * found.lattice_constant, scale_atoms=True)
    return atoms, found, frames


def elastic_constants(setting: Setting) -> Found:
    """Lattice constant, bulk modulus and elastic constants, against those of strained reference frames."""
    atoms, equation, frames = crystal(setting)
    axis, shear = elastic.strained_pair(frames, 0), elastic.strained_pair(frames, 5)
    known, same = axis.slopes(), axis.slopes(setting.calculator)
    c11, c12, c44 = elastic.cubic(elastic.elastic_constants(atoms, fmax=FMAX))
    size = f"{abs(axis.strain[0]):.1%} and {abs(axis.strain[1]):.1%}"
    said = f"stress of reference frames strained by {size}, same frames"
    rest = float(elastic.unstrained(frames).cell.lengths().mean()) / 2
    numbers = [
        Number("lattice constant", equation.lattice_constant, "Å", rest, "reference frame without stress"),
        Number(
            "bulk modulus", equation.bulk_modulus, "GPa", float(known[:3].mean()), "(C11 + 2 C12) / 3 of the frames"
        ),
        Number("C11, finite strain", float(same[0]), "GPa", float(known[0]), said),
        Number("C12, finite strain", float(same[1:3].mean()), "GPa", float(known[1:3].mean()), said),
        Number(
            "C44, finite strain, atoms not relaxed",
            float(shear.slopes(setting.calculator)[5]),
            "GPa",
            float(shear.slopes()[5]),
            f"reference frames sheared by {abs(shear.strain[0]):.1%}, same frames",
        ),
        Number("C11", c11, "GPa"),
        Number("C12", c12, "GPa"),
        Number("C44, atoms relaxed", c44, "GPa"),
        Number("(C11 + 2 C12) / 3", (c11 + 2 * c12) / 3, "GPa", equation.bulk_modulus, "own equation of state"),
    ]
    return Found(numbers, _strained_energies(frames, setting.calculator))


def _strained_energies(
    frames: list[Atoms], calculator: EquiREANNCalculator
) -> list[tuple[str, np.ndarray, np.ndarray]]:
    strains, rest = elastic.strains_of(frames), elastic.unstrained(frames)
    order = elastic.alone(strains, 0)
    x = strains[order, 0]
    curves = []
    for name, potential in (("reference frames", None), ("potential", calculator)):
        energies = []
        for frame in (*(frames[number] for number in order), rest):
            atoms = frame.copy()
            atoms.calc = potential or frame.calc
            energies.append(1e3 * atoms.get_potential_energy() / len(atoms))
        curves.append((name, x, np.array(energies[:-1]) - energies[-1]))
    return curves


def phonons(setting: Setting) -> Found:
    """Frequencies at Γ and X, and the speed of shear waves against that of C44."""
    atoms, _, _ = crystal(setting)
    found = Phonons(atoms, 2 if setting.fast else 4)
    gamma, edge = found.frequencies([(0.0, 0.0, 0.0), (0.5, 0.5, 0.0)])
    c44 = elastic.cubic(elastic.elastic_constants(atoms, fmax=FMAX))[2]
    numbers = [
        Number(
            "Γ, acoustic, largest", float(np.abs(gamma[:3]).max()), "THz", 0.0, "no force on a crystal that is moved"
        ),
        Number("Γ, optical", float(gamma[3:].mean()), "THz"),
        Number("X, transverse acoustic", float(edge[:2].mean()), "THz"),
        Number("X, longitudinal", float(edge[2:4].mean()), "THz"),
        Number("X, transverse optical", float(edge[4:].mean()), "THz"),
        Number("shear waves along 001", found.shear_velocity(), "km/s", velocity(c44, atoms), "own C44 and density"),
    ]
    bands = found.bands()
    curves = [(f"branch {number}", bands.x, row) for number, row in enumerate(bands.frequency.T)]
    numbers.append(Number("lowest of all bands", float(bands.frequency.min()), "THz"))
    return Found(numbers, curves)


def vibrations(setting: Setting) -> Found:
    """Wavenumbers of the relaxed molecule."""
    start = min(setting.frames, key=Atoms.get_potential_energy)
    atoms = Atoms(start.numbers, start.positions, calculator=setting.calculator)
    found = wavenumbers(elastic.relax(atoms, FMAX))
    order = np.argsort(np.abs(found))
    rigid, rest = found[order[:6]], found[order[6:]]
    numbers = [
        Number("six nearest to zero, largest", float(np.abs(rigid).max()), "1/cm", 0.0, "translation and rotation"),
        Number("imaginary ones of the others", float((rest < 0).sum()), "", 0.0, "a minimum"),
        Number("lowest of the others", float(rest.min()), "1/cm"),
        Number("highest", float(rest.max()), "1/cm"),
    ]
    return Found(numbers, [("wavenumbers", np.arange(1.0, len(found) + 1), found)])


def structure(setting: Setting) -> Found:
    """First peak of the oxygens at constant temperature, against reference frames of about that density."""
    atoms, steps, every = setting.snapshot.copy(), 200 if setting.fast else 8000, 20
    atoms.calc = setting.calculator
    dynamics, frames, kelvin = langevin(atoms, setting.system, seed=1), [], []
    for _ in range(steps // every):
        dynamics.run(every)
        frames.append(atoms.copy())
        kelvin.append(atoms.get_temperature())
    half = len(frames) // 2
    near = [frame for frame in setting.frames if abs(density(frame) - 1) < 0.1]
    reach = min(REACH, min(float(frame.cell.lengths().min()) for frame in (*near, atoms)) / 2)
    own, known = distribution(frames[half:], "O", reach), distribution(near, "O", reach)
    (place, height), (there, high) = own.peak(), known.peak()
    said = f"{len(near)} reference frames of 0.9 to 1.1 g/cm3, of other temperatures"
    numbers = [
        Number("first O-O peak", place, "Å", there, said),
        Number("height of the first O-O peak", height, "", high, said),
        Number(
            "temperature of the second half", float(np.mean(kelvin[half:])), "K", setting.system.kelvin, "thermostat"
        ),
        Number("density", density(atoms), "g/cm3"),
        Number("sampled after as long", 1e-3 * setting.system.timestep * steps / 2, "ps"),
    ]
    curves: dict[str, Distribution] = {"potential, 300 K": own, "reference frames": known}
    return Found(numbers, [(name, curve.r, curve.g) for name, curve in curves.items()])


PHYSICS: dict[str, dict[str, Callable[[Setting], Found]]] = {
    "solid": {"elastic constants": elastic_constants, "phonons": phonons},
    "liquid": {"structure": structure},
    "molecule": {"vibrations": vibrations},
}
"""What is done with each system."""
