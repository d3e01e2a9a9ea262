"""The force for OpenMM: the calculator's numbers in OpenMM's units, open and periodic, and dynamics with it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule

from equireann_pyg import EquiREANNCalculator
from equireann_pyg.engines import openmm_force
from equireann_pyg.engines.openmm import ENERGY
from tests.engines.structures import potential

mm: Any = pytest.importorskip("openmm", reason="OpenMM is an extra: pip install equireann_pyg[engines]")
if not hasattr(mm, "PythonForce"):
    pytest.skip("PythonForce came with OpenMM 8.4", allow_module_level=True)

ELEMENTS = ("H", "C", "O")


def structure(periodic: bool) -> Atoms:
    atoms = molecule("CH3CH2OH")
    atoms.rattle(0.05, seed=0)
    if periodic:
        atoms.cell, atoms.pbc = [[4.4, 0, 0], [0.6, 4.2, 0], [-0.5, 0.7, 4.3]], True  # as OpenMM wants them: reduced
    return atoms


def context(atoms: Atoms, force: Any, step: float = 2e-4) -> Any:
    system = mm.System()
    for mass in atoms.get_masses():
        system.addParticle(mass)
    if atoms.pbc.all():
        system.setDefaultPeriodicBoxVectors(*(0.1 * atoms.cell.array))
    system.addForce(force)
    made = mm.Context(system, mm.VerletIntegrator(step), mm.Platform.getPlatform("Reference"))
    made.setPositions(0.1 * atoms.positions)
    return made


def topology_of(atoms: Atoms) -> Any:
    topology = mm.app.Topology()
    residue = topology.addResidue("MOL", topology.addChain())
    for number in atoms.numbers:
        topology.addAtom("X", mm.app.Element.getByAtomicNumber(int(number)), residue)
    if atoms.pbc.all():
        topology.setPeriodicBoxVectors(0.1 * atoms.cell.array * mm.unit.nanometer)
    return topology


@pytest.mark.parametrize("by", ["numbers", "symbols", "structure", "topology"])
@pytest.mark.parametrize("periodic", [False, True])
def test_energy_and_forces_are_those_of_the_calculator(periodic: bool, by: str) -> None:
    pytest.importorskip("openmm.app")
    atoms, made = structure(periodic), potential(ELEMENTS)
    kinds = {
        "numbers": atoms.numbers,
        "symbols": list(atoms.symbols),
        "structure": atoms,
        "topology": topology_of(atoms),
    }
    force = openmm_force(made, kinds[by], None if by in ("structure", "topology") else periodic)
    assert force.usesPeriodicBoundaryConditions() == periodic
    simulation = context(atoms, force)
    atoms.calc = EquiREANNCalculator(made)
    for _ in range(2):
        state, unit = simulation.getState(energy=True, forces=True), mm.unit
        energy = state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)
        assert energy == pytest.approx(ENERGY * atoms.get_potential_energy(), rel=1e-10)
        forces = state.getForces(asNumpy=True).value_in_unit(unit.kilojoule_per_mole / unit.nanometer)
        assert np.abs(forces).max() > 100
        np.testing.assert_allclose(forces, 10 * ENERGY * atoms.get_forces(), rtol=0, atol=1e-8 * np.abs(forces).max())
        if periodic:  # as a barostat does it
            atoms.set_cell(1.01 * atoms.cell.array, scale_atoms=True)
            simulation.setPeriodicBoxVectors(*(0.1 * atoms.cell.array))
            simulation.setPositions(0.1 * atoms.positions)


def test_units_are_those_of_openmm() -> None:
    charge = 1.602176634e-19 * mm.unit.coulomb  # what an eV is made of
    joule = (charge * mm.unit.volt * mm.unit.AVOGADRO_CONSTANT_NA).value_in_unit(mm.unit.kilojoule_per_mole)
    assert pytest.approx(joule, rel=1e-12) == ENERGY


@pytest.mark.parametrize("periodic", [False, True])
def test_dynamics_conserves_energy(periodic: bool) -> None:
    atoms = structure(periodic)
    simulation = context(atoms, openmm_force(potential(ELEMENTS, scale=0.1), atoms.numbers, periodic))
    simulation.setVelocitiesToTemperature(300, 1)
    total, kinetic = [], []
    for _ in range(15):
        simulation.getIntegrator().step(2)
        state = simulation.getState(energy=True)
        kinetic.append(state.getKineticEnergy()._value)
        total.append(state.getPotentialEnergy()._value + kinetic[-1])
    assert np.ptp(kinetic) > 1.0
    assert np.ptp(total) < 0.02 * np.ptp(kinetic)


def test_only_some_particles_and_through_a_file() -> None:
    atoms, made = structure(False), potential(ELEMENTS)
    kinds = [*atoms.numbers, None]  # with a virtual site
    force = openmm_force(made, kinds, only=[8, 1, 2])
    copied = mm.XmlSerializer.deserialize(mm.XmlSerializer.serialize(force))
    everything = atoms + Atoms("He", [[9, 9, 9]])
    part = atoms[[8, 1, 2]]
    part.calc = EquiREANNCalculator(made)
    for again in (context(everything, force), context(everything, copied)):
        state = again.getState(energy=True, forces=True)
        assert state.getPotentialEnergy()._value == pytest.approx(ENERGY * part.get_potential_energy(), rel=1e-10)
        forces = state.getForces(asNumpy=True)._value
        np.testing.assert_allclose(forces[[8, 1, 2]], 10 * ENERGY * part.get_forces(), rtol=0, atol=1e-6)
        assert not np.delete(forces, [8, 1, 2], axis=0).any()


def test_what_is_refused() -> None:
    atoms, made = structure(False), potential(ELEMENTS)
    with pytest.raises(ValueError, match=r"particles \[9\] have no element"):
        openmm_force(made, [*atoms.numbers, None])
    with pytest.raises(ValueError, match="only: expected numbers from 0 to 8"):
        openmm_force(made, atoms.numbers, only=[9])
    with pytest.raises(ValueError, match="unknown element Cu: this model was made for H, C, O"):
        openmm_force(made, ["Cu"])
    with pytest.raises(ValueError, match=r"periodic in all directions, got pbc .True, True, False"):
        openmm_force(made, Atoms("H", pbc=[True, True, False]))
    with pytest.raises(mm.OpenMMException, match="expected 8 particles, for which the force was made, got 9"):
        context(atoms, openmm_force(made, atoms.numbers[1:])).getState(energy=True)
    simulation = context(atoms, openmm_force(made, atoms.numbers))
    atoms.positions[1] = atoms.positions[0]
    simulation.setPositions(0.1 * atoms.positions)
    with pytest.raises(mm.OpenMMException, match="coincide"):
        simulation.getState(energy=True)
