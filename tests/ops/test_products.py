"""Products of an orbital with itself and their invariants: against loops and the plain path, and two derivatives."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from equireann_pyg.nn import ACEProducts, Layout, SelfCoupling
from equireann_pyg.ops import by_reference, coupled, product_invariants, self_coupled
from equireann_pyg.testing import assert_close
from tests.ops.threads import with_threads

pytestmark = pytest.mark.usefixtures("kernels")
SPECIES = torch.tensor([2, 0, 0, 2, 0])  # of three elements, one absent
COMPONENTS = [1, 3]
LM, PATHS = 4, 6
NAMES = ["product", "third order", "fourth order"]
Operator = Callable[[Tensor, Tensor, Tensor | None, Tensor, Tensor], Tensor]
EVERY_OPERATOR = pytest.mark.parametrize("name", NAMES)
EVERY_WIDTH = pytest.mark.parametrize("n", [1, 2, 5, 8, 16, 27, 64])
SOME_SPECIES = pytest.mark.parametrize("num_species", [1, 3])


def size_of(name: str) -> int:
    """Components of the product; an invariant needs those of the orbital."""
    return 3 if name == "product" else LM


def operator(name: str) -> Operator:
    """Function of orbital, weight, species, entries and values."""
    if name == "product":
        return lambda *inputs: self_coupled(*inputs, size_of(name))
    return lambda *inputs: product_invariants(*inputs, COMPONENTS, name == "fourth order")


def table(name: str, num: int = 17) -> tuple[Tensor, Tensor]:
    """Entries in no order, some of them twice, and their values."""
    columns = [torch.randint(0, size, (num,)) for size in (LM, LM, size_of(name), PATHS)]
    return torch.stack(columns, dim=1).int(), torch.randn(num, dtype=torch.float64)


def factors(n: int, num_species: int, num_atoms: int = 5) -> tuple[Tensor, Tensor]:
    """Orbital and weights of the paths, so small that rounding of high powers does not matter."""
    return 0.5 * torch.randn(num_atoms, LM, n), 0.5 * torch.randn(num_species, PATHS, n)


def function(name: str, num_species: int) -> Callable[[Tensor, Tensor], Tensor]:
    """The operator with one table of entries."""
    entries_and_values, species = table(name), SPECIES if num_species > 1 else None
    return lambda orbital, weight: operator(name)(orbital, weight, species, *entries_and_values)


def by_degree(a: Tensor, b: Tensor) -> list[Tensor]:
    """Scalar products of every degree."""
    return [part.sum(1) for part in (a * b).split(COMPONENTS, dim=1)]


def by_loop(name: str, orbital: Tensor, weight: Tensor, entries: Tensor, values: Tensor) -> Tensor:
    """What an operator makes, entry by entry."""
    species = SPECIES if weight.size(0) > 1 else torch.zeros_like(SPECIES)
    product = [torch.zeros_like(orbital[:, 0]) for _ in range(size_of(name))]
    for (a, b, c, p), value in zip(entries.tolist(), values.tolist(), strict=True):
        product[c] = product[c] + value * weight[species, p] * orbital[:, a] * orbital[:, b]
    P = torch.stack(product, dim=1)
    if name == "product":
        return P
    features = [orbital[:, 0], *by_degree(orbital, orbital), *by_degree(orbital, P)]
    return torch.stack([*features, *(by_degree(P, P) if name == "fourth order" else [])], dim=1)


def derivatives(function: Callable[..., Tensor], inputs: tuple[Tensor, ...]) -> list[Tensor]:
    """Value, gradients, and gradients of a function of these."""
    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    value = function(*leaves)
    first = torch.autograd.grad(value.sin().sum(), leaves, create_graph=True)
    second = torch.autograd.grad(sum(g.square().sum() for g in first), leaves)
    return [x.detach() for x in (value, *first, *second)]


@EVERY_WIDTH
@SOME_SPECIES
@EVERY_OPERATOR
def test_against_a_loop(name: str, num_species: int, n: int, dtype: torch.dtype) -> None:
    entries_and_values, inputs = table(name), factors(n, num_species)
    species = SPECIES if num_species > 1 else None
    actual = derivatives(lambda *x: operator(name)(*x, species, *entries_and_values), inputs)
    expected = derivatives(lambda *x: by_loop(name, *x, *entries_and_values), inputs)
    for k, (mine, theirs) in enumerate(zip(actual, expected, strict=True)):
        assert mine.dtype == dtype
        assert_close(mine, theirs, 5e-5 if dtype == torch.float32 else 1e-12, f"tensor {k}")


@SOME_SPECIES
def test_product_is_that_of_two_equal_orbitals(num_species: int, dtype: torch.dtype) -> None:
    (orbital, weight), (entries, values) = factors(27, num_species), table("product")
    species = SPECIES if num_species > 1 else None
    expected = coupled(orbital, orbital, weight, species, entries, values, 3)
    actual = self_coupled(orbital, weight, species, entries, values, 3)
    assert_close(actual, expected, 1e-5 if dtype == torch.float32 else 1e-13, "product")


@pytest.mark.parametrize("n", [1, 3, 8, 16, 33])
@SOME_SPECIES
@pytest.mark.parametrize("order", [2, 3, 4])
def test_against_the_reference(order: int, num_species: int, n: int, dtype: torch.dtype) -> None:
    """Of the layers: second order stands for the product alone."""
    layer: torch.nn.Module = SelfCoupling(2, n, num_species)
    if order > 2:
        layer = ACEProducts(n, order)
        layer.build(Layout((1, 3, 5), n, num_species, False))
        layer.coupling.scale.uniform_(0.5, 2.0)
    names, species = [name for name, _ in layer.named_parameters()], SPECIES if num_species > 1 else None

    def evaluate(orbital: Tensor, *values: Tensor) -> Tensor:
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (orbital, species))

    inputs = (0.5 * torch.randn(5, 9, n), *layer.parameters())
    actual = derivatives(evaluate, inputs)
    with by_reference():
        expected = derivatives(evaluate, inputs)
    for k, (mine, theirs) in enumerate(zip(actual, expected, strict=True)):
        assert_close(mine, theirs, 5e-5 if dtype == torch.float32 else 1e-12, f"tensor {k}")


@SOME_SPECIES
@EVERY_OPERATOR
def test_by_differences(name: str, num_species: int, double: torch.dtype) -> None:
    evaluate, inputs = function(name, num_species), [x.requires_grad_() for x in factors(2, num_species)]
    orbital, weight = (x.detach() for x in inputs)
    assert torch.autograd.gradcheck(evaluate, inputs)
    assert torch.autograd.gradgradcheck(evaluate, inputs)
    assert torch.autograd.gradgradcheck(lambda x: evaluate(x, weight), inputs[0])  # as in inference
    assert torch.autograd.gradcheck(lambda w: evaluate(orbital, w), inputs[1])
    if name == "fourth order":  # the others are linear in the weights
        assert torch.autograd.gradgradcheck(lambda w: evaluate(orbital, w), inputs[1])


@pytest.mark.parametrize("n", [5, 16])
@EVERY_OPERATOR
def test_views(name: str, n: int, double: torch.dtype) -> None:
    """Inputs with the strides in reverse order, and a constant upstream gradient."""
    evaluate, inputs = function(name, 3), factors(n, 3)
    turned = [x.permute(2, 1, 0).contiguous().permute(2, 1, 0) for x in inputs]
    gradients = []
    for some in (inputs, turned):
        leaves = [x.detach().requires_grad_() for x in some]
        first = torch.autograd.grad(evaluate(*leaves).sum(), leaves, create_graph=True)
        gradients.append([*first, *torch.autograd.grad(first[0].sum(), leaves)])
    assert not turned[0].is_contiguous()
    for mine, theirs in zip(*gradients, strict=True):
        assert torch.equal(mine, theirs)


def test_components_without_entries_are_zero() -> None:
    orbital, weight = torch.full((2, 4, 5), 3.0), torch.ones(1, 1, 5)
    entries, values = torch.tensor([[0, 0, 1, 0]], dtype=torch.int32), torch.tensor([2.0], dtype=torch.float64)
    assert self_coupled(orbital, weight, None, entries, values, 3)[..., 4].tolist() == [[0, 18, 0]] * 2
    made = product_invariants(orbital, weight, None, entries, values, COMPONENTS, True)
    assert made[..., 4].tolist() == [[3, 9, 27, 0, 54, 0, 324]] * 2


@EVERY_OPERATOR
def test_no_entries(name: str) -> None:
    inputs = [x.requires_grad_() for x in factors(5, 1)]
    entries, values = table(name, num=0)
    value = operator(name)(*inputs, None, entries, values)
    assert torch.allclose(value, by_loop(name, *inputs, entries, values), rtol=1e-6)
    (gradient,) = torch.autograd.grad(value.sum(), inputs[1])
    assert not bool(gradient.any())


@SOME_SPECIES
@EVERY_OPERATOR
def test_no_atoms(name: str, num_species: int) -> None:
    orbital, weight = (x.requires_grad_() for x in factors(4, num_species, num_atoms=0))
    species = SPECIES[:0] if num_species > 1 else None
    out = operator(name)(orbital, weight, species, *table(name))
    assert out.shape == (0, {"product": 3, "third order": 5, "fourth order": 7}[name], 4)
    first = torch.autograd.grad((out + 1).square().sum(), (orbital, weight), create_graph=True)
    second = torch.autograd.grad(sum(g.square().sum() for g in first), (orbital, weight))
    for gradient, x in zip((*first, *second), (orbital, weight) * 2, strict=True):
        assert gradient.shape == x.shape
        assert not bool(gradient.any())


@pytest.mark.parametrize("n", [16, 27])
@EVERY_OPERATOR
def test_several_threads_give_the_same_bits(name: str, n: int) -> None:
    """Of the value, the gradients and the second derivatives, with many tasks per thread."""
    entries_and_values, species = table(name), SPECIES.repeat(60)
    inputs = factors(n, 3, num_atoms=300)
    one, two = with_threads(lambda: derivatives(lambda *x: operator(name)(*x, species, *entries_and_values), inputs))
    for k, (mine, theirs) in enumerate(zip(one, two, strict=True)):
        assert torch.equal(mine, theirs), f"tensor {k}"
        assert bool(mine.any())


@EVERY_OPERATOR
def test_what_does_not_fit_is_refused(name: str) -> None:
    evaluate, (entries, values), (orbital, weight) = operator(name), table(name), factors(4, 3)
    for wrong in (weight[..., :3], weight[0]):
        with pytest.raises(ValueError, match=r"expected orbital \[N, lm, n\] and weight \[S, P, n\]"):
            evaluate(orbital, wrong, SPECIES, entries, values)
    with pytest.raises(ValueError, match="expected orbital"):
        evaluate(orbital.unsqueeze(0), weight, SPECIES, entries, values)
    with pytest.raises(ValueError, match="need species"):
        evaluate(orbital, weight, None, entries, values)
    with pytest.raises(ValueError, match="species of 5 atoms"):
        evaluate(orbital, weight, SPECIES[:4], entries, values)
    for shift in (1, -1):
        with pytest.raises(IndexError, match="species: expected 0 to 2"):
            evaluate(orbital, weight, SPECIES + shift, entries, values)
    for wrong_entries, wrong_values in ((entries.long(), values), (entries[:, :3], values), (entries, values[1:])):
        with pytest.raises(ValueError, match="expected int32 entries"):
            evaluate(orbital, weight, SPECIES, wrong_entries, wrong_values)
    with pytest.raises(ValueError, match="expected int32 entries"):
        evaluate(orbital, weight, SPECIES, entries, values.float())


@pytest.mark.parametrize("components", [[1, 1], [1, 3, 5], []], ids=str)
def test_components_that_do_not_fit_are_refused(components: list[int]) -> None:
    with pytest.raises(ValueError, match="components"):
        product_invariants(*factors(4, 3), SPECIES, *table("fourth order"), components, True)


def test_gradients_that_do_not_fit_are_refused() -> None:
    orbital, weight = factors(4, 3)
    wrong = torch.zeros(4, LM + 1, 3, dtype=orbital.dtype)
    with pytest.raises(ValueError, match="expected gradient"):
        torch.ops.equireann.self_coupled_backward(wrong, orbital, weight, SPECIES, *table("product"), LM, True)


@pytest.mark.parametrize("column", range(4))
@EVERY_OPERATOR
def test_entries_out_of_range_are_refused(name: str, column: int) -> None:
    entries, values = table(name)
    largest = (LM, LM, size_of(name), PATHS)[column] - 1
    for wrong in (largest + 1, -1):
        entries[3, column] = wrong
        with pytest.raises(IndexError, match=f"entry 3 has {wrong} in column {column}, expected 0 to {largest}"):
            operator(name)(*factors(4, 3), SPECIES, entries, values)


@SOME_SPECIES
@EVERY_OPERATOR
def test_operators_tell_torch_the_truth(name: str, num_species: int) -> None:
    species, inputs = SPECIES if num_species > 1 else None, [x.requires_grad_() for x in factors(8, num_species)]
    kind = "self_coupled" if name == "product" else "product_invariants"
    constants = (3,) if name == "product" else (COMPONENTS, name == "fourth order")
    arguments = (*inputs, species, *table(name), *constants)
    grad = torch.randn_like(operator(name)(*arguments[:5])).requires_grad_()
    forward, backward, double_backward = (
        getattr(torch.ops.equireann, kind + suffix).default for suffix in ("", "_backward", "_double_backward")
    )
    torch.library.opcheck(forward, arguments)
    for with_weight in (True, False):
        torch.library.opcheck(backward, (grad, *arguments, with_weight))
    tangents = [torch.randn_like(x) for x in inputs]
    frozen = [x.detach() for x in (grad, *inputs)]
    torch.library.opcheck(double_backward, (*tangents, *frozen, *arguments[2:]))


@EVERY_OPERATOR
def test_derivatives_can_be_traced(name: str) -> None:
    def slopes(orbital: Tensor, weight: Tensor, entries: Tensor, values: Tensor) -> tuple[Tensor, ...]:
        leaf = orbital.detach().requires_grad_()
        value = operator(name)(leaf, weight, None, entries, values)
        (first,) = torch.autograd.grad(value.square().sum(), leaf, create_graph=True)
        return first.detach(), *torch.autograd.grad(first.square().sum(), (leaf, weight))

    tables = (factors(8, 1)[1].requires_grad_(), *table(name))
    traced = make_fx(slopes, tracing_mode="symbolic")(factors(8, 1)[0], *tables)
    larger = torch.randn(9, LM, 8)
    for mine, theirs in zip(traced(larger, *tables), slopes(larger, *tables), strict=True):
        assert_close(mine, theirs, 1e-6, "slopes")
