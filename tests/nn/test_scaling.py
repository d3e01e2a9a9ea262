"""Standardised features per element."""

from __future__ import annotations

import pytest
import torch

from equireann_pyg.nn import ElementStandardize, HalfStandardize, SoftStandardize
from equireann_pyg.nn.scaling import calibrate
from equireann_pyg.testing import assert_close

SPECIES = torch.tensor([0, 2] * 50)


def features() -> torch.Tensor:
    return 3.0 + torch.randn(100, 4) * torch.tensor([0.1, 1.0, 10.0, 100.0]) + SPECIES.unsqueeze(1)


def test_unit_variance_per_element(dtype: torch.dtype) -> None:
    x, scaling = features(), ElementStandardize(3, 4)
    assert torch.equal(scaling(x, SPECIES), x)
    scaling.fit(x, SPECIES)
    tolerance = 2e-4 if dtype == torch.float32 else 1e-12
    for s in (0, 2):
        y = scaling(x, SPECIES)[s == SPECIES]
        assert y.mean(0).abs().max() < tolerance
        assert_close(y.square().mean(0), torch.ones(4), tolerance, "variance")
    assert torch.equal(scaling.mean[1], torch.zeros(4))  # an element that does not occur keeps the identity
    assert torch.equal(scaling.scale[1], torch.ones(4))


def test_fit_replaces_the_old_statistics() -> None:
    x, scaling = features(), ElementStandardize(3, 4)
    scaling.fit(x, SPECIES)
    once = scaling(x, SPECIES)
    scaling.fit(x, SPECIES)
    assert torch.equal(scaling(x, SPECIES), once)
    scaling.reset_parameters()
    assert torch.equal(scaling(x, SPECIES), x)


def test_constant_features_are_not_blown_up() -> None:
    x = torch.full((10, 1), 2.0)
    x[0] += 1e-6
    scaling = ElementStandardize(1, 1)
    scaling.fit(x, torch.zeros(10, dtype=torch.int64))
    assert scaling(x, torch.zeros(10, dtype=torch.int64)).abs().max() < 1e-3
    zeros = torch.zeros(10, 1)
    scaling.fit(zeros, torch.zeros(10, dtype=torch.int64))
    assert torch.equal(scaling(zeros, torch.zeros(10, dtype=torch.int64)), zeros)


def test_features_keep_half_of_their_order(dtype: torch.dtype) -> None:
    """Deviations of 0.1 to 100: their roots, and unit variance on the average over the features."""
    x, scaling = features(), HalfStandardize(3, 4)
    scaling.fit(x, SPECIES)
    for s in (0, 2):
        size = ElementStandardize.forward(scaling, x, SPECIES)[s == SPECIES].std(0, correction=0)  # -> [k]
        assert_close(size / size[0], (x[s == SPECIES].std(0) / x[s == SPECIES, 0].std(0)).sqrt(), 2e-4, "order")
        assert_close(size.square().mean(), torch.tensor(1.0), 2e-4, "variance")
    assert torch.equal(scaling.scale[1], torch.ones(4))
    before, other = scaling.scale.clone(), x * 3
    scaling.fit(other, SPECIES, only=[2])
    assert torch.equal(scaling.scale[0], before[0])
    assert_close(scaling.scale[2], 3 * before[2], 1e-5, "scale of the only element")


def test_statistics_are_stored_but_not_trained() -> None:
    scaling = ElementStandardize(3, 4)
    assert not list(scaling.parameters())
    assert set(scaling.state_dict()) == {"mean", "scale"}
    assert repr(scaling) == "ElementStandardize(num_species=3, num_features=4)"


def test_soft_features_are_bent_only_far_out(dtype: torch.dtype) -> None:
    scaling, species = SoftStandardize(1, 1), torch.zeros(5, dtype=torch.long)
    x = torch.tensor([[1.0], [-1.0], [1e2], [1e10], [-1e20]])
    y = scaling(x, species).squeeze(1)
    assert float(y[0]) == pytest.approx(1.0, rel=2e-3)
    assert float(y[1]) == -float(y[0])
    assert y[2:].abs().tolist() == pytest.approx(
        (10 * torch.asinh(x.squeeze(1)[2:].double().abs() / 10)).tolist(), rel=1e-5
    )
    assert float(y.abs().max()) < 500


class Chain(torch.nn.Module):
    """Two standardisations, the first of them evaluated twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = ElementStandardize(3, 4), ElementStandardize(3, 4)

    def forward(self, x: torch.Tensor, species: torch.Tensor) -> torch.Tensor:
        return self.first(100 * self.second(self.first(x, species) ** 2, species), species)


def test_calibration_fits_every_part_once_to_what_reaches_it(double: torch.dtype) -> None:
    x, chain = features(), Chain()
    calibrate(chain, x, SPECIES)
    expected = ElementStandardize(3, 4)
    expected.fit(x, SPECIES)
    assert_close(chain.first.scale, expected.scale, 1e-12, "scale of the first part")
    y = chain.second(chain.first(x, SPECIES) ** 2, SPECIES)
    assert_close(y[SPECIES == 0].square().mean(0), torch.ones(4), 1e-12, "variance behind the second part")


def test_calibration_leaves_no_hooks() -> None:
    chain = Chain()
    with pytest.raises(IndexError):
        calibrate(chain, features(), SPECIES + 7)
    before = chain.first.scale.clone()
    chain(5 * features(), SPECIES)
    assert torch.equal(chain.first.scale, before)
