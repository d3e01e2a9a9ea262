"""Message rules: their formulae, equivariance, and filters that end with the envelope."""

from __future__ import annotations

import copy
import warnings
from contextlib import nullcontext

import pytest
import torch
from torch import Tensor

from equireann_pyg.nn import (
    Angular,
    CartesianMoments,
    Coupled,
    Directed,
    Equivariant,
    Filtered,
    Invariant,
    Local,
    MessageRule,
    SelfCoupling,
    Separate,
    SphericalHarmonics,
)
from equireann_pyg.nn.scaling import calibrate, degree_scale
from equireann_pyg.ops import by_reference
from equireann_pyg.testing import assert_close, random_orthogonal, randomize, representation
from tests.nn.test_descriptor import SPECIES, layout_of

HARMONICS = SphericalHarmonics(2)
DEGREE = [0, 1, 1, 1, 2, 2, 2, 2, 2]
RULES: dict[str, MessageRule] = {
    "invariant": Invariant([6]),
    "equivariant": Equivariant([6]),
    "filtered": Filtered([6]),
    "coupled": Coupled([6], num_channels=3),
    "separate": Separate([6], num_messages=3, num_flat=1),
    "directed": Directed([6], num_messages=6, num_flat=1),
}
COUPLED = ("coupled", "separate", "directed")
"""Rules that couple degrees, and so need harmonics."""


@pytest.fixture(params=RULES)
def plan(request: pytest.FixtureRequest) -> MessageRule:
    """Every rule that has iterations."""
    return RULES[request.param]


def built(plan: MessageRule, angular: Angular = HARMONICS) -> MessageRule:
    """A built copy with random parameters and scales, for six features."""
    rule = plan.copies(layout_of(angular), 6, 1)[0]
    randomize(rule)
    for name, buffer in rule.named_buffers():
        if name.endswith(".scale"):
            buffer.uniform_(0.5, 2.0)
    return rule


def inputs() -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Features, coefficients, orbitals, their sum and elements."""
    return torch.randn(6, 6), torch.randn(6, 4), torch.randn(6, 9, 4), torch.randn(6, 9, 4), SPECIES


def test_published_rules(double: torch.dtype) -> None:
    for plan in (RULES["invariant"], RULES["equivariant"]):
        rule, given = built(plan), inputs()
        features, coefficient, _, orbital_sum, species = given
        new, *message = rule(*given)
        assert_close(new, coefficient + rule.update(features, species), 1e-13, "coefficient")
        assert not torch.allclose(new, coefficient, atol=0.05)
        if message:
            assert_close(message[0], new.unsqueeze(1) * orbital_sum, 1e-13, "message")
        assert len(message) == isinstance(rule, Equivariant)
        envelope = torch.rand(5)
        assert torch.equal(rule.edge_filter(torch.rand(5, 4), envelope, envelope)[0], envelope)


def test_strength_of_messages(double: torch.dtype) -> None:
    """One in a new rule, as published; graded by the number of neighbours; the same recursion in other units."""
    rule, given = built(Equivariant([6], growth=2.0)), inputs()
    assert torch.equal(rule.strength, torch.ones(4))
    rule.fit_neighbours(torch.tensor(8.0))
    assert_close(rule.strength[-1], torch.tensor(2.0 * 4**0.5 / 8.0), 1e-13, "strength of the last channel")
    assert bool((rule.strength.diff() > 0).all())
    assert 0 < float(rule.strength[0]) < 0.01 * float(rule.strength[-1])
    new, message = rule(*given)
    assert_close(message, rule.strength * new.unsqueeze(1) * given[3], 1e-13, "message")
    rule.reset_parameters()
    assert torch.equal(rule.strength, torch.ones(4))
    earlier = {name: value for name, value in rule.state_dict().items() if name != "strength"}
    rule.fit_neighbours(torch.tensor(8.0))
    rule.load_state_dict(earlier)  # of a file of before
    assert torch.equal(rule.strength, torch.ones(4))


def test_filtered_rule(double: torch.dtype) -> None:
    rule, given = built(RULES["filtered"]), inputs()
    new, message = rule(*given)
    for m, degree in enumerate(DEGREE):
        assert_close(message[:, m], new * rule.gain[degree] * given[3][:, m], 1e-13, "message")
    radial, envelope = torch.rand(5, 4), torch.rand(5)
    expected = envelope.unsqueeze(1) + radial @ rule.radial_filter / 2
    assert_close(rule.edge_filter(radial, envelope, envelope)[0], expected, 1e-13, "filter")


def unscaled_product(rule: Coupled, narrow: Tensor) -> Tensor:
    """Product of the narrow orbital with itself, with the rule's weights but not its scale."""
    coupling = SelfCoupling(2, 3, 2)
    coupling.load_state_dict({"weight": rule.coupling.weight})
    return coupling(narrow, SPECIES)


def test_coupled_rule(double: torch.dtype) -> None:
    rule, given = built(RULES["coupled"]), inputs()
    assert all(float((scale - 1).abs().max()) > 0.1 for name, scale in rule.named_buffers() if name.endswith(".scale"))
    last, orbital_sum = (
        given[2] / rule.narrow.scale[DEGREE].unsqueeze(1),
        given[3] / rule.of_sum.scale[DEGREE].unsqueeze(1),
    )
    narrow = torch.einsum("imn,mnk->imk", last, rule.narrow.weight[DEGREE]) / 4**0.5
    product = unscaled_product(rule, narrow) / rule.coupling.scale[DEGREE].unsqueeze(1)
    of_sum = torch.einsum("imn,mnk->imk", orbital_sum, rule.of_sum.weight[DEGREE]) / 4**0.5
    mixed = of_sum + torch.einsum("imn,mnk->imk", product, rule.of_product.weight[DEGREE]) / 3**0.5
    size = torch.stack([part.square().mean(1) for part in mixed.split([1, 3, 5], dim=1)], dim=1)[:, DEGREE]
    expected = mixed / (1 + size / 25).sqrt()
    for plain in (False, True):
        with by_reference() if plain else nullcontext():
            new, message = rule(*given)
        assert_close(message, new.unsqueeze(1) * expected, 1e-12, "message")


@pytest.mark.parametrize("plain", [False, True], ids=["kernels", "plain"])
def test_coupled_rule_takes_its_scales_from_what_reaches_it(plain: bool, double: torch.dtype) -> None:
    rule, (*given, species) = built(RULES["coupled"]), inputs()
    given[2], given[3] = 7 * given[2], 20 * given[3] * torch.tensor([0.5, 1.0, 2.0, 1.5])
    with by_reference() if plain else nullcontext():
        calibrate(rule, *given, species)
        narrow = rule.narrow(given[2])
        product = rule.coupling(narrow, species)
    assert_close(rule.narrow.scale, degree_scale(given[2], (1, 3, 5)), 1e-13, "scale of the last orbital")
    assert_close(rule.of_sum.scale, degree_scale(given[3], (1, 3, 5)), 1e-13, "scale of the sum")
    assert_close(
        rule.coupling.scale, degree_scale(unscaled_product(rule, narrow), (1, 3, 5)), 1e-12, "scale of the product"
    )
    assert_close(product.square().mean(), torch.tensor(1.0), 1e-12, "size of the product")


def test_new_filtered_rules_are_the_published_one(double: torch.dtype) -> None:
    rule, given = Filtered([6]), inputs()
    rule.build(layout_of(HARMONICS), 6)
    assert torch.equal(rule(*given)[1], given[1].unsqueeze(1) * given[3])  # the network starts at zero
    coupled = Coupled([6])
    coupled.build(layout_of(HARMONICS), 6)
    for new in (rule, coupled):
        envelope = torch.rand(5)
        filters = new.edge_filter(torch.rand(5, 4), envelope, envelope)[0]
        assert_close(filters, envelope.unsqueeze(1).expand(-1, 4), 1e-13, "filter")


def test_filters_of_the_coupled_rule_are_graded(double: torch.dtype) -> None:
    coupled = Coupled([6])
    coupled.build(layout_of(HARMONICS), 6)
    far, near = torch.rand(5) + 1, torch.rand(5)
    (filters,) = coupled.edge_filter(torch.rand(5, 4), far, near)
    expected = torch.stack([near + (far - near) * (n / 3) ** 3 for n in range(4)], dim=1)
    assert_close(filters, expected, 1e-13, "filter")
    torch.nn.init.normal_(coupled.radial_filter)
    radial = torch.rand(5, 4)
    (changed,) = coupled.edge_filter(radial, far, near)
    assert_close(changed, expected + radial @ coupled.radial_filter / 2, 1e-13, "learned filter")


def test_every_filter_ends_with_the_envelope(plan: MessageRule) -> None:
    (weight,) = built(plan).edge_filter(torch.zeros(5, 4), torch.zeros(5), torch.zeros(5))
    assert not bool(weight.any())


@pytest.mark.parametrize("reflect", [False, True])
def test_every_message_turns_with_the_orbitals(plan: MessageRule, reflect: bool, dtype: torch.dtype) -> None:
    rule, (features, coefficient, orbital, orbital_sum, species) = built(plan), inputs()
    matrix = representation(HARMONICS, random_orthogonal(reflect=reflect)).to(dtype)
    expected = rule(features, coefficient, orbital, orbital_sum, species)
    actual = rule(features, coefficient, matrix @ orbital, matrix @ orbital_sum, species)
    tolerance = 2e-5 if dtype == torch.float32 else 1e-12
    assert_close(actual[0], expected[0], tolerance, "coefficient")
    for message, before in zip(actual[1:], expected[1:], strict=True):
        turn = matrix[: before.size(1), : before.size(1)]  # a message may have the lowest degrees only
        assert not torch.allclose(turn @ before, before, atol=0.1)
        assert_close(message, turn @ before, tolerance, "message")


def test_gradients_of_every_rule_on_both_paths(plan: MessageRule, double: torch.dtype) -> None:
    rule, (*given, _) = built(plan), inputs()
    apart = ("radial_filter", "directed_filter", "coupling_along.weight")  # of the edges and of the sum over them
    names = [name for name, _ in rule.named_parameters() if name not in apart]
    tensors = [value[:2].clone().requires_grad_() for value in given]
    used = (
        tensors if isinstance(rule, Coupled) else [*tensors[:2], given[2][:2], tensors[3]]
    )  # others take the sum only
    used = used if isinstance(rule, Equivariant) else [*tensors[:2], given[2][:2], given[3][:2]]

    def function(*values: Tensor) -> tuple[Tensor, ...]:
        parameters = dict(zip(names, values[4:], strict=True))
        return torch.func.functional_call(rule, parameters, (*values[:4], SPECIES[:2]))

    arguments = (*used, *(rule.get_parameter(name) for name in names))
    for plain in (False, True):
        with by_reference() if plain else nullcontext():
            assert torch.autograd.gradcheck(function, arguments, fast_mode=True)
            assert torch.autograd.gradgradcheck(function, arguments, fast_mode=True)


def test_every_rule_is_reset_and_rebuilt(plan: MessageRule) -> None:
    rule, twin = built(plan), type(plan)(**plan.config)
    assert not list(plan.parameters())
    twin.build(layout_of(HARMONICS), 6)
    before = copy.deepcopy(rule.state_dict())
    assert {key: value.shape for key, value in twin.state_dict().items()} == {k: v.shape for k, v in before.items()}
    rule.reset_parameters()
    for name, parameter in rule.named_parameters():
        assert not torch.equal(parameter, before[name]), name
    for name, buffer in rule.named_buffers():
        assert not name.endswith(".scale") or torch.equal(buffer, torch.ones_like(buffer)), name


def test_local_has_no_iterations() -> None:
    assert Local().copies(layout_of(HARMONICS), 6, 0) == []
    with pytest.raises(ValueError, match="nothing travels, so expected num_iterations=0, got 2"):
        Local().copies(layout_of(HARMONICS), 6, 2)


def test_coupling_needs_harmonics() -> None:
    with pytest.raises(ValueError, match="Coupled needs spherical harmonics"):
        Coupled().build(layout_of(CartesianMoments(2)), 6)
    with pytest.raises(TypeError, match="MessageRule must define forward"):
        MessageRule()(*inputs())


def test_a_rule_with_the_earlier_name_of_its_filter() -> None:
    radial, envelope = torch.rand(5, 4), torch.rand(5)
    with pytest.warns(FutureWarning, match=r"Doubled.filter: rename it to edge_filter"):

        class Doubled(Filtered):
            def filter(self, *edges: Tensor) -> tuple[Tensor]:
                return (2 * super().filter(*edges)[0],)

    with warnings.catch_warnings():
        warnings.simplefilter("error")

        class Tripled(Doubled):
            def edge_filter(self, *edges: Tensor) -> tuple[Tensor]:
                return (1.5 * super().edge_filter(*edges)[0],)

    plain, doubled, tripled = (built(kind([6])) for kind in (Filtered, Doubled, Tripled))
    for rule in (doubled, tripled):
        rule.load_state_dict(plain.state_dict())
    (expected,) = plain.edge_filter(radial, envelope, envelope)
    assert_close(doubled.edge_filter(radial, envelope, envelope)[0], 2 * expected, 1e-6, "filter")
    assert_close(tripled.edge_filter(radial, envelope, envelope)[0], 3 * expected, 1e-6, "filter")
    assert torch.equal(plain.filter(radial, envelope, envelope)[0], expected)
