"""Networks per element: evaluated together, equal to one network per atom."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.nn.functional import silu

from equireann_pyg.nn import ElementLinear, ElementMLP
from equireann_pyg.testing import assert_close, randomize

SPECIES = torch.tensor([2, 0, 2, 2, 0])  # element 1 does not occur


def one_atom(mlp: ElementMLP, x: torch.Tensor, s: int) -> torch.Tensor:
    """The formula of the class for one atom of element ``s``."""

    def linear(layer: ElementLinear, value: torch.Tensor) -> torch.Tensor:
        return value @ layer.weight[s] / layer.weight.size(1) ** 0.5 + layer.bias[s, 0]

    h = g = linear(mlp.embed, x)
    for layer in mlp.block:
        g = linear(layer, silu(g))
    return linear(mlp.out, silu(h + g))


@pytest.mark.parametrize("hidden", [[6], [6, 5], [7, 6, 5]])
def test_against_one_network_per_atom(hidden: list[int], dtype: torch.dtype) -> None:
    mlp, x = ElementMLP(3, 4, hidden, 2), torch.randn(5, 4)
    randomize(mlp)
    expected = torch.stack([one_atom(mlp, row, s) for row, s in zip(x, SPECIES.tolist(), strict=True)])
    actual = mlp(x, SPECIES)
    assert actual.dtype == dtype
    assert_close(actual, expected, 1e-5 if dtype == torch.float32 else 1e-13, "network per element")


def test_start_is_identity_block_and_zero_output() -> None:
    mlp, x = ElementMLP(3, 16, [16, 16], 2), torch.randn(5, 16)
    assert torch.equal(mlp(x, SPECIES), torch.zeros(5, 2))
    hidden = block = mlp.embed(x, SPECIES)
    for layer in mlp.block:
        block = layer(silu(block), SPECIES)
    assert torch.equal(block, torch.zeros_like(hidden))


def test_start_keeps_the_variance() -> None:
    x, species = torch.randn(4000, 64), torch.zeros(4000, dtype=torch.long)
    linear = ElementLinear(1, 64, 64)
    assert float(linear(x, species).detach().var()) == pytest.approx(1.0, abs=0.1)
    assert float(linear.weight.detach().var()) == pytest.approx(1.0, abs=0.1)  # one learning rate suits every width
    mlp = ElementMLP(1, 64, [64, 64, 64], 1)
    inner = mlp.block[0](silu(x), species)
    assert float(inner.detach().square().mean()) == pytest.approx(1.0, abs=0.15)


def test_every_parameter_gets_a_gradient_also_of_absent_elements() -> None:
    mlp = ElementMLP(3, 4, [6, 5], 2)
    randomize(mlp)
    mlp(torch.randn(5, 4), SPECIES).square().sum().backward()
    for name, parameter in mlp.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad[0].any()), name
        assert not bool(parameter.grad[1].any()), name


def test_no_atoms() -> None:
    assert ElementMLP(3, 4, [6], 2)(torch.zeros(0, 4), SPECIES[:0]).shape == (0, 2)


def test_gradcheck(double: torch.dtype) -> None:
    mlp = ElementMLP(3, 2, [3, 2], 1)
    randomize(mlp)
    x = torch.randn(5, 2, requires_grad=True)
    names = [name for name, _ in mlp.named_parameters()]

    def function(x: torch.Tensor, *values: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(mlp, dict(zip(names, values, strict=True)), (x, SPECIES))

    assert torch.autograd.gradcheck(function, (x, *mlp.parameters()))
    assert torch.autograd.gradgradcheck(function, (x, *mlp.parameters()))


def test_grammar() -> None:
    mlp = ElementMLP(3, 4, [6, 5], 2)
    assert repr(mlp.embed) == "ElementLinear(4, 6, num_species=3)"
    before = copy.deepcopy(mlp.embed.weight)
    mlp.reset_parameters()
    assert not torch.equal(before, mlp.embed.weight)
    with pytest.raises(ValueError, match="hidden_channels is empty"):
        ElementMLP(3, 4, [], 2)
