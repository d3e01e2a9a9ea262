"""A potential as a force of OpenMM (8.4 or later), which calls it from Python: https://openmm.org."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from equireann_pyg.elements import atomic_number, check_known
from equireann_pyg.engines.needed import needed
from equireann_pyg.inference.calculator import EquiREANNCalculator
from equireann_pyg.potential.potential import Potential

ENERGY = 1.602176634e-19 * 6.02214076e23 / 1000
"""kJ/mol in an eV; exact in the SI of 2019, whose constants are OpenMM's too."""

LENGTH = 0.1
"""nm in an Angstrom."""


class OpenMMComputation:
    """Energy and forces of an OpenMM ``State``, in OpenMM's units; the function that a ``PythonForce`` is made of.

    It can be pickled, and with it a system that it is part of.

    Args:
        calculator: calculator of the potential.
        numbers: atomic numbers of the particles.
        periodic: whether the particles are in the periodic box of the state.
    """

    def __init__(self, calculator: EquiREANNCalculator, numbers: Sequence[int], periodic: bool) -> None:
        self.calculator = calculator
        self.atoms = Atoms(list(numbers), pbc=periodic)

    def __call__(self, state: Any) -> tuple[float, np.ndarray]:
        """Energy in kJ/mol and forces in kJ/mol/nm, ``[N, 3]``.

        Raises:
            ValueError: for another number of particles, and as :class:`~equireann_pyg.EquiREANNCalculator`; OpenMM passes it on
                as an error of its own.
        """
        unit = needed("openmm.unit")
        positions = state.getPositions(asNumpy=True).value_in_unit(unit.angstrom)  # -> [N, 3]
        if len(positions) != len(self.atoms):
            raise ValueError(
                f"openmm_force: expected {len(self.atoms)} particles, for which the force was made, got {len(positions)}"
            )
        self.atoms.positions = positions
        if self.atoms.pbc.all():
            self.atoms.cell = np.asarray(state.getPeriodicBoxVectors(asNumpy=True).value_in_unit(unit.angstrom))
        self.calculator.calculate(self.atoms, ["energy", "forces"])
        results = self.calculator.results
        return ENERGY * results["energy"], ENERGY / LENGTH * results["forces"]


def openmm_force(
    potential: Potential | str | Path,
    particles: Any,
    periodic: bool | None = None,
    only: Sequence[int] = (),
    **options: Any,
) -> Any:
    """A potential as a force of an OpenMM system.

    The box may change, as a barostat does it. Other forces of the system are added to it: leave out terms among the particles
    that it acts on.

    Args:
        potential: a potential, or the file of one, see :class:`~equireann_pyg.EquiREANNCalculator`.
        particles: an OpenMM ``Topology``, a structure of ASE, or the atomic numbers or symbols of all particles of the system,
            in their order.
        periodic: whether the particles are in the periodic box of the system, in all three directions; by default, whether
            the topology or structure has one.
        only: numbers of the particles that it acts on, counted from 0; by default all.
        **options: further arguments of the calculator: ``device``, ``dtype``, ``skin``, ``allow_untrained``, ...

    Returns:
        an ``openmm.PythonForce``, for ``system.addForce``.

    Raises:
        ImportError: if OpenMM is not installed, or older than 8.4.
        ValueError: for a particle without an element or with one that the potential does not know, numbers in ``only`` that no
            particle has, a structure that is periodic in one or two directions, and as the calculator.
    """
    openmm = needed("openmm")
    if not hasattr(openmm, "PythonForce"):
        raise ImportError(f"openmm {openmm.__version__} has no PythonForce: install 8.4 or later")
    kinds, boxed = _elements(particles)
    chosen = [int(number) for number in only] or list(range(len(kinds)))
    if not set(chosen) <= set(range(len(kinds))):
        raise ValueError(f"only: expected numbers from 0 to {len(kinds) - 1}, got {chosen}")
    without = [number for number in chosen if kinds[number] is None]
    if without:
        raise ValueError(f"particles {without} have no element: leave virtual sites out, by `only`")
    periodic = boxed if periodic is None else periodic
    numbers = [atomic_number(kinds[number]) for number in chosen]
    calculator = EquiREANNCalculator(potential, **options)
    check_known(set(numbers), calculator.potential.elements)
    force = openmm.PythonForce(OpenMMComputation(calculator, numbers, periodic))
    force.setUsesPeriodicBoundaryConditions(periodic)
    if len(only):
        force.setParticles(chosen)
    return force


def _elements(particles: Any) -> tuple[list[Any], bool]:
    """Element of each particle, None where there is none, and whether they are in a periodic box."""
    if isinstance(particles, Atoms):
        if particles.pbc.any() and not particles.pbc.all():
            raise ValueError(f"a box of OpenMM is periodic in all directions, got pbc {particles.pbc.tolist()}")
        return particles.numbers.tolist(), bool(particles.pbc.all())
    if not hasattr(particles, "atoms"):
        return list(particles), False
    kinds = [None if atom.element is None else int(atom.element.atomic_number) for atom in particles.atoms()]
    return kinds, particles.getPeriodicBoxVectors() is not None
