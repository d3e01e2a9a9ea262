"""Conversion to the layout of e3nn, against e3nn itself."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import Tensor

from equireann_pyg import EquiREANN
from equireann_pyg.nn import CartesianMoments, SphericalHarmonics, e3nn_irreps, from_e3nn, solid_harmonics, to_e3nn
from equireann_pyg.testing import assert_close, make_graph, random_orthogonal, randomize

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of e3nn with newer versions of torch
    from e3nn import o3

NUM_CHANNELS = 3


def vectors() -> Tensor:
    return torch.randn(12, 3, dtype=torch.float64)


@pytest.mark.parametrize("unit", [True, False])
def test_harmonics_are_those_of_e3nn(unit: bool) -> None:
    angular, vec = SphericalHarmonics(5, unit=unit), vectors()
    y = angular(vec, vec.norm(dim=-1))
    expected = o3.spherical_harmonics(list(range(6)), vec, normalize=unit, normalization="component")
    assert_close(to_e3nn(y.unsqueeze(-1), angular), expected, 1e-12, "harmonics")
    assert float((y - expected)[:, 1:4].abs().max()) > 0.1  # the orders do differ


def test_solid_harmonics_are_normalised_over_the_sphere_as_in_e3nn() -> None:
    vec = vectors()
    expected = o3.spherical_harmonics(list(range(4)), vec, normalize=False, normalization="integral")
    y = solid_harmonics(vec, 3).unsqueeze(-1)
    assert_close(to_e3nn(y, SphericalHarmonics(3)), expected, 1e-12, "solid harmonics")


@pytest.mark.parametrize("reflect", [False, True])
def test_orbitals_turn_with_the_matrices_of_e3nn(reflect: bool, double: torch.dtype) -> None:
    model = EquiREANN(["H", "C"], 3.0, num_radial=NUM_CHANNELS, num_density=4, num_iterations=2, hidden_channels=[4])
    randomize(model)
    z, pos = torch.tensor([1, 6, 6, 1, 6]), 1.5 * torch.randn(5, 3)
    q = random_orthogonal(seed=7, reflect=reflect)

    def features(pos: Tensor) -> Tensor:
        graph = make_graph(z, pos, cutoff=3.0)
        vec = graph.pos[graph.edge_index[0]] - graph.pos[graph.edge_index[1]]
        orbital = model.encode(z, graph.edge_index, vec)[1]
        return to_e3nn(orbital.detach(), model.angular)

    before, after = features(pos), features(pos @ q.T)
    irreps = o3.Irreps(e3nn_irreps(model.angular, NUM_CHANNELS))
    assert irreps == o3.Irreps("3x0e + 3x1o + 3x2e")
    assert before.size(1) == irreps.dim
    assert_close(after, before @ irreps.D_from_matrix(q).T, 1e-10, "orbitals of the turned molecule")
    assert float((after - before).abs().max()) > 0.05 * float(before.abs().max())


def test_channels_of_one_degree_stand_together() -> None:
    """A linear layer of e3nn mixes channels of the same degree only, and each component alike."""
    angular, orbital = SphericalHarmonics(2), torch.randn(4, 9, NUM_CHANNELS)
    irreps = o3.Irreps(e3nn_irreps(angular, NUM_CHANNELS))
    mixing = torch.randn(NUM_CHANNELS, NUM_CHANNELS)
    features = to_e3nn(orbital, angular)
    mixed = torch.cat(
        [
            torch.einsum("icm,cd->idm", features[:, block].view(4, mul, ir.dim), mixing).flatten(1)
            for block, (mul, ir) in zip(irreps.slices(), irreps, strict=True)
        ],
        dim=1,
    )
    assert_close(from_e3nn(mixed, angular), orbital @ mixing, 1e-5, "mixed channels")


def test_there_and_back(dtype: torch.dtype) -> None:
    angular, orbital = SphericalHarmonics(4), torch.randn(6, 25, NUM_CHANNELS)
    features = to_e3nn(orbital, angular)
    assert features.dtype == dtype
    assert_close(features.norm(), orbital.norm(), 1e-6, "norm")
    assert_close(from_e3nn(features, angular), orbital, 1e-5 if dtype == torch.float32 else 1e-13, "there and back")
    assert to_e3nn(orbital[:0], angular).shape == (0, 25 * NUM_CHANNELS)


def test_refuses() -> None:
    moments, angular = CartesianMoments(1), SphericalHarmonics(2)
    for convert in (lambda: to_e3nn(torch.zeros(2, 4, 1), moments), lambda: from_e3nn(torch.zeros(2, 4), moments)):
        with pytest.raises(ValueError, match=r"no layout for Cartesian moments.*use angular=SphericalHarmonics"):
            convert()
    with pytest.raises(ValueError, match=r"expected orbitals \[N, 9, n\] for SphericalHarmonics.*got \[2, 4, 1\]"):
        to_e3nn(torch.zeros(2, 4, 1), angular)
    with pytest.raises(ValueError, match=r"expected features \[N, 9 n\].*got \[2, 10\]"):
        from_e3nn(torch.zeros(2, 10), angular)
