from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch_geometric.data import Batch

from equireann_pyg import EquiREANN, Potential, load_potential, save_potential
from equireann_pyg.nn import CartesianMoments, SphericalHarmonics
from equireann_pyg.properties import Charges, Dipole, FieldResponse, LocalDipole, Polarizability, Property
from equireann_pyg.testing import random_cluster, random_crystal, random_orthogonal, randomize
from equireann_pyg.testing.checks import assert_close

CUTOFF, HIDDEN = 3.0, [8]
TOLERANCE = 1e-10


def make(*properties, seed=0, **kwargs):
    """Float64 potential with random parameters and property statistics."""
    torch.manual_seed(seed)
    sizes = {"num_radial": 4, "num_density": 8, "num_iterations": 1, "hidden_channels": [8]} | kwargs
    model = EquiREANN(["H", "C"], CUTOFF, **sizes).double()
    potential = Potential(model, properties).eval()
    for part in potential.properties:
        part.double()
    randomize(potential)
    randomize(potential.properties, seed=1, amplitude=2.0)
    potential.set_references({"H": -3.0, "C": 5.0}, scale=2.0)
    return potential


def cluster(size=6, seed=1, charge=0.0, field=(0.0, 0.0, 0.0)):
    data = random_cluster([1, 6], CUTOFF, size, seed=seed)
    data.total_charge = torch.tensor([charge], dtype=torch.float64)
    data.field = torch.tensor([field], dtype=torch.float64)
    return data


def everything(**kwargs):
    return make(Dipole(HIDDEN), Polarizability(HIDDEN), **kwargs)


NAMES = {"dipole", "charges", "polarizability"}


@pytest.mark.parametrize("angular", [SphericalHarmonics(2), CartesianMoments(2)], ids=repr)
@pytest.mark.parametrize("reflect", [False, True])
def test_tensors_turn_with_the_molecule(reflect, angular):
    potential, data = everything(angular=angular), cluster()
    q = random_orthogonal(seed=3, reflect=reflect)
    turned = data.clone()
    turned.pos = data.pos @ q.T
    before, after = potential(data), potential(turned)
    expected = {
        "energy": before["energy"],
        "charges": before["charges"],
        "dipole": before["dipole"] @ q.T,
        "polarizability": q @ before["polarizability"] @ q.T,
    }
    for name, value in expected.items():
        assert_close(after[name], value, TOLERANCE, name, smallest=1e-2)
    assert_close(before["polarizability"], before["polarizability"].mT, 1e-12, "symmetry")


def test_origin_and_order_of_the_atoms_do_not_matter():
    potential, data = everything(), cluster()
    before = potential(data)
    moved = data.clone()
    moved.pos = data.pos + torch.tensor([11.0, -5.0, 3.0], dtype=torch.float64)
    order = torch.randperm(6)
    mixed = data.clone()
    mixed.z, mixed.pos = data.z[order], data.pos[order]
    mixed.edge_index = torch.argsort(order)[data.edge_index]
    for other, charges in ((moved, before["charges"]), (mixed, before["charges"][order])):
        after = potential(other)
        for name in ("dipole", "polarizability"):
            assert_close(after[name], before[name], TOLERANCE, name, smallest=1e-2)
        assert_close(after["charges"], charges, TOLERANCE, "charges", smallest=1e-2)


def test_an_ion_has_its_charge_and_a_dipole_about_the_origin():
    potential, shift = make(Dipole(HIDDEN)), torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)
    for charge in (-1.0, 0.0, 2.0):
        data = cluster(charge=charge)
        moved = data.clone()
        moved.pos = data.pos + shift
        here, there = potential(data), potential(moved)
        assert float(here["charges"].sum()) == pytest.approx(charge, abs=1e-14)
        assert float(here["charges"].abs().min()) > 1e-3
        torch.testing.assert_close(there["dipole"][0] - here["dipole"][0], charge * shift, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", [Charges, Dipole])
def test_charges_add_up_in_single_precision_and_in_batches(kind):
    potential = make(kind(HIDDEN)).float()
    graphs = [cluster(size, size, charge) for size, charge in ((6, 1.0), (4, 0.0), (5, -2.0))]
    batch = Batch.from_data_list(graphs)
    charges = potential(batch)["charges"]
    assert charges.dtype == torch.float64
    total = torch.stack([part.sum() for part in charges.split([6, 4, 5])])
    torch.testing.assert_close(total, batch.total_charge, rtol=0, atol=1e-13)


def test_batch_and_single_agree():
    potential = everything()
    graphs = [cluster(size, size, charge) for size, charge in ((6, 1.0), (4, 0.0))]
    together = potential(Batch.from_data_list(graphs))
    for index, graph in enumerate(graphs):
        single = potential(graph)
        assert_close(together["dipole"][index : index + 1], single["dipole"], TOLERANCE, "dipole")
        assert_close(together["polarizability"][index : index + 1], single["polarizability"], TOLERANCE, "alpha")
        assert_close(together["charges"].split([6, 4])[index], single["charges"], TOLERANCE, "charges")


def test_crystals_have_local_dipoles_only():
    crystal = random_crystal([1, 6], CUTOFF)
    local, molecular = make(LocalDipole(HIDDEN)), everything()
    shifted = crystal.clone()
    lattice = torch.tensor([[1.0, 0, -2], [0, 3, 1]], dtype=torch.float64)
    shifted.pos = crystal.pos + lattice @ crystal.cell[0]
    j, i = crystal.edge_index
    shifted.edge_shift = crystal.edge_shift - lattice[j] + lattice[i]
    assert_close(local(shifted)["dipole"], local(crystal)["dipole"], TOLERANCE, "dipole of the crystal", smallest=1e-3)
    output = molecular(crystal)
    assert bool(output["dipole"].isnan().all())
    assert all(bool(torch.isfinite(output[name]).all()) for name in ("charges", "polarizability", "forces"))
    molecular.train()  # the molecule of a mixed batch still trains
    bare = [random_cluster([1, 6], CUTOFF), crystal]
    dipole = molecular(Batch.from_data_list(bare))["dipole"]
    (gradient,) = torch.autograd.grad(dipole[0].square().sum(), [molecular.properties[0].head.gate.network.out.weight])
    assert bool(torch.isfinite(gradient).all())
    assert bool(gradient.any())


def test_properties_leave_energy_and_forces_alone():
    potential, data = everything(), cluster()
    bare = Potential(potential.model).eval()
    bare.set_references({"H": -3.0, "C": 5.0}, scale=2.0)
    expected, actual = bare(data), potential(data)
    assert set(actual) == set(expected) | NAMES
    for name, value in expected.items():
        assert torch.equal(actual[name], value), name
    assert not any(value.requires_grad for value in actual.values())
    assert all(value.dtype == torch.float64 for value in actual.values())
    assert all(value.requires_grad for value in potential.train()(data).values())


IN_FIELD = (0.3, -0.1, 0.2)


def response(**kwargs):
    return make(FieldResponse(Dipole(HIDDEN), Polarizability(HIDDEN)), **kwargs)


@pytest.mark.parametrize("charge", [0.0, 1.0])
def test_dipole_and_polarizability_are_derivatives_with_respect_to_the_field(charge):
    potential, step = response(), 1e-4
    output = potential(cluster(charge=charge, field=IN_FIELD))
    dipole, alpha = torch.zeros(3).double(), torch.zeros(3, 3).double()
    for k in range(3):
        ends = []
        for sign in (1, -1):
            field = list(IN_FIELD)
            field[k] += sign * step
            ends.append(potential(cluster(charge=charge, field=field)))
        dipole[k] = -(ends[0]["energy"] - ends[1]["energy"]).squeeze() / (2 * step)
        alpha[k] = (ends[0]["dipole"] - ends[1]["dipole"])[0] / (2 * step)
    assert_close(output["dipole"][0], dipole, 1e-7, "dipole", smallest=1e-2)
    assert_close(output["polarizability"][0], alpha, 1e-7, "polarizability", smallest=1e-2)
    assert_close(output["energy"].sum(), output["atomic_energy"].sum(), 1e-12, "energy as a sum over the atoms")


def test_without_a_field_the_response_is_the_permanent_one():
    together, apart = response(), everything()
    apart.load_state_dict(
        {
            key.replace("0.dipole.", "0.").replace("0.polarizability.", "1."): value
            for key, value in together.state_dict().items()
            if key != "properties.0.scale"
        }
    )
    data = cluster()
    for name, value in apart(data).items():
        torch.testing.assert_close(together(data)[name], value, rtol=1e-12, atol=1e-12)
    assert float((together(cluster(field=IN_FIELD))["energy"] - apart(data)["energy"]).abs()) > 1e-2


def numerical_gradient(function, pos, step=1e-4):
    gradient = torch.zeros_like(pos)
    for index in range(pos.numel()):
        shift = torch.zeros_like(pos).view(-1)
        shift[index] = step
        shift = shift.view_as(pos)
        gradient.view(-1)[index] = (function(pos + shift) - function(pos - shift)) / (2 * step)
    return gradient


@pytest.mark.parametrize("charge", [0.0, -1.0])
def test_forces_in_a_field_are_the_slope_of_the_energy(charge):
    potential, data = response(), cluster(4, charge=charge, field=IN_FIELD)

    def energy(pos):
        moved = data.clone()
        moved.pos = pos
        return potential(moved, forces=False)["energy"].squeeze()

    actual, expected = potential(data)["forces"], -numerical_gradient(energy, data.pos)
    assert_close(actual, expected, 1e-6, "forces in a field", smallest=1e-2)
    torch.testing.assert_close(actual.sum(0), charge * data.field[0], rtol=1e-9, atol=1e-10)  # F_total = Q F
    without = Potential(potential.model)
    without.set_references({"H": -3.0, "C": 5.0}, scale=2.0)
    assert float((actual - without.eval()(data)["forces"]).abs().max()) > 1e-3


@pytest.mark.parametrize("field", [(0.0, 0.0, 0.0), IN_FIELD])
@pytest.mark.parametrize("graph", ["cluster", "crystal"])
def test_hessian_vector_product(graph, field):
    if graph == "crystal":
        potential, data = make(), random_crystal([1, 6], CUTOFF)
    else:
        potential, data = response(), cluster(5, field=field)
    vector, step = torch.randn(data.pos.shape, dtype=torch.float64), 3e-5
    forces = []
    for sign in (1, -1):
        moved = data.clone()
        moved.pos = data.pos + sign * step * vector
        forces.append(potential(moved)["forces"])
    product = potential.hessian_vector_product(data, vector)
    assert_close(product, -(forces[0] - forces[1]) / (2 * step), 1e-6, "Hessian times vector", smallest=1e-2)
    other = torch.randn(data.pos.shape, dtype=torch.float64)
    reverse = (potential.hessian_vector_product(data, other) * vector).sum()
    torch.testing.assert_close((product * other).sum(), reverse, rtol=1e-9, atol=0)
    assert not product.requires_grad
    with pytest.raises(ValueError, match=r"vector: expected the shape \[\d, 3\]"):
        potential.hessian_vector_product(data, vector[1:])


def test_hessian_vector_product_of_batches_and_lone_atoms():
    potential = make()
    graphs = [random_cluster([1, 6], CUTOFF, size, seed=size) for size in (5, 1, 4)]
    batch = Batch.from_data_list(graphs)
    vector = torch.randn(batch.pos.shape, dtype=torch.float64)
    together = potential.hessian_vector_product(batch, vector)
    for graph, part, expected in zip(graphs, vector.split([5, 1, 4]), together.split([5, 1, 4]), strict=True):
        single = potential.hessian_vector_product(graph, part)
        torch.testing.assert_close(single, expected, rtol=1e-9, atol=1e-12)
    assert float(together.abs().max()) > 1e-2
    assert not bool(together[5].any())


def test_round_trip_through_a_file(tmp_path):
    potential = response()
    potential.properties[0].polarizability.reference[6] = 0.123456789012345
    save_potential(potential.float(), tmp_path / "p.pt")
    loaded = load_potential(tmp_path / "p.pt")
    assert float(loaded.properties[0].polarizability.reference[6]) == 0.123456789012345
    assert loaded.properties[0].dipole.head.gate.network.out.weight.dtype == torch.float32
    data = cluster(field=IN_FIELD)
    for name, value in potential(data).items():
        torch.testing.assert_close(loaded(data)[name], value, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(deepcopy(loaded)(data)["dipole"], loaded(data)["dipole"], rtol=0, atol=0)


def test_graphs_without_charge_and_field():
    potential, data = response(), random_cluster([1, 6], CUTOFF, seed=1)
    assert "total_charge" not in data
    torch.testing.assert_close(potential(data)["dipole"], potential(cluster())["dipole"])


def test_what_is_refused():
    dipole = Dipole(HIDDEN)
    make(dipole)
    with pytest.raises(ValueError, match="Dipole already belongs to a potential: make a new one"):
        make(dipole)
    with pytest.raises(ValueError, match="must differ; Dipole gives charges too"):
        make(Dipole(HIDDEN), Charges(HIDDEN))
    with pytest.raises(ValueError, match="TensorReadout reads degree 2 of the orbitals, which end at 1"):
        make(Polarizability(HIDDEN), angular=SphericalHarmonics(1))
    crystal = random_crystal([1, 6], CUTOFF)
    crystal.field = torch.ones(1, 3, dtype=torch.float64)
    with pytest.raises(ValueError, match="field on a periodic graph: use FieldResponse"):
        response()(crystal)

    class Plain(torch.nn.Module):
        cutoff, elements = 3.0, [1]

    with pytest.raises(TypeError, match=r"Plain has no `embed`, .*properties need a model that gives features"):
        Potential(Plain(), [Dipole()])
    with pytest.raises(TypeError, match="must define build"):
        make(Property())
