"""A calculator gives finite numbers, or says in one line which atoms are to blame."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.build import molecule
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS

from equireann_pyg import EANN, EquiREANN, Potential
from equireann_pyg.inference.calculator import EquiREANNCalculator
from equireann_pyg.inference.exported import export_potential
from equireann_pyg.nn import ZBL
from equireann_pyg.properties import Dipole
from equireann_pyg.testing import randomize

CUTOFF = 3.0


class Poles(torch.nn.Module):
    """A model that is infinite where a pair is closer than half an Angstrom, and jumps to NaN beyond 2.5."""

    def __init__(self) -> None:
        super().__init__()
        self.cutoff, self.elements = CUTOFF, [1, 8]
        self.weight = torch.nn.Parameter(torch.ones(()))

    def forward(self, z: torch.Tensor, edge_index: torch.Tensor, edge_vec: torch.Tensor) -> torch.Tensor:
        r = edge_vec.norm(dim=1)
        pair = self.weight * torch.where(r < 0.5, torch.inf, torch.where(r > 2.5, torch.nan, 1 / r))
        return torch.zeros(len(z), dtype=pair.dtype).index_add(0, edge_index[1], pair)


def potential(**parts: object) -> Potential:
    """A small potential of water with random parameters."""
    torch.manual_seed(1)
    model = EquiREANN(["H", "O"], CUTOFF, num_radial=4, num_density=8, num_iterations=1, hidden_channels=[8])
    randomize(model, seed=1)
    return Potential(model.double(), **parts).eval()  # type: ignore[arg-type]


def refused(calculator: EquiREANNCalculator, atoms: Atoms, match: str) -> None:
    """The structure is refused, now and again, and good ones are still computed."""
    water = molecule("H2O")
    energy = calculator.get_potential_energy(water)
    for _ in range(2):
        with pytest.raises(ValueError, match=match) as error:
            calculator.get_potential_energy(atoms)
        assert "\n" not in str(error.value)
        assert calculator.results == {}
    with pytest.raises(ValueError, match=match):
        calculator.calculate(atoms)
    assert calculator.results == {}
    assert calculator.get_potential_energy(water) == energy


@pytest.mark.parametrize("block_size", [None, 1])
@pytest.mark.parametrize("repulsion", [None, ZBL()])
def test_atoms_that_meet_within_the_skin(block_size: int | None, repulsion: ZBL | None) -> None:
    calculator = EquiREANNCalculator(potential(repulsion=repulsion), skin=5.0, block_size=block_size)
    water = molecule("H2O")
    calculator.get_potential_energy(water)
    water.set_positions(water.positions[[0, 1, 1]])  # H on H: no neighbour search is due
    refused(calculator, water, r"atoms [12] \(H\), [12] \(H\) coincide \(0 Angstrom apart\): move or remove one")
    water.positions[2] += [0, 0, 2e-3]
    assert np.isfinite(calculator.get_forces(water)).all()


def test_positions_cell_and_conditions() -> None:
    calculator = EquiREANNCalculator(potential(properties=[Dipole([4])]))
    water = molecule("H2O")
    water.positions[1, 2] = np.nan
    refused(calculator, water, r"positions of atom 1 are not finite \(H\): repair")
    water.positions[0, 0] = np.inf
    refused(calculator, water, r"positions of atoms 0, 1 are not finite \(O, H\)")
    boxed = molecule("H2O", cell=[5, 5, np.nan])
    refused(calculator, boxed, "the cell is not finite")
    charged = molecule("H2O")
    charged.info["charge"] = np.nan
    refused(calculator, charged, "atoms.info: label 'charge' is not finite")


def test_what_a_model_makes_infinite() -> None:
    calculator = EquiREANNCalculator(Potential(Poles().double()))
    close = molecule("H2O")
    close.append("H")
    close.positions[3] = close.positions[2] + [0.3, 0, 0]
    refused(calculator, close, r"^energy, atomic_energy.* not finite at atoms 2 \(H\), 3 \(H\): atoms are too close")
    many = Atoms("H30", [[0.3 * (i % 2), 0, 2.9 * (i // 2)] for i in range(30)])
    refused(calculator, many, r"not finite at atoms 0 \(H\), 1 \(H\), .* and 24 more")


def test_a_property_that_is_not_finite() -> None:
    made = potential(properties=[Dipole([4])])
    water = molecule("H2O")
    assert np.isfinite(EquiREANNCalculator(made).get_property("dipole", water)).all()
    with torch.no_grad():
        next(made.properties.parameters()).fill_(torch.nan)
    calculator = EquiREANNCalculator(made)
    with pytest.raises(
        ValueError, match=r"the potential's properties\.0\.\S+ are not finite: its training has diverged"
    ):
        calculator.get_property("dipole", water)


@pytest.mark.parametrize("block_size", [None, 1])
def test_weights_that_are_not_finite(block_size: int | None) -> None:
    made = potential()
    with torch.no_grad():
        made.model.readout.network.out.weight.fill_(torch.nan)  # type: ignore[union-attr]
    calculator = EquiREANNCalculator(made, block_size=block_size)
    with pytest.raises(
        ValueError, match=r"the potential's model\.readout\.\S+ are not finite: its training has diverged"
    ):
        calculator.get_potential_energy(molecule("H2O"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`isinstance\\(treespec, LeafSpec\\)`:FutureWarning")  # inside of torch
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's compiler imports what it likes
def test_exported_potentials(tmp_path: Path) -> None:
    model = EANN(["H", "O"], CUTOFF, num_radial=4, num_density=8)  # compiles in less time
    randomize(model, seed=1)
    made = Potential(model.double()).eval()
    made.scale.fill_(torch.nan)
    broken = EquiREANNCalculator(export_potential(made, tmp_path / "broken.pt2"))
    with pytest.raises(ValueError, match=r"not finite at atoms 0 \(O\), 1 \(H\), 2 \(H\)"):
        broken.get_potential_energy(molecule("H2O"))
    made.scale.fill_(1.0)
    calculator = EquiREANNCalculator(export_potential(made, tmp_path / "good.pt2"), skin=5.0)
    water = molecule("H2O")
    calculator.get_potential_energy(water)
    water.positions[2] = water.positions[1]
    refused(calculator, water, r"coincide \(0 Angstrom apart\)")


def test_dynamics_and_relaxations_stop() -> None:
    atoms = molecule("H2O")
    atoms.calc = EquiREANNCalculator(Potential(Poles().double()))
    atoms.set_momenta([[0, 0, 0], [0, -3, 0], [0, 3, 0]])  # the hydrogens meet
    with pytest.raises(
        ValueError, match=r"not finite at atoms 0 \(O\), 1 \(H\)|coincide|not finite at atoms 1 \(H\), 2"
    ):
        VelocityVerlet(atoms, 0.5 * units.fs).run(200)
    assert atoms.calc.results == {}
    atoms = Atoms("HO", [[0, 0, 0], [0, 0, 2.6]])
    atoms.calc = EquiREANNCalculator(Potential(Poles().double()))
    with pytest.raises(ValueError, match=r"not finite at atoms 0 \(H\), 1 \(O\)"):
        BFGS(atoms, logfile=None).run(steps=5)
