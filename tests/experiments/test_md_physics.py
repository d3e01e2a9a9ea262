"""Physics of whole systems by potentials that are known: silicon of Tersoff, a liquid of Lennard-Jones, a cluster of EMT."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.calculators.singlepoint import SinglePointCalculator
from ase.calculators.tersoff import Tersoff, TersoffParameters

from experiments.md import elastic, physics
from experiments.md.physics import Setting
from experiments.md.suite import SYSTEMS, density
from experiments.md.tables import Found

SILICON = (3.0, 1.0, 0.0, 1.0039e5, 16.217, -0.59825, 0.78734, 1.1e-6, 1.7322, 471.18, 2.85, 0.15, 2.4799, 1830.8)
"""J. Tersoff, Phys. Rev. B 38, 9902 (1988), Si(C)."""


def frozen(atoms: Atoms) -> Atoms:
    """A frame of a data set: results are kept, their calculator is not."""
    stress = {"stress": atoms.get_stress()} if atoms.cell.rank == 3 else {}
    frame = atoms.copy()
    frame.calc = SinglePointCalculator(frame, energy=atoms.get_potential_energy(), forces=atoms.get_forces(), **stress)
    return frame


def setting(system: str, calculator: Calculator, frames: list[Atoms]) -> Setting:
    return Setting(SYSTEMS[system], calculator, frames, frames[0], fast=True)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def silicon() -> Setting:
    calculator = Tersoff({("Si", "Si", "Si"): TersoffParameters(*SILICON)})
    crystal = bulk("Si", "diamond", a=5.432, cubic=True)
    crystal.calc = calculator
    frames = [elastic.deformed(crystal, c, h) for c, h in ((0, -0.02), (0, 0.02), (5, -0.04), (5, 0.04), (0, 0.0))]
    return setting("solid", calculator, [supercell(frozen(frame)) for frame in frames])


def supercell(frame: Atoms) -> Atoms:
    """Two cells along each edge, with the results of one."""
    large = frame * (2, 2, 2)
    large.info["group"] = "Elastic"
    energy = 8 * frame.get_potential_energy()
    large.calc = SinglePointCalculator(large, energy=energy, stress=frame.get_stress())
    return large


def values(found: Found) -> dict[str, float]:
    return {number.quantity: number.value for number in found.numbers}


def test_elastic_constants_of_silicon(silicon: Setting) -> None:
    found = physics.elastic_constants(silicon)
    known = values(found)
    assert known["lattice constant"] == pytest.approx(5.432, rel=1e-3)
    assert known["C11"] == pytest.approx(143, rel=0.02)
    assert known["C12"] == pytest.approx(75, rel=0.02)
    assert known["C44, atoms relaxed"] == pytest.approx(69, rel=0.02)
    assert known["C44, finite strain, atoms not relaxed"] > 1.3 * known["C44, atoms relaxed"]
    assert known["bulk modulus"] == pytest.approx((known["C11"] + 2 * known["C12"]) / 3, rel=0.02)
    for number in found.numbers:
        if "finite strain" in number.quantity:
            assert number.value == pytest.approx(number.reference, rel=1e-6)
    (_, x, reference), (_, _, own) = found.curves
    assert np.round(x, 3).tolist() == [-0.02, 0.02]
    assert reference.min() > 2
    np.testing.assert_allclose(own, reference, rtol=1e-6)


def test_phonons_of_silicon(silicon: Setting) -> None:
    pytest.importorskip("phonopy", reason="phonopy is an extra: pip install equireann_pyg[phonons]")
    found = physics.phonons(silicon)
    known = values(found)
    assert known["Γ, acoustic, largest"] < 0.01
    assert 14 < known["Γ, optical"] < 18
    assert known["X, transverse acoustic"] < known["X, longitudinal"] < known["X, transverse optical"]
    (shear,) = (number for number in found.numbers if number.quantity.startswith("shear waves"))
    assert shear.value == pytest.approx(shear.reference, rel=0.1)
    assert len(found.curves) == 6
    assert known["lowest of all bands"] > -0.05


def test_vibrations_of_a_molecule() -> None:
    tetrahedron = 1.2 * np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / np.sqrt(2)
    frames = []
    for seed in range(2):
        atoms = Atoms("Cu4", tetrahedron * (1 + 0.05 * seed), calculator=EMT())
        frames.append(frozen(atoms))
    known = values(physics.vibrations(setting("molecule", EMT(), frames)))
    assert known["six nearest to zero, largest"] < 0.1 * known["lowest of the others"]
    assert known["imaginary ones of the others"] == 0
    assert known["highest"] > known["lowest of the others"] > 50


def test_structure_of_a_liquid() -> None:
    rng, count = np.random.default_rng(0), 4
    mass = Atoms("O").get_masses()[0]
    spacing = (mass / units.mol / 1e-24) ** (1 / 3)  # of 1 g/cm3
    lattice = Atoms("O", cell=[spacing] * 3, pbc=True) * (count, count, count)
    assert density(lattice) == pytest.approx(1.0, rel=1e-3)
    liquid = LennardJones(sigma=spacing / 1.1, epsilon=0.01, rc=1.45 * spacing, smooth=True)
    frames = []
    for _ in range(2):
        moved = lattice.copy()
        moved.positions += 0.1 * rng.normal(size=moved.positions.shape)
        frames.append(moved)
    found = physics.structure(setting("liquid", liquid, frames))
    known = values(found)
    assert known["first O-O peak"] == pytest.approx(spacing, rel=0.15)
    assert known["height of the first O-O peak"] > 1.2
    assert 100 < known["temperature of the second half"] < 600
    assert known["sampled after as long"] == pytest.approx(0.05)
