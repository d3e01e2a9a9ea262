"""Nothing runs away: the paper's recursion on structures far from its training set, beside REANN's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

from equireann_pyg import REANN, EquiREANN, Potential, edge_vectors, from_ase
from equireann_pyg.nn import Equivariant
from equireann_pyg.testing import randomize
from equireann_pyg.training.preparation import prepare_potential
from tests.molecules import molecules

CUTOFF, ATOMS, STEPS = 5.0, 9, 60
ETHANOL = [from_ase(atoms, CUTOFF) for atoms in molecules(["CH3CH2OH"], 40)]


class AllAlike(Equivariant):
    """Its rule."""

    def __init__(self, hidden_channels: Sequence[int]) -> None:
        super().__init__(hidden_channels, grading=0.0)


def unusual() -> Data:
    """Ethanol compressed to less than half, stretched to twice its size, and heated beyond dissociation."""
    rng, frames = np.random.default_rng(0), []
    for atoms in molecules(["CH3CH2OH"], 8, seed=1):
        for factor, noise in ((0.4, 0.0), (0.6, 0.0), (0.8, 0.0), (1.4, 0.0), (2.0, 0.0), (1.0, 0.2), (1.0, 0.5)):
            other = atoms.copy()
            other.positions = factor * other.positions + noise * rng.normal(size=other.positions.shape)
            frames.append(from_ase(other, CUTOFF))
    return Batch.from_data_list(frames)


class Alike(EquiREANN):
    """Messages of equal strength in all channels."""

    rule = AllAlike


def prepared(kind: type[EquiREANN]) -> Potential:
    """A potential that knows its training set."""
    torch.manual_seed(0)
    potential = Potential(kind(["H", "C", "O"], CUTOFF, num_density=32, hidden_channels=[16, 16]))
    prepare_potential(potential, ETHANOL, {"H": -3.0, "C": -7.0, "O": -5.0})
    return potential


def trained(kind: type[EquiREANN]) -> Potential:
    """A potential after a short training."""
    potential = prepared(kind).train()
    optimizer = torch.optim.Adam(potential.parameters(), 1e-2, (0.9, 0.99))
    for step in range(STEPS):
        batch = Batch.from_data_list(ETHANOL[8 * step % 40 : 8 * step % 40 + 8])
        output = potential(batch)
        errors = torch.cat([output["energy"] - batch.energy, (output["forces"] - batch.forces).flatten()])
        optimizer.zero_grad()
        (errors.square().mean() / potential.scale**2).backward()
        optimizer.step()
    return potential.eval()


def sizes(potential: Potential) -> tuple[float, float]:
    """Largest energy of an atom, relative to the mean of the training set, and largest force, on unusual structures."""
    usual = potential(Batch.from_data_list(ETHANOL))["energy"].mean()
    output = potential(unusual())
    return float((output["energy"] - usual).abs().max()) / ATOMS, float(output["forces"].abs().max())


def test_of_a_trained_potential() -> None:
    energy, force = sizes(trained(EquiREANN))
    reference = sizes(trained(REANN))
    assert 0.1 < energy < 3 * reference[0]
    assert 1.0 < force < 3 * reference[1]


def features(kind: type[EquiREANN], amplitude: float) -> Tensor:
    """Largest standardised feature of every iteration on unusual structures, for networks of some size, ``[T + 1]``."""
    model = prepared(kind).model
    assert isinstance(model, EquiREANN)
    randomize(model.rules, amplitude=amplitude)
    data = unusual()
    with torch.no_grad():
        inputs = data.z, data.edge_index, edge_vectors(data).float()
        return torch.stack([found.abs().max() for _, found in model.iterate(*inputs)])


@pytest.mark.parametrize("amplitude", [0.0, 0.3, 1.0])
def test_of_an_untrained_model(amplitude: float) -> None:
    """Far out features are logarithms: three times as large means a power of three."""
    actual, reference = features(EquiREANN, amplitude), features(REANN, amplitude)
    assert float(reference.min()) > 30  # standard deviations
    assert bool((actual < 1.7 * reference).all())


def test_messages_of_equal_strength_would_run_away() -> None:
    assert float((features(Alike, 1.0) / features(REANN, 1.0))[-1]) > 2
