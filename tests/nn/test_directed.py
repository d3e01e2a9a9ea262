"""Messages that know from where they come: coupling of outer products, and the degrees of a message."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch

from equireann_pyg.nn import CartesianMoments, Coupling, Directed, OuterCoupling
from equireann_pyg.ops import by_reference
from equireann_pyg.testing import assert_close
from tests.nn.test_descriptor import SPECIES, layout_of
from tests.nn.test_separate import LAYOUT


@pytest.mark.parametrize("plain", [False, True], ids=["kernels", "plain"])
def test_outer_coupling_is_coupling_of_a_product(plain: bool, double: torch.dtype) -> None:
    outer, both = OuterCoupling(2, 1, 5), Coupling(2, 5)
    a, b = torch.randn(6, 9, 5), torch.randn(6, 4, 5)
    with torch.no_grad():
        both.weight.zero_()
        for p, path in enumerate(outer.paths):
            both.weight[:, both.paths.index(path)] = outer.weight[:, p]
    assert len(outer.paths) == sum(l2 < 2 for _, l2, _ in both.paths)
    expected = both(a, torch.cat([b, torch.zeros(6, 5, 5)], dim=1))
    with by_reference() if plain else nullcontext():
        assert_close(outer(a.unsqueeze(2) * b.unsqueeze(1)), expected, 1e-13, "product")


def test_outer_coupling_at_the_start() -> None:
    layer = OuterCoupling(3, 1, 4000)
    variance = layer(torch.randn(20, 16, 4, 4000)).var(dim=0).mean(dim=-1)  # -> [lm]
    assert variance.tolist() == pytest.approx([1.0] * 16, rel=0.2)
    assert set(layer.state_dict()) == {"weight"}
    assert layer.half().values.dtype == torch.float64
    assert repr(layer) == "OuterCoupling(max_degree=3, max_degree_second=1, num_channels=4000)"


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ((6, 1, -1), "expected max_degree of 0 or more, got -1"),
        ((5, 1), "expected an even num_messages, of which half are directed, got 5"),
        ((6, 4), "expected num_flat from 0 to the 3 messages that are sent, got 4"),
    ],
    ids=str,
)
def test_bad_arguments(plan: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=f"Directed: {message}"):
        Directed([6], *plan)


def test_orbitals_that_do_not_do() -> None:
    with pytest.raises(ValueError, match="Directed: expected max_degree of at most that of the orbitals, 2, got 3"):
        Directed([6], 6, 1, 3).copies(LAYOUT, 6, 1)
    with pytest.raises(ValueError, match="Directed needs spherical harmonics"):
        Directed([6], 6, 1).copies(layout_of(CartesianMoments(2)), 6, 1)


def test_a_message_is_sent_with_all_degrees() -> None:
    (rule,) = Directed([6], 6, 1).copies(LAYOUT, 6, 1)
    _, message = rule(torch.randn(6, 6), torch.randn(6, 4), *[torch.randn(6, 9, 4)] * 2, SPECIES)
    assert message.shape == (6, 9, 3)
    assert float(rule.directed_filter.detach().std()) > 0.3
