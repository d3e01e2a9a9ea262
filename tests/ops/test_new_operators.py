"""New operators, kernels that register themselves, and operators inside of compiled functions."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from equireann_pyg import nn, ops
from equireann_pyg.ops.differentiable import LIBRARY, TwiceDifferentiable, twice_differentiable
from equireann_pyg.testing import assert_close
from tests.ops.test_operators import slopes

pytestmark = pytest.mark.usefixtures("kernels")


@pytest.fixture
def cube() -> TwiceDifferentiable[[Tensor], Tensor]:
    """A new operator: a function, and kernels that register themselves."""
    if not hasattr(torch.ops.equireann, "cube_of_a_test"):

        @twice_differentiable(fields="x", limit=lambda x: x.dim() == 1)
        def cube_of_a_test(x: Tensor) -> Tensor:
            return x * x * x

        test_a_new_operator_is_one_function.operator = cube_of_a_test  # type: ignore[attr-defined]
    return test_a_new_operator_is_one_function.operator  # type: ignore[attr-defined]


def test_a_new_operator_is_one_function(cube: TwiceDifferentiable[[Tensor], Tensor], double: torch.dtype) -> None:
    """Its kernel serves the device that it is registered for; what it lacks for derivatives comes from the reference."""
    calls: list[str] = []
    x = torch.randn(4, requires_grad=True)
    assert "cpu" not in cube.kernels
    assert torch.autograd.gradgradcheck(cube, x)  # by reference

    @cube.kernel("cpu", types={torch.float64}, limit=lambda x: x.dim() == 1)
    def _(x: Tensor) -> Tensor:
        calls.append("value")
        return x.pow(3)

    assert torch.autograd.gradgradcheck(cube, x)
    assert set(calls) == {"value"}

    @cube.kernel("cpu", "_backward")
    def _(grad: Tensor, x: Tensor) -> Tensor:
        calls.append("slope")
        return 3 * grad * x.square()

    assert torch.autograd.gradgradcheck(slopes(cube), x)
    assert set(calls) == {"value", "slope"}
    calls.clear()
    assert torch.equal(cube(x.detach().float()), cube.reference(x.detach().float()))
    assert torch.equal(cube(torch.ones(2, 2)), torch.ones(2, 2))
    assert not calls
    assert cube.__doc__ == cube.reference.__doc__
    assert LIBRARY.ns == "equireann"


def test_a_kernel_of_a_device_is_one_function(monkeypatch: pytest.MonkeyPatch) -> None:
    a = torch.ones(2, 4, 3)
    monkeypatch.setattr(ops.degree_dot, "kernels", {})
    assert ops.degree_dot(a, a, (1, 3))[0, :, 0].tolist() == [1, 3]  # by reference

    @ops.degree_dot.kernel("cpu")
    def _(a: Tensor, b: Tensor, components: Sequence[int]) -> Tensor:
        return ops.degree_dot.reference(a, b, components).mul_(2)

    assert ops.degree_dot(a, a, (1, 3))[0, :, 0].tolist() == [2, 6]
    assert ops.degree_dot(torch.ones(2, 4, 3, device="meta"), a.to("meta"), (1, 3)).shape == (2, 2, 3)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's compiler imports what it likes
def test_transforms_inside_of_compiled_functions(double: torch.dtype) -> None:
    """Where a kernel would give zero without a word."""
    layer, x, tangent = nn.OrbitalDensity([1, 3], 4, 5), torch.randn(6, 4, 4), torch.randn(6, 4, 4)

    def slope(x: Tensor, tangent: Tensor) -> Tensor:
        return torch.func.jvp(layer, (x,), (tangent,))[1]

    compiled = torch.compile(slope, backend="eager")
    assert_close(compiled(x, tangent), slope(x, tangent), 1e-12, "slope")


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_layers_compile_as_one_graph(device: str) -> None:
    """Also for devices without kernels."""
    layer, x = nn.OrbitalDensity([1, 3], 4, 5).to(device), torch.randn(6, 4, 4, device=device)
    made = torch.compile(layer, fullgraph=True, backend="eager")(x)
    assert made.shape == (6, 5)
    if device == "cpu":
        assert_close(made.detach(), layer(x).detach(), 1e-6, "density")
