"""Linear maps and networks of the elements: all tile shapes, all derivatives, and what must not leak between rows."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from equireann_pyg.nn import ElementMLP
from equireann_pyg.nn.mlp import ElementLinear
from equireann_pyg.ops import by_reference, element_linear
from equireann_pyg.testing import assert_close, randomize

pytestmark = pytest.mark.usefixtures("kernels")

NUM_SPECIES, ABSENT = 4, 2


def make_species(num_rows: int) -> Tensor:
    """Elements 0, 1 and 3 in no order; element 2 is absent."""
    return torch.tensor([0, 1, 3])[torch.randint(0, 3, (num_rows,))]


def by_loop(x: Tensor, species: Tensor, weight: Tensor) -> Tensor:
    """The definition, row by row."""
    rows = [row @ weight[s] for row, s in zip(x, species.tolist(), strict=True)]
    return torch.stack(rows) if rows else x.new_zeros(0, weight.size(2))


def derivatives(function: object, inputs: list[Tensor]) -> list[Tensor]:
    """Value, gradients, and gradients of a function of these gradients."""
    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    value = function(*leaves)  # type: ignore[operator]
    first = torch.autograd.grad(value.sin().sum(), leaves, create_graph=True)
    second = torch.autograd.grad(sum(g.square().sum() for g in first), leaves)
    return [x.detach() for x in (value, *first, *second)]


@pytest.mark.parametrize("columns", [1, 2, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 48, 63, 65, 80, 129])
def test_every_width_of_a_tile(columns: int, dtype: torch.dtype) -> None:
    for num_rows in (1, 5, 6, 7, 40):
        species, weight = make_species(num_rows), torch.randn(NUM_SPECIES, 3, columns)
        x, tolerance = torch.randn(num_rows, 3), 2e-5 if dtype == torch.float32 else 1e-13
        actual = derivatives(lambda x, weight: element_linear(x, species, weight), [x, weight])  # noqa: B023
        expected = derivatives(lambda x, weight: by_loop(x, species, weight), [x, weight])  # noqa: B023
        for k, (mine, theirs) in enumerate(zip(actual, expected, strict=True)):
            assert_close(mine, theirs, tolerance, f"tensor {k} of {num_rows} rows")
        assert not bool(actual[2][ABSENT].any())


@pytest.mark.parametrize("depth", [0, 1, 64])
def test_depths(depth: int, double: torch.dtype) -> None:
    species, x, weight = make_species(9), torch.randn(9, depth), torch.randn(NUM_SPECIES, depth, 5)
    torch.testing.assert_close(element_linear(x, species, weight), by_loop(x, species, weight), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("num_species", [1, 4])
def test_by_differences(num_species: int, double: torch.dtype) -> None:
    species = make_species(7) if num_species > 1 else torch.zeros(7, dtype=torch.long)
    inputs = [torch.randn(7, 3, requires_grad=True), torch.randn(num_species, 3, 2, requires_grad=True)]

    def function(x: Tensor, weight: Tensor) -> Tensor:
        return element_linear(x, species, weight)

    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs)
    assert torch.autograd.gradcheck(lambda weight: function(inputs[0].detach(), weight), inputs[1:])


def test_third_derivatives(double: torch.dtype) -> None:
    """The map and its derivative are each other's derivatives, so there is no last one."""
    species, x, weight = make_species(7), torch.randn(7, 3, requires_grad=True), torch.randn(NUM_SPECIES, 3, 2)

    def third(function: object) -> Tensor:
        value = function(x, species, weight).sin().sum()  # type: ignore[operator]
        for _ in range(2):
            value = torch.autograd.grad(value, x, create_graph=True)[0].square().sum()
        return torch.autograd.grad(value, x)[0]

    assert_close(third(element_linear), third(by_loop), 1e-12, "third derivative")


def test_views_and_a_constant_upstream_gradient(double: torch.dtype) -> None:
    species = make_species(20)
    x, weight = torch.randn(3, 20), torch.randn(5, 3)

    def gradients(function: object) -> list[Tensor]:
        leaves = [x.clone().requires_grad_(), weight.clone().requires_grad_()]
        value = function(leaves[0].T, species, leaves[1].T.expand(NUM_SPECIES, 3, 5))  # type: ignore[operator]
        return [value.detach(), *torch.autograd.grad(value.sum(), leaves)]

    for mine, theirs in zip(gradients(element_linear), gradients(by_loop), strict=True):
        assert_close(mine, theirs, 1e-13, "tensor")


def test_infinities_stay_in_their_row_and_element() -> None:
    species, x, weight = make_species(40), torch.randn(40, 3), torch.randn(NUM_SPECIES, 3, 9)
    expected = element_linear(x, species, weight)
    bad_row = int((species == 0).nonzero()[0])
    x[bad_row], weight[1], weight[ABSENT] = torch.nan, torch.inf, torch.nan
    actual = element_linear(x, species, weight)
    untouched = (species != 1) & (torch.arange(40) != bad_row)
    assert torch.equal(actual[untouched], expected[untouched])
    assert not bool(actual[~untouched].isfinite().any())


def test_threads_give_the_same_bits(dtype: torch.dtype) -> None:
    """More rows than one task of a thread takes."""
    species, inputs = make_species(700), [torch.randn(700, 20), torch.randn(NUM_SPECIES, 20, 33)]
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 1, 2):
            torch.set_num_threads(threads)
            results.append(derivatives(lambda x, weight: element_linear(x, species, weight), inputs))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) and torch.equal(a, c) for a, b, c in zip(*results, strict=True))
    assert_close(results[0][0], by_loop(inputs[0], species, inputs[1]), 1e-5, "product")


@pytest.mark.parametrize("shift", [1, -1])
@pytest.mark.parametrize("kind", [ElementLinear, lambda *sizes: ElementMLP(sizes[0], sizes[1], [6], sizes[2])])
def test_unknown_elements_are_refused(kind: type[ElementLinear], shift: int) -> None:
    species = torch.tensor([0, 3, 1]) + shift
    with pytest.raises(IndexError, match="species: expected 0 to 3, got"):
        kind(NUM_SPECIES, 5, 2)(torch.randn(3, 5), species)


@pytest.mark.parametrize(
    "arguments",
    [
        (torch.ones(5, 2), torch.zeros(5).long(), torch.ones(4, 3, 2)),
        (torch.ones(5, 3), torch.zeros(4).long(), torch.ones(4, 3, 2)),
        (torch.ones(5), torch.zeros(5).long(), torch.ones(4, 3, 2)),
        (torch.ones(5, 3), torch.zeros(5).long(), torch.ones(3, 2)),
        (torch.ones(5, 3), torch.zeros(5).int(), torch.ones(4, 3, 2)),
    ],
    ids=["depth", "species", "x of one dimension", "weight of two", "species of 32 bits"],
)
def test_wrong_inputs_are_refused(arguments: tuple[Tensor, ...]) -> None:
    with pytest.raises((ValueError, RuntimeError)):
        element_linear(*arguments)


@pytest.mark.parametrize("num_species", [1, 4])
@pytest.mark.parametrize("hidden", [[6], [16, 16], [7, 20, 5]], ids=str)
def test_networks_against_the_reference(hidden: list[int], num_species: int, dtype: torch.dtype) -> None:
    """Value, first and second derivatives, by the input and by every parameter."""
    mlp = ElementMLP(num_species, 5, hidden, 3)
    randomize(mlp)
    species = make_species(30) if num_species > 1 else torch.zeros(30, dtype=torch.long)
    parameters = dict(mlp.named_parameters())

    def function(x: Tensor, *values: Tensor) -> Tensor:
        return torch.func.functional_call(mlp, dict(zip(parameters, values, strict=True)), (x, species))

    inputs, names = [torch.randn(30, 5), *parameters.values()], ["x", *parameters]
    actual = derivatives(function, inputs)
    with by_reference():
        expected = derivatives(function, inputs)
    for k, (mine, theirs) in enumerate(zip(actual, expected, strict=True)):
        name = "value" if k == 0 else f"{(k - 1) // len(names) + 1}. derivative by {names[(k - 1) % len(names)]}"
        assert_close(mine, theirs, 2e-5 if dtype == torch.float32 else 1e-13, name)
        if k and num_species > 1 and mine.size(0) == NUM_SPECIES:
            assert not bool(mine[ABSENT].any()), name


def test_no_atoms(dtype: torch.dtype) -> None:
    mlp = ElementMLP(NUM_SPECIES, 5, [6], 3)
    randomize(mlp)
    x = torch.zeros(0, 5, requires_grad=True)
    value = mlp(x, torch.zeros(0, dtype=torch.long))
    assert value.shape == (0, 3)
    gradients = torch.autograd.grad(value.sum(), [x, *mlp.parameters()])
    assert [g.shape for g in gradients] == [x.shape, *(p.shape for p in mlp.parameters())]
    assert not any(bool(g.any()) for g in gradients)


@pytest.mark.parametrize("with_gradient", [True, False])
def test_operators_tell_torch_the_truth(with_gradient: bool) -> None:
    species, x, y = make_species(7), torch.randn(3, 7).T, torch.randn(7, 4)
    weight = torch.randn(NUM_SPECIES, 4, 3).transpose(1, 2)
    x, y, weight = (tensor.requires_grad_(with_gradient) for tensor in (x, y, weight))
    torch.library.opcheck(torch.ops.equireann.element_linear.default, (x, species, weight))
    torch.library.opcheck(torch.ops.equireann.element_outer.default, (x, y, species, NUM_SPECIES))
