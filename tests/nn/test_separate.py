"""The rule with channels for messages: its formula, its filters, and the norm of orbitals."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from equireann_pyg.nn import CartesianMoments, OrbitalNorm, SelfCoupling, Separate, SphericalHarmonics
from equireann_pyg.nn.scaling import calibrate
from equireann_pyg.testing import assert_close, randomize
from tests.nn.test_descriptor import SPECIES, layout_of
from tests.nn.test_message import DEGREE

HARMONICS = SphericalHarmonics(2)
LAYOUT = layout_of(HARMONICS)  # four radial channels
LATER = replace(LAYOUT, num_messages=3)
PLAN = Separate([6], num_messages=3, num_flat=1)


def built(later: bool) -> Separate:
    """The rule of the first or of a later iteration, with random parameters and scales, for six features."""
    (rule,) = PLAN.copies(LATER if later else LAYOUT, 6, 1)
    randomize(rule)
    for name, buffer in rule.named_buffers():
        if name.endswith("scale"):
            buffer.uniform_(0.5, 2.0)
    return rule


@pytest.mark.parametrize("later", [False, True])
def test_formula(later: bool, double: torch.dtype) -> None:
    rule, n = built(later), 7 if later else 4
    features, coefficient, orbital = torch.randn(6, 6), torch.randn(6, 4), torch.randn(6, 9, n)
    change = rule.update(features, SPECIES)
    new, message = rule(features, coefficient, orbital, orbital, SPECIES)
    assert_close(new, coefficient * (1 + change / (1 + change**2).sqrt()), 1e-13, "coefficient")

    def mixed(part: torch.nn.Module, scale: Tensor, x: Tensor) -> Tensor:
        return torch.einsum("imn,mnk->imk", x / scale[DEGREE].unsqueeze(1), part.weight[DEGREE]) / x.size(2) ** 0.5

    product = SelfCoupling(2, 3, 2)
    product.load_state_dict({"weight": rule.coupling.weight})
    squared = product(mixed(rule.narrow, rule.narrow.scale, orbital), SPECIES)
    expected = mixed(rule.mix, rule.mix.scale, orbital) + mixed(rule.of_product, rule.coupling.scale, squared)
    assert_close(message, expected, 1e-12, "message")


def test_filters(double: torch.dtype) -> None:
    rule, radial, envelope = built(False), torch.rand(5, 4), torch.rand(5)
    (filters,) = rule.edge_filter(radial, envelope, torch.rand(5))
    expected = radial @ rule.radial_filter / 2
    expected[:, 2] += envelope  # the only flat one is the last
    assert_close(filters, expected, 1e-14, "filters")


@pytest.mark.parametrize("num_flat", [0, 1, 3])
def test_number_of_flat_filters(num_flat: int) -> None:
    (rule,) = Separate([6], 3, num_flat).copies(LAYOUT, 6, 1)
    (filters,) = rule.edge_filter(torch.zeros(5, 4), torch.ones(5), torch.ones(5))
    assert filters[0].tolist() == [0.0] * (3 - num_flat) + [1.0] * num_flat


def test_new_filters_are_random_and_no_change_of_coefficients_yet() -> None:
    (rule,), coefficient = PLAN.copies(LAYOUT, 6, 1), torch.randn(6, 4)
    assert float(rule.radial_filter.detach().std()) > 0.5
    new, message = rule(torch.randn(6, 6), coefficient, *[torch.randn(6, 9, 4)] * 2, SPECIES)
    assert torch.equal(new, coefficient)
    assert message.shape == (6, 9, 3)


def test_no_coefficient_runs_away(double: torch.dtype) -> None:
    rule, orbital = built(False), torch.randn(6, 9, 4)
    new, _ = rule(1e6 * torch.randn(6, 6), torch.ones(6, 4), orbital, orbital, SPECIES)
    assert float(new.detach().max()) <= 2.0
    assert float(new.detach().min()) >= 0.0


def test_the_last_orbital_is_all_that_is_read() -> None:
    rule, last = built(True), torch.randn(6, 9, 7)
    assert rule.gathered(torch.randn(6, 9, 4), last) is last


def test_norm_of_every_degree_and_message(double: torch.dtype) -> None:
    norm, orbital = OrbitalNorm(LATER), torch.randn(50, 9, 7) * torch.logspace(-3, 3, 7)
    orbital = orbital * torch.tensor([1.0, 3.0, 0.2])[DEGREE].unsqueeze(1)
    assert torch.equal(norm(orbital), orbital)
    norm.fit(orbital)
    local, messages = norm(orbital).split([4, 3], dim=2)
    for part, own in zip(local.split([1, 3, 5], dim=1), messages.split([1, 3, 5], dim=1), strict=True):
        assert_close(part.square().mean(), torch.tensor(1.0), 1e-12, "local orbitals of a degree")
        assert_close(own.square().mean((0, 1)), torch.ones(3), 1e-12, "every channel of the messages")
    ratio = local[:, :, 1:] / local[:, :, :1]
    assert_close(ratio, orbital[:, :, 1:4] / orbital[:, :, :1], 1e-12, "local channels among themselves")
    norm.reset_parameters()
    assert torch.equal(norm(orbital), orbital)
    assert set(norm.state_dict()) == {"scale"}
    assert repr(norm) == "OrbitalNorm([1, 3, 5], 4, num_messages=3)"


def test_norm_leaves_alone_what_is_zero(double: torch.dtype) -> None:
    norm, orbital = OrbitalNorm(LATER), torch.randn(50, 9, 7)
    orbital[:, 1:4], orbital[:, :, 5], orbital[:, 4:, 6] = 0.0, 0.0, 1e-14 * torch.randn(50, 5)
    norm.fit(orbital)
    scale = norm.scale
    assert bool((scale[1] == 1).all())
    assert bool((scale[:, 5] == 1).all())
    assert float(scale[2, 6]) == 1.0
    norm.fit(torch.zeros(50, 9, 7))
    assert bool((norm.scale == 1).all())


def test_statistics_are_taken_on_the_way(double: torch.dtype) -> None:
    rule, orbital = built(True), torch.randn(6, 9, 7) * 5
    calibrate(rule, torch.randn(6, 6), torch.randn(6, 4), orbital, orbital, SPECIES)
    for scale in (rule.mix.scale, rule.narrow.scale):
        assert_close(scale, scale[0] * torch.tensor([1.0, 2.0, 3.0]), 1e-12, "degrees as of ScaledLinear")
    product = rule.coupling(rule.narrow(orbital), SPECIES)
    assert_close(product.square().mean(), torch.tensor(1.0), 1e-12, "product")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_messages": 0}, "expected num_messages of 1 or more, got 0: Invariant passes on none"),
        ({"num_messages": 4, "num_flat": 5}, "expected num_flat from 0 to the 4 messages that are sent, got 5"),
        ({"num_flat": -1}, "expected num_flat from 0 to the 32 messages that are sent, got -1"),
    ],
    ids=str,
)
def test_bad_arguments(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=f"Separate: {message}"):
        Separate([6], **arguments)


def test_needs_harmonics() -> None:
    with pytest.raises(ValueError, match="Separate needs spherical harmonics"):
        PLAN.copies(layout_of(CartesianMoments(2)), 6, 1)
