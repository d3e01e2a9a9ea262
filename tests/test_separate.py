"""Networks whose messages have channels of their own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from ase import Atoms
from torch import Tensor
from torch_geometric.data import Batch

from equireann_pyg import OrbitalNetwork, Potential, from_ase, load_potential, save_potential
from equireann_pyg.inference.blocks import BlockPotential
from equireann_pyg.inference.compiled import CompiledPotential
from equireann_pyg.inference.exported import export_potential, load_exported
from equireann_pyg.nn import (
    ACEProducts,
    AllReadout,
    DecayingCutoff,
    Density,
    Descriptor,
    Directed,
    Equivariant,
    Layout,
    PairRadial,
    Separate,
    Shared,
    SphericalHarmonics,
    clebsch_gordan,
)
from equireann_pyg.nn.scaling import rattled
from equireann_pyg.properties import Dipole, Polarizability
from equireann_pyg.testing import (
    assert_close,
    assert_potential,
    random_cluster,
    random_crystal,
    random_orthogonal,
    randomize,
)
from tests.test_compilation import assert_same
from tests.test_network import inputs

CUTOFF, N, M = 3.0, 5, 3
RULES = {
    "separate": Separate([6], M, 1),
    "directed": Directed([6], 2 * M, 1),
    "directed-2": Directed([6], 2 * M, 1, max_degree=2),
}
OTHERS = [rule for rule in RULES if rule != "directed"]
EACH = pytest.mark.parametrize("rule", RULES)


def network(num_iterations: int = 2, descriptor: Descriptor | None = None, rule: str = "separate") -> OrbitalNetwork:
    """A small untrained network, without statistics."""
    plans = ACEProducts(4) if descriptor is None else descriptor, RULES[rule], AllReadout([6])
    radial = PairRadial(N, 1.5, DecayingCutoff())
    torch.manual_seed(0)
    return OrbitalNetwork(["H", "C"], CUTOFF, *plans, radial=radial, num_iterations=num_iterations)


def clusters(count: int = 16) -> Batch:
    """Molecules of eight atoms."""
    return Batch.from_data_list([random_cluster([1, 6], CUTOFF, 8, seed=seed) for seed in range(count)])


def prepared(
    num_iterations: int = 2, amplitude: float = 0.3, descriptor: Descriptor | None = None, rule: str = "separate"
) -> OrbitalNetwork:
    """A small network with random parameters, and statistics."""
    model = network(num_iterations, descriptor, rule)
    randomize(model, amplitude=amplitude)
    model.fit_statistics(*inputs(clusters(), model))
    return model


def along_bonds(rule: Directed, message: Tensor, Y: Tensor) -> Tensor:
    """Product of a message ``[E, l'm', m]`` with the direction of its edge ``[E, lm]``, coupled on the edge."""
    made = message.new_zeros(len(Y), Y.size(1), M)
    for p, path in enumerate(rule.coupling_along.paths):
        first, second, third = (slice(degree**2, (degree + 1) ** 2) for degree in path)
        product = torch.einsum("abc,ea,ebm->ecm", clebsch_gordan(*path), Y[:, first], message[:, second])
        made[:, third] += rule.coupling_along.weight[0, p] * product
    return made


def by_edges(model: OrbitalNetwork, z: Tensor, edge_index: Tensor, edge_vec: Tensor) -> list[Tensor]:
    """Orbitals of all iterations from their equations, with a tensor for every edge."""
    species, (j, i), r = model.species(z), edge_index, edge_vec.norm(dim=-1)
    near, far = model.radial_envelope(r, CUTOFF), model.envelope(r, CUTOFF)
    R, Y = model.radial(r, species[j], species[i], near), model.angular(edge_vec, r)
    c = model.coefficient[species]

    def total(edges: Tensor) -> Tensor:
        return edges.new_zeros(len(z), *edges.shape[1:]).index_add(0, i, edges)

    orbitals = [total(torch.einsum("em,en->emn", Y, c[j] * R))]
    for rule, descriptor, scaling in zip(model.rules, model.descriptors, model.scalings, strict=False):
        features = scaling(descriptor(orbitals[-1], species), species)
        u = rule.update(features, species)
        c = c + c * u / (1 + u**2).sqrt()
        product = rule.of_product(rule.coupling(rule.narrow(orbitals[-1]), species))
        message = rule.mix(orbitals[-1]) + product
        flat = far.unsqueeze(1) * torch.tensor([0.0] * (M - 1) + [1.0])
        f = R @ rule.radial_filter / N**0.5 + flat
        local = total(torch.einsum("em,en->emn", Y, c[j] * R))
        travelled = total(f.unsqueeze(1) * message[j])
        if isinstance(rule, Directed):
            g = R @ rule.directed_filter / N**0.5 + flat
            travelled = torch.cat([travelled, total(g.unsqueeze(1) * along_bonds(rule, message[j], Y))], dim=2)
        sizes = rule.norm.scale.repeat_interleave(torch.tensor([1, 3, 5]), dim=0)
        orbitals.append(torch.cat([local, travelled], dim=2) / sizes)
    return orbitals


@EACH
def test_recursion(rule: str, double: torch.dtype) -> None:
    model, data = prepared(rule=rule), random_cluster([1, 6], CUTOFF)
    expected = by_edges(model, *inputs(data, model))
    for t, (orbital, _) in enumerate(model.iterate(*inputs(data, model))):
        assert orbital.shape == (6, 9, N + RULES[rule].num_messages if t else N)
        assert_close(orbital, expected[t], 1e-12, f"orbital {t}")


@EACH
def test_three_iterations(rule: str, double: torch.dtype) -> None:
    assert_potential(Potential(prepared(3, rule=rule)).eval())


@EACH
def test_every_tensor_starts_with_unit_variance(rule: str) -> None:
    """On the rattled vectors that the statistics are taken on."""
    model, data = network(3, ACEProducts(32), rule), clusters()
    before = model.coefficient.detach().clone()
    model.fit_statistics(*inputs(data, model))
    assert torch.equal(model.coefficient, before)  # no growth: all orbitals are normalised
    sizes = {}
    for name, part in model.named_modules():
        if name.startswith("rules") and not name.endswith("embed"):
            part.register_forward_hook(lambda _part, _given, output, name=name: sizes.update({name: output}))
    with torch.no_grad():
        z, edge_index, edge_vec = inputs(data, model)
        for t, (orbital, features) in enumerate(model.iterate(z, edge_index, rattled(edge_vec))):
            assert 0.5 < float(features.square().mean()) < 2.0
            for part in orbital.split([1, 3, 5], dim=1) if t else ():
                assert 0.7 < float(part[:, :, :N].square().mean()) < 1.4
                assert float(part[:, :, N:].square().mean((0, 1)).min()) > 0.7
                assert float(part[:, :, N:].square().mean((0, 1)).max()) < 1.4
    for name in (f"rules.{t}.{part}" for t in range(3) for part in ("mix", "narrow", "coupling", "of_product")):
        assert 0.25 < float(sizes[name].square().mean()) < 4.0, name


@EACH
def test_every_parameter_has_a_gradient_at_the_start(rule: str) -> None:
    """Beside the output layers of the networks, which start at zero: these are given numbers here."""
    model, data = network(rule=rule), clusters(4)
    model.fit_statistics(*inputs(data, model))
    randomize(torch.nn.ModuleList([model.readout, *(rule.update for rule in model.rules)]))
    potential = Potential(model).train()
    potential.allow_untrained = True
    output = potential(data, stress=False)
    (output["energy"].square().sum() + output["forces"].square().sum()).backward()
    largest = max(float(parameter.grad.abs().max()) for parameter in model.parameters())
    for name, parameter in model.named_parameters():
        rows = parameter.grad.flatten(1) if parameter.dim() > 1 else parameter.grad.unsqueeze(0)
        assert float(rows.abs().amax(1).min()) > 1e-6 * largest, name


def test_shared_between_equal_layouts() -> None:
    apart, shared = network(3), network(3, Shared(ACEProducts(4)))
    assert len({id(part) for part in apart.descriptors}) == 4
    first, *later = shared.descriptors
    assert later == [later[0]] * 3
    assert first is not later[0]
    assert [part.mix.weight.size(1) for part in (first, later[0])] == [N, N + M]
    assert shared.state_dict().keys() == apart.state_dict().keys()
    data = random_cluster([1, 6], CUTOFF)
    shared.fit_statistics(*inputs(data, shared))
    assert bool(torch.isfinite(shared(*inputs(data, shared))).all())


def test_layout_of_the_last_orbital() -> None:
    assert network(2).layout == Layout((1, 3, 5), N, 2, num_messages=M)
    assert network(0).layout == Layout((1, 3, 5), N, 2)
    assert network(2).layout.num_channels == N + M
    model = OrbitalNetwork(["H"], CUTOFF, Density(4), Equivariant([4]), radial=PairRadial(N), num_iterations=2)
    assert model.layout == Layout((1, 3, 5), N, 1)
    assert model.layout.num_channels == N


class Squares(Descriptor):
    """Squares of all channels: more features where there are more channels."""

    def build(self, layout: Layout) -> None:
        self.num_features = layout.num_channels

    def forward(self, orbital: Tensor, species: Tensor) -> Tensor:
        return orbital.square().sum(1)


def test_descriptors_must_have_as_many_features_in_every_iteration() -> None:
    assert network(0, Squares()).num_features == N
    with pytest.raises(ValueError, match=r"Squares: expected as many features in every iteration, got \[5, 8\]"):
        network(2, Squares())


@pytest.mark.parametrize("reflect", [False, True])
def test_properties_read_all_channels(reflect: bool, double: torch.dtype, tmp_path: Path) -> None:
    potential = Potential(prepared(1), [Dipole([8]), Polarizability([8])]).double().eval()
    randomize(potential.properties, seed=1, amplitude=2.0)
    data, q = random_cluster([1, 6], CUTOFF), random_orthogonal(seed=3, reflect=reflect)
    data.total_charge = torch.zeros(1)
    save_potential(potential, tmp_path / "a.pt")
    before = load_potential(tmp_path / "a.pt")(data)
    assert_close(before["polarizability"], potential(data)["polarizability"], 1e-12, "polarizability of the file")
    data.pos = data.pos @ q.T
    after = potential(data)
    assert_close(after["polarizability"], q @ before["polarizability"] @ q.T, 1e-10, "polarizability")
    assert_close(after["dipole"], before["dipole"] @ q.T, 1e-10, "dipole")


@EACH
def test_blocks(rule: str, double: torch.dtype) -> None:
    potential, data = Potential(prepared(rule=rule)).eval(), random_crystal([1, 6], CUTOFF, 3)
    expected = potential(data)
    for name, value in BlockPotential(potential, 1)(data).items():
        assert_close(value, expected[name], 1e-10, name)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # torch's compiler
@pytest.mark.parametrize(
    "rule", ["directed", *(pytest.param(rule, marks=pytest.mark.slow) for rule in RULES if rule != "directed")]
)
def test_exported(rule: str, tmp_path: Path, double: torch.dtype) -> None:
    potential = Potential(prepared(1, descriptor=ACEProducts(2), rule=rule)).eval()
    export_potential(potential, tmp_path / "model.pt2")
    graph = from_ase(Atoms("CH2", [[0, 0, 0], [0, 1, 1], [1, 0, 0.3]]), CUTOFF)
    output, expected = load_exported(tmp_path / "model.pt2")(graph), potential(graph)
    for name in ("energy", "forces"):
        assert_close(output[name], expected[name], 1e-10, name)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@EACH
def test_compiled(rule: str, double: torch.dtype) -> None:
    potential = Potential(prepared(1, rule=rule)).eval()
    compiled = CompiledPotential(potential)
    for data in (clusters(2), Batch.from_data_list([random_crystal([1, 6], CUTOFF, 3)])):
        assert_same(compiled(data, stress=None), potential(data), 1e-10)


def test_orbitals_in_other_widths_are_never_added() -> None:
    """Of a sum over iterations nothing is left, nor computed, where the rule reads the last orbital only."""
    model, data = prepared(2), random_cluster([1, 6], CUTOFF)
    seen: list[tuple[int, ...]] = []
    for rule in model.rules:
        rule.register_forward_pre_hook(lambda _rule, given: seen.append((given[2].size(2), given[3] is given[2])))
    model(*inputs(data, model))
    assert seen == [(N, True), (N + M, True)]


def test_harmonics_of_high_degree(double: torch.dtype) -> None:
    radial = PairRadial(N, envelope=DecayingCutoff())
    plans = ACEProducts(3), Separate([6], M), AllReadout([6]), SphericalHarmonics(3)
    model = OrbitalNetwork(["H", "C"], CUTOFF, *plans, radial=radial, num_iterations=1)
    randomize(model, amplitude=0.3)
    model.fit_statistics(*inputs(clusters(), model))
    assert_potential(Potential(model).eval())
