"""Models: what they can see, their statistics, parameters and errors."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

from equireann_pyg import EANN, REANN, EquiREANN, Potential, edge_vectors
from equireann_pyg.nn import CartesianMoments, ElementStandardize, PolynomialCutoff, SphericalHarmonics
from equireann_pyg.testing import (
    assert_close,
    make_graph,
    random_cluster,
    random_crystal,
    random_orthogonal,
    randomize,
    representation,
    sample_graphs,
)

MODELS = [EquiREANN, REANN, EANN]
MakePotential = Callable[..., Potential]


def inputs(data: Data, model: EquiREANN) -> tuple[Tensor, Tensor, Tensor]:
    return data.z, data.edge_index, edge_vectors(data).to(model.coefficient.dtype)


def cumulene(num_carbons: int, dihedral: float, cutoff: float) -> Data:
    """C_nH_4 along z, with the last CH2 turned by ``dihedral`` degrees."""
    phi, length = math.radians(dihedral), 1.3 * (num_carbons - 1)
    carbon = [[0.0, 0.0, 1.3 * k] for k in range(num_carbons)]
    near = [[sign * 0.93, 0.0, -0.57] for sign in (1, -1)]
    far = [[sign * 0.93 * math.cos(phi), sign * 0.93 * math.sin(phi), length + 0.57] for sign in (1, -1)]
    pos = torch.tensor(carbon + near + far, dtype=torch.float64)
    distance = torch.cdist(pos, pos[num_carbons:])
    assert not bool(((distance[:, :2].amin(1) < cutoff) & (distance[:, 2:].amin(1) < cutoff)).any())
    return make_graph(torch.tensor([6] * num_carbons + [1] * 4), pos, cutoff)


def twist_signal(model: EquiREANN, num_carbons: int) -> float:
    """Relative change of the standardised densities between dihedral angles 0 and 90 degrees."""
    flat, twisted = (model.encode(*inputs(cumulene(num_carbons, phi, model.cutoff), model))[0] for phi in (0.0, 90.0))
    return float(((twisted - flat).abs().max() / flat.abs().max()).detach())


@pytest.mark.parametrize("angular", [SphericalHarmonics(2), CartesianMoments(2)], ids=repr)
@pytest.mark.parametrize("kind", [EquiREANN, REANN])
def test_only_equivariant_messages_see_the_twist(
    kind: type[EquiREANN], angular: Any, make_potential: MakePotential, double: torch.dtype
) -> None:
    """In a chain so long that no atom sees both ends, the twist reaches the densities through orbitals alone."""
    signal = twist_signal(make_potential(kind, 4.0, angular=angular).model, num_carbons=9)
    assert signal > 1e-5 if kind is EquiREANN else signal < 1e-12


@pytest.mark.parametrize("kind", [EquiREANN, REANN])
def test_first_degree_is_blind_to_the_twist(
    kind: type[EquiREANN], make_potential: MakePotential, double: torch.dtype
) -> None:
    """A CH2 end is axially symmetric to everything of l < 2."""
    assert twist_signal(make_potential(kind, 4.0, angular=SphericalHarmonics(1)).model, num_carbons=9) < 1e-12


@pytest.mark.parametrize("num_iterations", [0, 1, 2])
def test_receptive_field_is_iterations_plus_one_cutoffs(num_iterations: int, make_potential: MakePotential) -> None:
    model = make_potential(num_iterations=num_iterations).model.double()
    pos = torch.zeros(6, 3, dtype=torch.float64)
    pos[:, 0] = 2.0 * torch.arange(6)  # each atom has one neighbour on either side
    pos.requires_grad_()
    graph = make_graph(torch.full((6,), 6), pos.detach(), 3.0)
    graph.pos = pos
    energy = model(*inputs(graph, model))[0]
    (gradient,) = torch.autograd.grad(energy, pos)
    assert gradient.abs().amax(1).gt(0).tolist() == [k <= num_iterations + 1 for k in range(6)]


@pytest.mark.parametrize("reflect", [False, True])
@pytest.mark.parametrize("angular", [SphericalHarmonics(3), CartesianMoments(2, unit=False)], ids=repr)
def test_encoder_equivariance(angular: Any, reflect: bool, make_potential: MakePotential, dtype: torch.dtype) -> None:
    model, data = make_potential(angular=angular).model, random_cluster([1, 6], 3.0)
    q = random_orthogonal(seed=4, reflect=reflect)
    density, orbital = model.encode(*inputs(data, model))
    data.pos = data.pos @ q.T
    turned_density, turned_orbital = model.encode(*inputs(data, model))
    tolerance = 2e-4 if dtype == torch.float32 else 1e-11
    assert density.dtype == orbital.dtype == dtype
    assert_close(turned_density, density, tolerance, "density")
    expected = torch.einsum("ab,ibn->ian", representation(angular, q).to(dtype), orbital)
    assert_close(turned_orbital, expected, tolerance, "orbital")
    assert float((turned_orbital - orbital).detach().abs().max()) > 0.1 * float(orbital.detach().abs().max())


@pytest.mark.parametrize("kind", MODELS)
def test_statistics(kind: type[EquiREANN], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("equireann_pyg.nn.scaling.RATTLE", 0.0)
    model = kind(["H", "C"], 3.0, num_radial=4, num_density=8, hidden_channels=[8])
    randomize(model)
    graphs = [random_cluster([1, 6], 3.0, 8, seed=seed) for seed in range(8)] + sample_graphs([1, 6], 3.0)[2:]
    data = inputs(Batch.from_data_list(graphs), model)
    model.fit_statistics(*data)
    first = copy.deepcopy(model.state_dict())
    species, tolerance = model.species(data[0]), 2e-3 if dtype == torch.float32 else 1e-10
    for scaling, descriptor, (orbital, _) in zip(model.scalings, model.descriptors, model.iterate(*data), strict=True):
        for s in (0, 1):
            density = descriptor(orbital, species)
            features = ElementStandardize.forward(scaling, density, species)[species == s]
            assert float(features.detach().mean(0).abs().max()) < tolerance
            assert_close(features.square().mean(0), torch.ones(8), tolerance, "variance")
    model.fit_statistics(*data)
    for key, value in model.state_dict().items():
        assert_close(value, first[key], tolerance, key)


@pytest.mark.parametrize("kind", MODELS)
def test_a_new_model_predicts_zero_and_depends_on_every_option(kind: type[EquiREANN]) -> None:
    model, data = kind(["H", "C"], 3.0), random_cluster([1, 6], 3.0)
    assert torch.equal(model(*inputs(data, model)), torch.zeros(6))
    energies = []
    changes: list[dict[str, Any]] = [
        {},
        {"cutoff": 2.9},
        {"angular": SphericalHarmonics(3)},
        {"angular": SphericalHarmonics(2, unit=False)},
        {"angular": CartesianMoments(2)},
        {"envelope": PolynomialCutoff()},
        {"num_radial": 5},
        {"num_density": 20},
        {"hidden_channels": [16]},
    ]
    if kind is not EANN:
        changes.append({"num_iterations": 1})
    for change in changes:
        torch.manual_seed(0)
        model = kind(["H", "C"], **({"cutoff": 3.0} | change))
        model.fit_statistics(*inputs(data, model))
        randomize(model)
        rebuilt = kind(**model.config)
        assert repr(rebuilt) == repr(model)
        rebuilt.load_state_dict(model.state_dict())
        energies.append(model(*inputs(data, model)))
        assert torch.equal(rebuilt(*inputs(data, model)), energies[-1])
    distance = torch.pdist(torch.stack(energies).detach())
    assert float(distance.min()) > 1e-3


def test_special_cases_agree(make_potential: MakePotential) -> None:
    """Without iterations all three models are one; EquiREANN and REANN share their parameters."""
    data, parameters = random_cluster([1, 6], 3.0), make_potential(EANN).model.state_dict()
    energies = []
    for kind in MODELS:
        model = kind(["H", "C"], 3.0, num_radial=4, num_density=8, hidden_channels=[8, 8], **_no_iterations(kind))
        model.load_state_dict(parameters)
        energies.append(model(*inputs(data, model)))
    assert torch.equal(energies[0], energies[1])
    assert torch.equal(energies[0], energies[2])
    equivariant, invariant = make_potential(EquiREANN).model, make_potential(REANN).model
    parameters = dict(equivariant.named_parameters())
    assert parameters.keys() == dict(invariant.named_parameters()).keys()
    invariant.load_state_dict({key: equivariant.state_dict()[key] for key in invariant.state_dict()})
    difference = equivariant(*inputs(data, equivariant)) - invariant(*inputs(data, invariant))
    assert float(difference.detach().abs().max()) > 1e-2


def _no_iterations(kind: type[EquiREANN]) -> dict[str, int]:
    return {} if kind is EANN else {"num_iterations": 0}


def test_dense_cluster_against_brute_force(make_potential: MakePotential, double: torch.dtype) -> None:
    """More than 32 neighbours, all of which count."""
    model = make_potential(cutoff=5.0, num_iterations=1).model
    data = random_cluster([1, 6], 5.0, 64, spacing=1.1)
    assert int(torch.bincount(data.edge_index[1]).max()) > 45
    every = torch.cartesian_prod(torch.arange(64), torch.arange(64)).T
    every = every[:, every[0] != every[1]]
    expected = model(data.z, every, data.pos[every[0]] - data.pos[every[1]])
    assert_close(model(*inputs(data, model)), expected, 1e-10, "energies of a dense cluster")


def test_no_edges_and_no_atoms(make_potential: MakePotential, dtype: torch.dtype) -> None:
    model = make_potential().model
    z, no_edges = torch.tensor([1, 6, 1]), torch.zeros(2, 0, dtype=torch.int64)
    energy = model(z, no_edges, torch.zeros(0, 3))
    assert energy.shape == (3,)
    assert energy[0] == energy[2] != energy[1]
    assert model(z[:0], no_edges, torch.zeros(0, 3)).shape == (0,)


@pytest.mark.parametrize("kind", MODELS)
def test_reset_parameters_draws_anew(kind: type[EquiREANN], make_potential: MakePotential) -> None:
    model = make_potential(kind).model
    before = copy.deepcopy(model.state_dict())
    model.reset_parameters()
    fresh, other = (kind(**model.config).state_dict() for _ in range(2))
    drawn = {key for key, value in fresh.items() if not torch.equal(value, other[key])}
    assert drawn >= {"coefficient", "radial.centre", "descriptors.0.density.weight", "readout.network.embed.weight"}
    for key, value in model.state_dict().items():
        assert not torch.equal(value, before[key]), key
        assert torch.equal(value, fresh[key]) == (key not in drawn), key


@pytest.mark.parametrize("kind", MODELS)
def test_copies(kind: type[EquiREANN], make_potential: MakePotential) -> None:
    model, data = make_potential(kind).model, random_crystal([1, 6], 3.0)
    expected = model(*inputs(data, model))
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(twin(*inputs(data, model)), expected)
    assert repr(model).startswith(f"{kind.__name__}(")


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"elements": ["H", "Xx"]}, "unknown element 'Xx'"),
        ({"elements": []}, "elements is empty"),
        ({"elements": ["H", 1]}, "names an element twice"),
        ({"cutoff": 0.0}, "cutoff: expected a positive length in Angstrom, got 0"),
        ({"cutoff": -1.0}, "cutoff: expected a positive"),
        ({"cutoff": float("nan")}, "cutoff: expected a positive"),
        ({"hidden_channels": []}, "hidden_channels is empty"),
    ],
    ids=str,
)
def test_bad_arguments(kind: type[EquiREANN], arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind(**({"elements": ["H", "C"], "cutoff": 3.0} | arguments))


def test_negative_iterations() -> None:
    with pytest.raises(ValueError, match="num_iterations: expected 0 or more, got -1"):
        EquiREANN(["H"], num_iterations=-1)


def test_unknown_element_in_the_data(make_potential: MakePotential) -> None:
    model, data = make_potential().model, random_cluster([1, 8], 3.0)
    with pytest.raises(ValueError, match=r"unknown element O: this model was made for H, C"):
        model(*inputs(data, model))
