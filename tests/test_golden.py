"""Reference values of the published recursion for four atoms, from an independent implementation."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from equireann_pyg import REANN, EquiREANN, OrbitalNetwork, Potential
from equireann_pyg.nn import CartesianMoments, CosineCutoff, ElementStandardize, Equivariant, SphericalHarmonics
from equireann_pyg.testing import assert_close, make_graph, random_cluster, randomize
from tests.variants import shared_by_element

POSITIONS = [[0.0, 0.0, 0.0], [1.1, 0.2, -0.1], [-0.3, 1.4, 0.5], [0.6, -0.8, 1.9]]


class LastOrbital(Equivariant):
    """A neighbour passes on its last orbital as it is."""

    def forward(self, features: Tensor, coefficient: Tensor, orbital: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        return super().forward(features, coefficient, orbital, *rest)[0], orbital


class LastOrbitalOnly(EquiREANN):
    """Variant of the recursion with that rule."""

    rule = LastOrbital


class SineUpdate(torch.nn.Module):
    """Coefficient update 0.1 sin(rho_n) of the first channels."""

    def forward(self, density: Tensor, species: Tensor) -> Tensor:
        return 0.1 * torch.sin(density[:, :2])


class SumReadout(torch.nn.Module):
    """Atomic energy sum_k rho_k."""

    def forward(self, density: Tensor, species: Tensor) -> Tensor:
        return density.sum(dim=1, keepdim=True)


GOLDEN = {  # unit vectors?, model: (rho_0^T, energy, force on atom 0)
    (True, REANN): (
        [0.0153169416, 0.0180548731, 0.0210182856],
        0.1026863797,
        [-0.8188374639, -0.1748997583, 0.0712720494],
    ),
    (True, EquiREANN): (
        [0.1182621108, 0.1417410553, 0.1673479437],
        0.9472081715,
        [-5.6632593630, -2.4192763691, 0.0248458734],
    ),
    (True, LastOrbitalOnly): (
        [0.0340361599, 0.0400432472, 0.0465393198],
        0.2321763896,
        [-2.1611643692, -0.5934107249, 0.1520667293],
    ),
    (False, REANN): (
        [0.0202541902, 0.0238854615, 0.0278177880],
        0.1365563623,
        [-0.7661900940, -0.1245882328, 0.0604294054],
    ),
    (False, EquiREANN): (
        [0.1704610193, 0.2040090017, 0.2405737671],
        1.3064092107,
        [-5.2207934648, -3.0603037923, -0.2738651842],
    ),
    (False, LastOrbitalOnly): (
        [0.0442753201, 0.0521315216, 0.0606347458],
        0.3016872252,
        [-2.0986890704, -0.4567851449, 0.1536937901],
    ),
}


def golden_model(kind: type[EquiREANN], unit: bool) -> EquiREANN:
    """The model with the parameters of the reference values."""
    model = kind(
        ["C"],
        cutoff=3.0,
        angular=CartesianMoments(2, unit=unit),
        envelope=CosineCutoff(),
        num_radial=2,
        num_density=3,
        num_iterations=2,
    ).double()
    with torch.no_grad():
        model.coefficient.copy_(torch.tensor([[0.6, -0.3]], dtype=torch.float64))
        model.radial.centre.copy_(torch.tensor([[0.5, 1.5]], dtype=torch.float64))
        model.radial.set_exponents(torch.tensor([[0.7, 0.4]], dtype=torch.float64))
        degree, n, k = torch.meshgrid(*(torch.arange(size).double() for size in (3, 2, 3)), indexing="ij")
        for t, descriptor in enumerate(model.descriptors):
            descriptor.density.weight.copy_(0.25 * ((t + 1) + 0.1 * degree - 0.2 * n + 0.3 * k))
    for rule in model.rules:
        rule.update = SineUpdate()
    model.readout.network = SumReadout()
    model.scalings = torch.nn.ModuleList(ElementStandardize(1, 3) for _ in range(3))  # the identity
    return model


@pytest.mark.parametrize(("unit", "kind"), GOLDEN, ids=lambda value: getattr(value, "__name__", f"unit={value}"))
def test_golden_values(unit: bool, kind: type[EquiREANN]) -> None:
    density, energy, force = GOLDEN[unit, kind]
    model = golden_model(kind, unit)
    pos = torch.tensor(POSITIONS, dtype=torch.float64)
    data = make_graph(torch.full((4,), 6), pos, cutoff=3.0)
    assert data.edge_index.size(1) == 12
    actual, _ = model.encode(data.z, data.edge_index, (pos[data.edge_index[0]] - pos[data.edge_index[1]]))
    assert actual[0].tolist() == pytest.approx(density, abs=1e-9)
    output = Potential(model).eval()(data)
    assert float(output["energy"]) == pytest.approx(energy, abs=1e-9)
    assert output["forces"][0].tolist() == pytest.approx(force, abs=1e-9)


def test_golden_values_before_the_first_iteration() -> None:
    model = golden_model(EquiREANN, unit=True)
    pos = torch.tensor(POSITIONS, dtype=torch.float64)
    data = make_graph(torch.full((4,), 6), pos, cutoff=3.0)
    _, first = next(model.iterate(data.z, data.edge_index, pos[data.edge_index[0]] - pos[data.edge_index[1]]))
    expected = [0.00278721280998265, 0.0039997199551490455, 0.005432916961285833]
    assert first[0].tolist() == pytest.approx(expected, rel=1e-13)


def edge_form(
    model: OrbitalNetwork, z: Tensor, edge_index: Tensor, edge_vec: Tensor, equivariant: bool
) -> list[Tensor]:
    """Standardised densities of all iterations by the published edge form, in loops and with all 3^l Cartesian components.

    phi_ij^{t+1} = phi_ij^t + g f(r_ij) psi_j^t, psi_i^t = sum_j c_j^t phi_ij^t.
    """
    species, num_nodes = model.species(z), z.numel()
    phi, filters = [], []
    for (j, i), vec in zip(edge_index.T.tolist(), edge_vec, strict=True):
        r = vec.norm()
        f = torch.cos(0.5 * math.pi * r / model.cutoff) ** 4 if r < model.cutoff else torch.zeros(())
        radial = model.radial(r.view(1), species[j].view(1), species[i].view(1))[0]
        unit = vec / r if model.angular.unit else vec
        power, components = torch.ones(1), []
        for _ in range(model.angular.max_degree + 1):
            components.append(power)
            power = torch.outer(power, unit).flatten()
        phi.append(f * torch.outer(torch.cat(components), radial))
        filters.append(f)
    degree_of = [degree for degree in range(model.angular.max_degree + 1) for _ in range(3**degree)]
    coefficient, features = model.coefficient[species], []
    for t in range(model.num_iterations + 1):
        psi = [torch.zeros_like(phi[0]) for _ in range(num_nodes)]
        for (j, i), orbital in zip(edge_index.T.tolist(), phi, strict=True):
            psi[i] = psi[i] + coefficient[j] * orbital
        weight = model.descriptors[t].density.weight
        densities = torch.stack([torch.einsum("an,ank->ak", p, weight[degree_of]).square().sum(0) for p in psi])
        features.append(model.scalings[t](densities, species))
        if t == model.num_iterations:
            return features
        coefficient = coefficient + model.rules[t].update(features[-1], species)
        if equivariant:
            strength = model.rules[t].strength
            phi = [phi[e] + strength * filters[e] * psi[j] for e, j in enumerate(edge_index[0].tolist())]
    raise AssertionError


@pytest.mark.parametrize("share", [False, True])
@pytest.mark.parametrize("unit", [False, True])
@pytest.mark.parametrize("kind", [EquiREANN, REANN])
def test_node_form_is_the_edge_form(kind: type[EquiREANN], unit: bool, share: bool, double: torch.dtype) -> None:
    options = {"angular": CartesianMoments(2, unit), "envelope": CosineCutoff(), "num_radial": 3, "num_density": 4}
    if share:
        model = shared_by_element(["H", "C"], 3.0, rule=kind.rule, **options, num_iterations=3, hidden_channels=[5])
    else:
        model = kind(["H", "C"], 3.0, **options, num_iterations=3, hidden_channels=[5])
    randomize(model)
    data = random_cluster([1, 6], 5.0, num_atoms=5, spacing=2.0)  # some edges are longer than the model's cutoff
    edge_vec = data.pos[data.edge_index[0]] - data.pos[data.edge_index[1]]
    assert bool((edge_vec.norm(dim=1) > 3.0).any())
    model.fit_statistics(data.z, data.edge_index, edge_vec)
    expected = edge_form(model, data.z, data.edge_index, edge_vec, kind is EquiREANN)
    for t, (_, features) in enumerate(model.iterate(data.z, data.edge_index, edge_vec)):
        assert_close(features, expected[t], 1e-10, f"features of iteration {t}")


def test_spherical_and_cartesian_densities_of_second_degree(double: torch.dtype) -> None:
    """(u.v)^2 = 2/3 P_2 + 1/3: the Cartesian l = 2 density is 2/15 of ours plus 1/3 of l = 0."""
    u = torch.randn(7, 3)
    u = u / u.norm(dim=1, keepdim=True)
    weight = torch.randn(7)
    cartesian, spherical = CartesianMoments(2), SphericalHarmonics(2)
    sums = [weight @ angular.polynomials(u) for angular in (cartesian, spherical)]
    rho = [
        [block.square().sum() for block in s.split(a.components)]
        for s, a in zip(sums, (cartesian, spherical), strict=True)
    ]
    assert_close(rho[0][2], 2 / 15 * rho[1][2] + rho[1][0] / 3, 1e-12, "l = 2")
    assert_close(rho[0][1], rho[1][1] / 3, 1e-12, "l = 1")
