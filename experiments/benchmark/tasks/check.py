"""Whether an adapter is right: symmetries, finite differences, and the numbers of the package's own calculator."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.build import molecule

from equireann_pyg import Potential, from_ase
from equireann_pyg.testing import check_model, randomize
from experiments.benchmark.peers import Peer
from experiments.benchmark.peers.calculated import Calculated
from experiments.benchmark.tasks.calculated import check_calculated

CUTOFF = 4.0  # Angstrom
MOLECULE = ("H", "C", "O")


def check(peer: Peer) -> dict[str, Any]:
    """Findings of :func:`~equireann_pyg.testing.check_model`, and the largest relative difference from the own calculator."""
    torch.manual_seed(0)
    model = peer.recipe.build(MOLECULE, CUTOFF)
    if isinstance(model, Calculated):
        return check_calculated(model)
    report = check_model(model, peer.derivatives, peer.noise)
    problems = {name: problem for name, problem in report.problems.items() if problem}
    return {"problems": problems, "checks": len(report.problems), "own": own_difference(peer, model)}


def own_difference(peer: Peer, model: torch.nn.Module) -> float | None:
    """Largest difference from the forces of the package's own calculator, relative to the largest force."""
    potential = Potential(copy.deepcopy(model)).double().eval()
    randomize(potential.model, amplitude=peer.noise)
    calculator = peer.own_calculator(potential)
    if calculator is None:
        return None
    atoms = rattled_ethanol()
    expected = calculator.get_property("forces", atoms)
    actual = potential(from_ase(atoms, CUTOFF))["forces"].numpy()
    size = float(np.abs(expected).max())
    if not size > 1e-3:
        raise ValueError(f"{peer.name}: forces of its own calculator are at most {size:.1e}, too small to compare")
    return float(np.abs(actual - expected).max()) / size


def rattled_ethanol() -> Atoms:
    """Ethanol with atoms out of their places."""
    atoms = molecule("CH3CH2OH")
    atoms.positions += 0.05 * np.random.default_rng(0).normal(size=(len(atoms), 3))
    return atoms
