"""Products of two orbitals: against a loop over the entries and the plain path, and derivatives of every order."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from equireann_pyg.nn.coupling import Coupling, SelfCoupling
from equireann_pyg.ops import by_reference, coupled
from equireann_pyg.testing import assert_close

pytestmark = pytest.mark.usefixtures("kernels")
SPECIES = torch.tensor([2, 0, 0, 2, 0])  # of three elements, one absent
SIZES = (3, 4, 2, 6)  # components of a, b and the product, paths


def table(sizes: tuple[int, int, int, int] = SIZES, num: int = 17) -> tuple[Tensor, Tensor]:
    """Entries in no order, some of them twice, and their values."""
    columns = [torch.randint(0, size, (num,)) for size in sizes]
    return torch.stack(columns, dim=1).int(), torch.randn(num, dtype=torch.float64)


def factors(n: int, num_species: int) -> tuple[Tensor, Tensor, Tensor]:
    """Two orbitals and the weights of the paths."""
    return torch.randn(5, SIZES[0], n), torch.randn(5, SIZES[1], n), torch.randn(num_species, SIZES[3], n)


def function(num_species: int) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """The operator with one table of entries."""
    entries, values = table()
    species = SPECIES if num_species > 1 else None
    return lambda a, b, weight: coupled(a, b, weight, species, entries, values, SIZES[2])


@pytest.mark.parametrize("n", [1, 2, 5, 8, 16, 27, 64])
@pytest.mark.parametrize("num_species", [1, 3])
def test_against_a_loop(n: int, num_species: int, dtype: torch.dtype) -> None:
    entries, values = table()
    a, b, weight = factors(n, num_species)
    species = SPECIES if num_species > 1 else torch.zeros(5, dtype=torch.long)
    expected = torch.zeros(5, SIZES[2], n)
    for (i, j, k, p), value in zip(entries.tolist(), values.tolist(), strict=True):
        expected[:, k] += value * weight[species, p] * a[:, i] * b[:, j]
    actual = coupled(a, b, weight, species, entries, values, SIZES[2])
    assert actual.dtype == dtype
    assert_close(actual, expected, 1e-5 if dtype == torch.float32 else 1e-13, "product")


@pytest.mark.parametrize("num_species", [1, 3])
@pytest.mark.parametrize("n", [1, 3, 8, 16, 33])
@pytest.mark.parametrize("kind", [Coupling, SelfCoupling])
def test_against_the_reference(
    kind: type[Coupling] | type[SelfCoupling], n: int, num_species: int, dtype: torch.dtype
) -> None:
    layer = kind(2, n, num_species)
    inputs = [torch.randn(5, 9, n) for _ in range(2 if kind is Coupling else 1)]

    def everything() -> list[Tensor]:
        leaves = [*(x.clone().requires_grad_() for x in inputs), layer.weight]
        value = layer(*leaves[:-1], SPECIES if num_species > 1 else None)
        first = torch.autograd.grad(value.sin().sum(), leaves, create_graph=True)
        return [value, *first, *torch.autograd.grad(sum(g.square().sum() for g in first), leaves)]

    actual = everything()
    with by_reference():
        expected = everything()
    for k, (mine, theirs) in enumerate(zip(actual, expected, strict=True)):
        assert_close(mine, theirs, 5e-5 if dtype == torch.float32 else 1e-11, f"tensor {k}")


@pytest.mark.parametrize("num_species", [1, 3])
def test_by_differences(num_species: int, double: torch.dtype) -> None:
    inputs = [x.requires_grad_() for x in factors(2, num_species)]
    assert torch.autograd.gradcheck(function(num_species), inputs)
    assert torch.autograd.gradgradcheck(function(num_species), inputs)


def test_third_derivative_by_differences(double: torch.dtype) -> None:
    operator = function(3)
    inputs = [x.requires_grad_() for x in factors(1, 3)]

    def slopes(*inputs: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad(operator(*inputs).square().sum(), inputs, create_graph=True)

    assert all(bool(slope.any()) for slope in slopes(*inputs))
    assert torch.autograd.gradgradcheck(slopes, inputs)


def test_an_orbital_with_itself(double: torch.dtype) -> None:
    entries, values = table((4, 4, 3, 2))
    x, weight = torch.randn(5, 4, 3, requires_grad=True), torch.randn(1, 2, 3)
    assert torch.autograd.gradgradcheck(lambda x: coupled(x, x, weight, None, entries, values, 3), x)


def test_components_without_entries_are_zero() -> None:
    a, b, weight = (torch.ones(2, 1, 5), torch.ones(2, 1, 5), torch.ones(1, 1, 5))
    entries, values = torch.tensor([[0, 0, 1, 0]], dtype=torch.int32), torch.tensor([2.0], dtype=torch.float64)
    assert coupled(a, b, weight, None, entries, values, 3)[..., 4].tolist() == [[0, 2, 0]] * 2


def test_no_atoms() -> None:
    entries, values = table()
    a, b, weight = (x.requires_grad_() for x in factors(4, 1))
    out = coupled(a[:0], b[:0], weight, None, entries, values, SIZES[2])
    assert out.shape == (0, SIZES[2], 4)
    (gradient,) = torch.autograd.grad(out.sum(), weight)
    assert gradient.shape == weight.shape
    assert not bool(gradient.any())


def test_several_threads_give_the_same_bits() -> None:
    layer, orbital = SelfCoupling(2, 24), torch.randn(300, 9, 24)
    before, results = torch.get_num_threads(), []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        leaf = orbital.clone().requires_grad_()
        results.append(torch.autograd.grad(layer(leaf).sin().sum(), (leaf, layer.weight)))
    torch.set_num_threads(before)
    for one, two in zip(*results, strict=True):
        assert torch.equal(one, two)


def test_what_does_not_fit_is_refused() -> None:
    entries, values = table()
    a, b, weight = factors(4, 3)
    with pytest.raises(ValueError, match="same N and n"):
        coupled(a, b[:3], weight, SPECIES, entries, values, SIZES[2])
    with pytest.raises(ValueError, match="expected weight"):
        coupled(a, b, weight[..., :3], SPECIES, entries, values, SIZES[2])
    with pytest.raises(ValueError, match="need species"):
        coupled(a, b, weight, None, entries, values, SIZES[2])
    with pytest.raises(ValueError, match="species of 5 atoms"):
        coupled(a, b, weight, SPECIES[:4], entries, values, SIZES[2])
    with pytest.raises(IndexError, match="species: expected 0 to 2"):
        coupled(a, b, weight, SPECIES + 1, entries, values, SIZES[2])
    with pytest.raises(ValueError, match="expected int32 entries"):
        coupled(a, b, weight, SPECIES, entries.long(), values, SIZES[2])
    with pytest.raises(IndexError, match="column 2, expected 0 to 0"):
        coupled(a, b, weight, SPECIES, entries, values, 1)


@pytest.mark.parametrize("num_species", [1, 3])
def test_operators_tell_torch_the_truth(num_species: int) -> None:
    species = SPECIES if num_species > 1 else None
    a, b, weight = (x.requires_grad_() for x in factors(8, num_species))
    g = torch.randn(5, SIZES[2], 8, requires_grad=True)
    arguments, roles = (species, *table()), (0, 1, 2)
    torch.library.opcheck(torch.ops.equireann.coupled.default, (a, b, weight, *arguments, SIZES[2], roles))
    sizes = (num_species, SIZES[3])
    torch.library.opcheck(torch.ops.equireann.coupled_weight.default, (a, b, g, *arguments, *sizes, roles))


def test_derivatives_can_be_traced() -> None:
    def slopes(a: Tensor, b: Tensor, weight: Tensor, entries: Tensor, values: Tensor) -> tuple[Tensor, ...]:
        leaf = a.detach().requires_grad_()
        value = coupled(leaf, b, weight, None, entries, values, SIZES[2])
        (first,) = torch.autograd.grad(value.square().sum(), leaf, create_graph=True)
        return first.detach(), *torch.autograd.grad(first.square().sum(), (leaf, weight))

    weight = factors(8, 1)[2].requires_grad_()
    tables = (weight, *table())
    traced = make_fx(slopes, tracing_mode="symbolic")(*factors(8, 1)[:2], *tables)
    larger = [torch.randn(9, size, 8) for size in SIZES[:2]]
    for mine, theirs in zip(traced(*larger, *tables), slopes(*larger, *tables), strict=True):
        assert_close(mine, theirs, 1e-6, "slopes")
