"""Contractions of Cartesian moments against sums over neighbours of outer products."""

from __future__ import annotations

import pytest
import torch

from equireann_pyg.nn import CartesianMoments, MomentContractions, SphericalHarmonics
from equireann_pyg.testing import assert_close
from tests.nn.test_descriptor import SPECIES, built


@pytest.mark.parametrize("max_degree", [2, 3, 4])
def test_against_tensors_of_all_components(max_degree: int, double: torch.dtype) -> None:
    vec, weight = torch.randn(6, 5, 3), torch.randn(6, 5, 4)  # of five neighbours
    angular = CartesianMoments(max_degree, unit=False)
    values = angular(vec.flatten(0, 1), vec.flatten(0, 1).norm(dim=1)).view(6, 5, -1)
    descriptor = built(MomentContractions(4), angular)
    with torch.no_grad():
        descriptor.mix.weight.copy_(2 * torch.eye(4))  # the root of the width is apart
    scale = descriptor.mix.scale.uniform_(0.5, 2.0)
    m0 = weight.sum(1) / scale[0]
    m1 = torch.einsum("ijk,ija->iak", weight, vec) / scale[1]
    m2 = torch.einsum("ijk,ija,ijb->iabk", weight, vec, vec) / scale[2]
    expected = [
        m0,
        torch.einsum("iaak->ik", m2),
        torch.einsum("iak,iak->ik", m1, m1),
        torch.einsum("iabk,iabk->ik", m2, m2),
        torch.einsum("iak,iabk,ibk->ik", m1, m2, m1),
        torch.einsum("iabk,ibck,icak->ik", m2, m2, m2),
        torch.einsum("iak,iabk,ibck,ick->ik", m1, m2, m2, m1),
    ]
    if max_degree > 2:
        m3 = torch.einsum("ijk,ija,ijb,ijc->iabck", weight, vec, vec, vec) / scale[3]
        expected.append(torch.einsum("iabck,iabck->ik", m3, m3))
        expected.append(torch.einsum("iak,iabck,ibck->ik", m1, m3, m2))
    actual = descriptor(torch.einsum("ijm,ijk->imk", values, weight), SPECIES)
    assert descriptor.num_features == 4 * len(expected)
    for number, (part, value) in enumerate(zip(actual.split(4, dim=1), expected, strict=True)):
        assert_close(part, value, 1e-12, f"contraction {number}")


def test_wrong_orbitals_are_refused() -> None:
    with pytest.raises(ValueError, match=r"needs Cartesian moments, got harmonics: use angular=CartesianMoments\(\)"):
        built(MomentContractions(), SphericalHarmonics(2))
    with pytest.raises(ValueError, match=r"needs moments of l = 0\.\.2, got max_degree=1"):
        built(MomentContractions(), CartesianMoments(1))
