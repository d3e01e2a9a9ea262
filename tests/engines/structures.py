"""Small potentials and structures for the tests of engines."""

from __future__ import annotations

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk, fcc111, molecule

from equireann_pyg import EquiREANN, Potential
from equireann_pyg.nn import PolynomialCutoff
from equireann_pyg.testing import randomize

CUTOFF = 3.5


def potential(elements: tuple[str, ...], scale: float = 1.0, dtype: torch.dtype = torch.float64) -> Potential:
    """A potential with random parameters, the same in every call."""
    torch.manual_seed(1)
    sizes = {"num_radial": 4, "num_density": 8, "num_iterations": 2, "hidden_channels": [8]}
    model = EquiREANN(elements, CUTOFF, envelope=PolynomialCutoff(), **sizes)
    randomize(model, seed=1)
    made = Potential(model.to(dtype))
    made.set_references(dict.fromkeys(model.elements, -3.0), scale=scale)
    return made.eval()


def molecules() -> list[Atoms]:
    """Open structures of different sizes, far from each other and from the origin."""
    found = [molecule(name) for name in ("CH4", "CH3CH2OH", "H2O", "C6H6", "H2O")]
    for number, atoms in enumerate(found):
        atoms.rattle(0.1, seed=number)
        atoms.positions += 40.0 * number
    return found


def crystals() -> list[Atoms]:
    """Skewed crystals; one has atoms outside of its cell, one has a single atom that sees images of itself only."""
    found = [bulk("Cu", cubic=True) * (2, 1, 1), bulk("Cu"), bulk("Au", cubic=True)]
    for number, atoms in enumerate(found):
        strain = np.eye(3) + 0.05 * np.random.default_rng(number).normal(size=(3, 3))
        atoms.set_cell(atoms.cell.array @ strain, scale_atoms=True)
        atoms.rattle(0.1, seed=number)
    found[0].positions[0] += 3 * found[0].cell[0] - found[0].cell[2]
    return found


def slabs() -> list[Atoms]:
    """Structures that are periodic in two directions."""
    found = [fcc111("Cu", (2, 1, 2), vacuum=5.0), fcc111("Au", (1, 1, 3), vacuum=5.0)]
    for number, atoms in enumerate(found):
        atoms.rattle(0.1, seed=number)
    return found


ELEMENTS = ("H", "C", "O", "Cu", "Au")
