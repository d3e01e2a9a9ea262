"""A descriptor from somewhere else is what its source says, and becomes equivariant message passing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from equireann_pyg import OrbitalNetwork, Potential, edge_vectors, load_potential, nn, save_potential
from equireann_pyg.testing import assert_close, assert_potential, random_cluster, randomize
from experiments.descriptors.nep import NEP, twist_signal


def network(rule: nn.MessageRule, num_iterations: int) -> OrbitalNetwork:
    """A small network with random parameters."""
    angular = nn.SphericalHarmonics(4)
    model = OrbitalNetwork(
        ["H", "C"], 3.0, NEP(3), rule, angular=angular, radial=nn.PairRadial(4), num_iterations=num_iterations
    )
    randomize(model)
    return model


def test_against_the_double_sum_over_neighbours(double: torch.dtype) -> None:
    model, data = network(nn.Local(), 0), random_cluster([1, 6], 3.0)
    descriptor, vec, (j, i) = model.descriptors[0], edge_vectors(data), data.edge_index
    orbital, _ = next(model.iterate(data.z, data.edge_index, vec))
    actual = descriptor(orbital, model.species(data.z)).view(6, 5, 3)  # -> [N, L + 1, k]
    species = model.species(data.z)
    radial, *_ = model.basis(vec, species[j], species[i])
    values = model.coefficient[species[j]] * radial  # -> [E, n]
    unit = vec / vec.norm(dim=1, keepdim=True)
    expected = torch.zeros(6, 5, 3)
    for degree in range(5):
        g = values @ descriptor.mix.weight[degree] / 2
        legendre = np.polynomial.legendre.Legendre.basis(degree)
        for first in range(len(j)):
            if degree == 0:
                expected[i[first], 0] += g[first]
                continue
            for second in (i == i[first]).nonzero().flatten().tolist():
                cosine = float(unit[first] @ unit[second])
                expected[i[first], degree] += g[first] * g[second] * legendre(cosine)
    for degree in range(5):
        assert_close(actual[:, degree], expected[:, degree], 1e-11, f"descriptors of degree {degree}", smallest=1e-3)


@pytest.mark.parametrize("rule", [nn.Invariant([6]), nn.Equivariant([5]), nn.Coupled([6], 3), nn.Separate([6], 3)])
def test_message_passing(rule: nn.MessageRule, tmp_path: Path) -> None:
    model, data = network(rule, 1), random_cluster([1, 6], 3.0)
    model.fit_statistics(data.z, data.edge_index, edge_vectors(data).float())
    potential = Potential(model)
    assert_potential(potential.double())
    save_potential(potential, tmp_path / "nep.pt")
    loaded = load_potential(tmp_path / "nep.pt")
    assert isinstance(loaded.model.descriptors[1], NEP)
    assert torch.equal(loaded(data)["energy"], potential.eval()(data)["energy"])


def test_equivariant_messages_make_it_see_the_twist() -> None:
    assert twist_signal(nn.Invariant()) < 1e-10
    assert twist_signal(nn.Equivariant()) > 1e-3
    with pytest.raises(ValueError, match="NEP needs spherical harmonics"):
        OrbitalNetwork(["H"], descriptor=NEP(), angular=nn.CartesianMoments())
