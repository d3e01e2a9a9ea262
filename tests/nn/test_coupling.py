"""Coupling of orbitals: coefficients, symmetry, variance."""

from __future__ import annotations

import math
import subprocess
import sys
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from torch import Tensor

from equireann_pyg.nn import SphericalHarmonics, solid_harmonics
from equireann_pyg.nn.coupling import (
    Coupling,
    ScaledSelfCoupling,
    SelfCoupling,
    clebsch_gordan,
    coupling_paths,
)
from equireann_pyg.ops import by_reference
from equireann_pyg.testing import assert_close, random_orthogonal, representation

PATHS = coupling_paths(3, 4)
SPECIES = torch.tensor([2, 0, 0, 2, 1, 0])
WAYS = pytest.mark.parametrize("plain", [False, True], ids=["kernels", "plain"])
Kind = type[Coupling] | type[SelfCoupling]


def scaled(max_degree: int, num_channels: int, num_species: int = 1, **kwargs: int) -> ScaledSelfCoupling:
    """A layer with scales unlike one."""
    layer = ScaledSelfCoupling(max_degree, num_channels, num_species, **kwargs)
    layer.scale.uniform_(0.5, 2.0)
    return layer


def block(matrix: Tensor, degree: int) -> Tensor:
    rows = slice(degree**2, (degree + 1) ** 2)
    return matrix[rows, rows]


@pytest.fixture(scope="module")
def sphere() -> tuple[Tensor, Tensor]:
    """Points and weights that integrate the harmonics up to l = 10 exactly: Gauss in z, even spacing around it."""
    z, weight = (torch.from_numpy(part) for part in np.polynomial.legendre.leggauss(8))
    phi = 2 * math.pi / 12 * torch.arange(12, dtype=torch.float64)
    rho = (1 - z.square()).sqrt().unsqueeze(1)
    points = torch.stack([rho * phi.cos(), rho * phi.sin(), z.unsqueeze(1).expand(-1, 12)], dim=-1)
    return points.flatten(0, 1), (weight.unsqueeze(1) * 2 * math.pi / 12).expand(-1, 12).flatten()


@pytest.mark.parametrize("path", PATHS, ids=str)
def test_coefficients_are_the_integral_over_three_harmonics(
    path: tuple[int, int, int], sphere: tuple[Tensor, Tensor]
) -> None:
    """Of the harmonics of this package, with their sign, although e3nn's axes (x, y, z) are (y, z, x) here."""
    points, weight = sphere
    harmonics = solid_harmonics(points, 4)
    assert_close(torch.einsum("p,pa,pb->ab", weight, harmonics, harmonics), torch.eye(25).double(), 1e-13, "overlap")
    first, second, third = (harmonics[:, degree**2 : (degree + 1) ** 2] for degree in path)
    integral = torch.einsum("p,pa,pb,pc->abc", weight, first, second, third)
    expected = integral * math.sqrt(2 * path[2] + 1) / integral.norm()
    assert_close(clebsch_gordan(*path), expected, 1e-12, f"coefficients of {path}")


def test_coefficients_are_nobody_elses() -> None:
    """The caller may change them."""
    before = clebsch_gordan(1, 1, 2)
    clebsch_gordan(1, 1, 2).zero_()
    assert torch.equal(clebsch_gordan(1, 1, 2), before)


def test_e3nn_is_imported_late_and_without_warnings() -> None:
    code = (
        "import warnings, sys, equireann_pyg.nn; early = 'e3nn' in sys.modules; warnings.simplefilter('error'); "
        "equireann_pyg.nn.clebsch_gordan(1, 1, 2); print(early, 'e3nn' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["False", "True"]


@pytest.mark.parametrize("reflect", [False, True])
@pytest.mark.parametrize("path", PATHS, ids=str)
def test_coefficients_commute_with_rotations(path: tuple[int, int, int], reflect: bool) -> None:
    matrix = representation(SphericalHarmonics(4), random_orthogonal(reflect=reflect)).double()
    first, second, third = (block(matrix, degree) for degree in path)
    coefficients = clebsch_gordan(*path)
    before = torch.einsum("ia,jb,ijc->abc", first, second, coefficients)
    assert_close(before, torch.einsum("abk,ck->abc", coefficients, third), 1e-11, f"coefficients of {path}")


def test_coefficients_of_vectors() -> None:
    """Of l = 1, (y, z, x): the scalar product; and products of harmonics of one vector are harmonics of it."""
    assert_close(clebsch_gordan(1, 1, 0)[..., 0], torch.eye(3, dtype=torch.float64) / math.sqrt(3), 1e-13, "scalar")
    vec = torch.randn(7, 3, dtype=torch.float64)
    harmonics = SphericalHarmonics(4).double()(vec, vec.norm(dim=-1))
    first, second, third = (harmonics[:, degree**2 : (degree + 1) ** 2] for degree in (2, 2, 4))
    product = torch.einsum("ia,ib,abc->ic", first, second, clebsch_gordan(2, 2, 4))
    ratio = float((product * third).sum() / third.square().sum())
    assert ratio > 0.1
    assert_close(product, ratio * third, 1e-12, "harmonics")


@pytest.mark.parametrize("path", PATHS, ids=str)
def test_every_component_has_unit_variance(path: tuple[int, int, int]) -> None:
    coefficients = clebsch_gordan(*path)
    overlap = torch.einsum("abc,abd->cd", coefficients, coefficients)
    assert_close(overlap, torch.eye(2 * path[2] + 1, dtype=torch.float64), 1e-12, f"overlap of {path}")


@pytest.mark.parametrize("path", [(1, 1, 1), (1, 1, 3), (2, 0, 0), (-1, 1, 0)])
def test_impossible_paths_are_refused(path: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="even sum"):
        clebsch_gordan(*path)


def test_paths() -> None:
    assert coupling_paths(1, 1) == [(0, 0, 0), (1, 1, 0), (0, 1, 1), (1, 0, 1)]
    assert coupling_paths(1, 2, symmetric=True) == [(0, 0, 0), (1, 1, 0), (0, 1, 1), (1, 1, 2)]
    ordered = coupling_paths(3, 3)
    assert set(coupling_paths(3, 3, symmetric=True)) == {(*sorted(path[:2]), path[2]) for path in ordered}


@pytest.mark.parametrize("plain", [False, True])
def test_against_dense_coefficients(plain: bool, double: torch.dtype) -> None:
    layer, a, b = Coupling(2, 5, 3, max_degree_out=3), torch.randn(6, 9, 5), torch.randn(6, 9, 5)
    expected = torch.zeros(6, 16, 5)
    for p, path in enumerate(layer.paths):
        first, second, third = (slice(degree**2, (degree + 1) ** 2) for degree in path)
        product = torch.einsum("abc,ian,ibn->icn", clebsch_gordan(*path), a[:, first], b[:, second])
        expected[:, third] += layer.weight[SPECIES, p].unsqueeze(1) * product
    if plain:
        with by_reference():
            actual = layer(a, b, SPECIES)
    else:
        actual = layer(a, b, SPECIES)
    assert_close(actual, expected, 1e-12, "product")


def test_self_coupling_is_coupling_with_itself(double: torch.dtype) -> None:
    alone, both, x = SelfCoupling(2, 4), Coupling(2, 4), torch.randn(6, 9, 4)
    with torch.no_grad():
        for p, (l1, l2, l3) in enumerate(both.paths):
            path = (min(l1, l2), max(l1, l2), l3)
            both.weight[:, p] = alone.weight[:, alone.paths.index(path)] * (1 if l1 == l2 else 0.5)
    assert_close(alone(x), both(x, x), 1e-12, "product")


@WAYS
def test_scaled_coupling_divides_by_the_scale_of_the_product(plain: bool, double: torch.dtype) -> None:
    layer, unscaled, x = (
        scaled(2, 4, 3, max_degree_out=3),
        SelfCoupling(2, 4, 3, max_degree_out=3),
        torch.randn(6, 9, 4),
    )
    unscaled.load_state_dict({"weight": layer.weight})
    degree = torch.tensor([0, 1, 1, 1, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3])
    with by_reference() if plain else nullcontext():
        assert_close(layer(x, SPECIES), unscaled(x, SPECIES) / layer.scale[degree].unsqueeze(1), 1e-13, "product")


@pytest.mark.parametrize("reflect", [False, True])
@pytest.mark.parametrize("kind", [Coupling, SelfCoupling, scaled])
def test_equivariance(kind: Kind, reflect: bool, dtype: torch.dtype) -> None:
    layer = kind(3, 4, 3, max_degree_out=2)
    matrix = representation(SphericalHarmonics(3), random_orthogonal(reflect=reflect)).to(dtype)
    orbitals = [torch.randn(6, 16, 4) for _ in range(2 if kind is Coupling else 1)]
    turned = [torch.einsum("ab,ibn->ian", matrix, x) for x in orbitals]
    expected = torch.einsum("ab,ibn->ian", matrix[:9, :9], layer(*orbitals, SPECIES))
    assert not torch.allclose(expected, layer(*orbitals, SPECIES), atol=0.1)
    assert_close(layer(*turned, SPECIES), expected, 2e-5 if dtype == torch.float32 else 1e-12, "product")


def test_inversion(double: torch.dtype) -> None:
    layer, x = SelfCoupling(2, 4), torch.randn(6, 9, 4)
    parity = torch.tensor([1.0, -1, -1, -1, 1, 1, 1, 1, 1]).unsqueeze(1)
    assert_close(layer(parity * x), parity * layer(x), 1e-13, "product")


def test_permutation(double: torch.dtype) -> None:
    layer, x, order = SelfCoupling(2, 4, 3), torch.randn(6, 9, 4), torch.tensor([3, 0, 5, 4, 1, 2])
    assert_close(layer(x[order], SPECIES[order]), layer(x, SPECIES)[order], 1e-14, "product")


@pytest.mark.parametrize("max_degree_out", [0, 2, 4])
@pytest.mark.parametrize("kind", [Coupling, SelfCoupling, ScaledSelfCoupling])
def test_variance_at_the_start(kind: Kind, max_degree_out: int) -> None:
    layer = kind(2, 4000, max_degree_out=max_degree_out)
    orbitals = [torch.randn(20, 9, 4000) for _ in range(2 if kind is Coupling else 1)]
    variance = layer(*orbitals).var(dim=0).mean(dim=-1)  # -> [lm]
    assert variance.tolist() == pytest.approx([1.0] * (max_degree_out + 1) ** 2, rel=0.2)


@WAYS
@pytest.mark.parametrize("max_degree_out", [0, 2, 3])
def test_fit_brings_the_product_to_unit_variance(max_degree_out: int, plain: bool, dtype: torch.dtype) -> None:
    layer = scaled(2, 4, 3, max_degree_out=max_degree_out)
    x, species = 3 * torch.randn(60, 9, 4), SPECIES.repeat(10)
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    with by_reference() if plain else nullcontext():
        layer.fit(x.requires_grad_(), species)
        product = layer(x, species).detach()
        layer.fit(x, species)
        assert torch.equal(layer(x, species), product)  # what the scale was does not matter
    assert_close(product.square().mean(), torch.tensor(1.0), tolerance, "mean square")
    growth = torch.arange(1.0, max_degree_out + 2)
    assert_close(layer.scale / layer.scale[0], growth, tolerance, "growth with the degree")
    assert layer.scale.dtype == dtype
    assert not layer.scale.requires_grad
    layer.fit(0 * x, species)
    assert torch.equal(layer.scale, torch.ones(max_degree_out + 1))


@WAYS
def test_gradients_of_scaled_products(plain: bool, double: torch.dtype) -> None:
    layer, x = scaled(1, 2, 3), torch.randn(6, 4, 2, requires_grad=True)

    def function(x: Tensor, weight: Tensor) -> Tensor:
        return torch.func.functional_call(layer, {"weight": weight}, (x, SPECIES))

    with by_reference() if plain else nullcontext():
        assert torch.autograd.gradcheck(function, (x, layer.weight))
        assert torch.autograd.gradgradcheck(function, (x, layer.weight))


def test_no_atoms() -> None:
    for kind in (SelfCoupling, ScaledSelfCoupling):
        assert kind(2, 4, max_degree_out=1)(torch.zeros(0, 9, 4)).shape == (0, 4, 4)
    with by_reference():
        assert Coupling(2, 4)(torch.zeros(0, 9, 4), torch.zeros(0, 9, 4)).shape == (0, 9, 4)


def test_coefficients_stay_exact() -> None:
    for layer in (Coupling(2, 4), scaled(2, 4)):
        exact = layer.values.clone()
        assert torch.equal(layer.half().double().values, exact)
        assert layer.weight.dtype == torch.float64
    assert layer.scale.dtype == torch.float64


def test_transforms_of_torch_func_take_the_reference(double: torch.dtype) -> None:
    layer, x, along = scaled(2, 4), torch.randn(6, 9, 4), torch.randn(6, 9, 4)
    _, slope = torch.func.jvp(layer, (x,), (along,))
    step = 1e-4
    assert_close(slope, (layer(x + step * along) - layer(x - step * along)) / (2 * step), 1e-8, "slope")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("kind", [SelfCoupling, scaled])
def test_compiled(kind: type[SelfCoupling], double: torch.dtype) -> None:
    layer, x = kind(2, 4, 3), torch.randn(6, 9, 4)
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    assert_close(compiled(x, SPECIES), layer(x, SPECIES), 1e-13, "product")


def test_grammar() -> None:
    layer = SelfCoupling(2, 4, num_species=3)
    assert repr(layer) == "SelfCoupling(max_degree=2, num_channels=4, num_species=3, max_degree_out=2)"
    assert list(layer.state_dict()) == ["weight"]
    before = layer.weight.clone()
    layer.reset_parameters()
    assert not torch.equal(before, layer.weight)
    with pytest.raises(ValueError, match=r"SelfCoupling: .* need species"):
        layer(torch.zeros(2, 9, 4))
    with pytest.raises(ValueError, match="max_degree_out <= 4"):
        SelfCoupling(2, 4, max_degree_out=5)


def test_grammar_of_scaled_coupling() -> None:
    layer, twin = scaled(2, 4, num_species=3), ScaledSelfCoupling(2, 4, num_species=3)
    assert repr(layer) == "ScaledSelfCoupling(max_degree=2, num_channels=4, num_species=3, max_degree_out=2)"
    assert set(layer.state_dict()) == {"weight", "scale"}
    assert [name for name, _ in layer.named_parameters()] == ["weight"]
    twin.load_state_dict(layer.state_dict())
    x = torch.randn(6, 9, 4)
    assert torch.equal(twin(x, SPECIES), layer(x, SPECIES))
    layer.reset_parameters()
    assert torch.equal(layer.scale, torch.ones(3))
    assert not torch.equal(layer.weight, twin.weight)
    with pytest.raises(ValueError, match=r"ScaledSelfCoupling: .* need species"):
        layer(x)
    with pytest.raises(ValueError, match=r"ScaledSelfCoupling: .* need species"):
        layer.fit(x)
    assert torch.equal(layer.scale, torch.ones(3))
