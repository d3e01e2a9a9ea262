"""Readouts: which features count, and how they start."""

from __future__ import annotations

import copy

import pytest
import torch

from equireann_pyg.nn import AllReadout, EnergyReadout, LastReadout
from equireann_pyg.testing import assert_close, randomize

SPECIES = torch.tensor([0, 1, 1, 0, 1])


def built(kind: type[EnergyReadout], num_iterations: int = 2) -> EnergyReadout:
    readout = kind([6, 5])
    readout.build(2, 4, num_iterations)
    return readout


def features() -> list[torch.Tensor]:
    return [torch.randn(5, 4) for _ in range(3)]


@pytest.mark.parametrize("kind", [LastReadout, AllReadout])
def test_starts_at_zero(kind: type[EnergyReadout]) -> None:
    readout = built(kind)
    assert torch.equal(readout(features(), SPECIES), torch.zeros(5))
    randomize(readout)
    assert bool(readout(features(), SPECIES).all())
    before = copy.deepcopy(readout.state_dict())
    readout.reset_parameters()
    assert torch.equal(readout(features(), SPECIES), torch.zeros(5))
    assert not any(torch.equal(value, before[key]) for key, value in readout.state_dict().items())


def test_last_readout_reads_the_last_features_only(double: torch.dtype) -> None:
    readout, given = built(LastReadout), features()
    randomize(readout)
    expected = readout.network(given[-1], SPECIES).squeeze(1)
    assert_close(readout(given, SPECIES), expected, 1e-13, "energies")
    assert torch.equal(readout(given[::-1], SPECIES), readout([given[0]], SPECIES))


def test_all_readout_adds_a_linear_part_of_every_iteration(double: torch.dtype) -> None:
    readout, given = built(AllReadout), features()
    randomize(readout)
    expected = readout.network(given[-1], SPECIES).squeeze(1)
    weight = readout.linear.weight.squeeze(-1).view(2, 3, 4) / 12**0.5  # element, iteration, feature
    for t in range(3):
        expected = expected + (weight[SPECIES, t] * given[t]).sum(1)
    expected = expected + readout.linear.bias[SPECIES].flatten()
    assert_close(readout(given, SPECIES), expected, 1e-13, "energies")


@pytest.mark.parametrize("kind", [LastReadout, AllReadout])
def test_every_parameter_gets_a_gradient(kind: type[EnergyReadout]) -> None:
    readout = built(kind)
    randomize(readout)
    readout(features(), SPECIES).square().sum().backward()
    for name, parameter in readout.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.any()), name


def test_a_plan_has_settings_only() -> None:
    for kind in (LastReadout, AllReadout):
        assert kind().config == {"hidden_channels": [64, 64]}
        assert not list(kind().parameters())
    with pytest.raises(TypeError, match="EnergyReadout must define build"):
        EnergyReadout().build(1, 2, 3)
    with pytest.raises(TypeError, match="EnergyReadout must define forward"):
        EnergyReadout()(features(), SPECIES)
    with pytest.raises(ValueError, match="hidden_channels is empty"):
        LastReadout([]).build(1, 2, 3)
