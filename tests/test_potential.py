"""The battery of an interatomic potential on all models, and the errors of Potential."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

from equireann_pyg import EANN, REANN, EquiREANN, Potential
from equireann_pyg.nn import CartesianMoments, CosineCutoff, SphericalHarmonics
from equireann_pyg.testing import (
    TOLERANCE,
    assert_close,
    assert_conservative,
    assert_equivariant,
    assert_potential,
    assert_smooth_at_cutoff,
    assert_trainable,
    make_graph,
    predict,
    random_cluster,
    random_crystal,
    sample_graphs,
)
from tests.variants import shared_by_element

MakePotential = Callable[..., Potential]
VARIANTS: dict[str, dict[str, Any]] = {
    "equireann": {},
    "equireann-cartesian": {"angular": CartesianMoments(2, unit=False), "envelope": CosineCutoff()},
    "shared": {"kind": shared_by_element, "angular": SphericalHarmonics(3)},
    "reann": {"kind": REANN},
    "eann": {"kind": EANN},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_battery(variant: str, make_potential: MakePotential, dtype: torch.dtype) -> None:
    potential = make_potential(**VARIANTS[variant])
    assert potential.dtype == dtype
    assert_potential(potential)


def test_three_derivatives_with_the_cosine_envelope(make_potential: MakePotential) -> None:
    assert_smooth_at_cutoff(make_potential(envelope=CosineCutoff()), derivatives=3)


class Crooked(torch.nn.Module):
    """A model with one flaw, to see that the battery finds it."""

    def __init__(self, model: EquiREANN, flaw: str) -> None:
        super().__init__()
        self.model, self.flaw, self.cutoff, self.elements = model, flaw, model.cutoff, model.elements
        self.weight = torch.nn.Parameter(torch.ones(()))

    def forward(self, z: Tensor, edge_index: Tensor, edge_vec: Tensor) -> Tensor:
        energy = self.model(z, edge_index, edge_vec * self.weight)
        r = edge_vec.norm(dim=1)
        j, i = edge_index
        gap = (self.cutoff - r).clamp(min=0)
        extra = {
            "direction": 0.01 * edge_vec[:, 0] * gap**3,
            "handedness": 0.0 * r,
            "edge order": 0.001 * torch.arange(len(r)).to(r) * gap**3,
            "jump of the curvature": gap**2,
            "reach": 0.01 * torch.exp(-r),
            "detached": 0.1 * r.detach() * gap**3,
            "first derivative only": 0.1 * torch.exp(-_OnceDifferentiable.apply(r * self.weight)) * gap**3,
        }[self.flaw]
        if self.flaw == "handedness" and len(r):
            moment = torch.zeros(z.numel(), 3).to(r).index_add(0, i, edge_vec * (gap**3 * z[j]).unsqueeze(1))
            skewed = torch.zeros(z.numel(), 3).to(r).index_add(0, i, edge_vec * (gap**4).unsqueeze(1))
            twisted = torch.linalg.cross(moment[i], skewed[i])
            extra = 0.01 * (twisted * edge_vec).sum(1) * gap**3
        return energy + torch.zeros_like(energy).index_add(0, i, extra)


class _OnceDifferentiable(torch.autograd.Function):
    """Identity whose gradient carries no graph, like that of a segment reduction of torch_scatter."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient.detach().clone()


@pytest.mark.parametrize(
    ("flaw", "message"),
    [
        ("direction", "under rotation"),
        ("handedness", "under reflection"),
        ("edge order", "under permutation"),
        ("jump of the curvature", "cutoff: a neighbour vanishes with power"),
        ("reach", "cutoff"),
        ("detached", "against finite differences"),
        ("first derivative only", "gradient of the force loss"),
    ],
)
def test_the_battery_finds_flaws(flaw: str, message: str, make_potential: MakePotential, double: torch.dtype) -> None:
    potential = Potential(Crooked(make_potential(cutoff=3.0).model, flaw))
    with pytest.raises(AssertionError, match=message):
        assert_potential(potential)


def test_the_battery_refuses_zeros() -> None:
    with pytest.raises(AssertionError, match="too small to compare"):
        assert_potential(Potential(EquiREANN(["H", "C"], 3.0)))


def test_edges_beyond_the_cutoff_change_nothing(make_potential: MakePotential, dtype: torch.dtype) -> None:
    potential = make_potential()
    short, long = (random_crystal([1, 6], cutoff, 3) for cutoff in (3.0, 6.5))
    assert long.edge_index.size(1) > 5 * short.edge_index.size(1)
    expected, actual = predict(potential, short), predict(potential, long)
    for key, value in expected.items():
        assert_close(actual[key], value, TOLERANCE[dtype], key)


@pytest.mark.parametrize(("num_atoms", "length"), [(1, 1.8), (2, 2.6)])
def test_supercell(num_atoms: int, length: float, make_potential: MakePotential, dtype: torch.dtype) -> None:
    """Twice the cell: the same atomic energies, forces and stress."""
    potential, cell = make_potential(), random_crystal([1, 6], 3.0, num_atoms, length)
    pos = torch.cat([cell.pos, cell.pos + cell.cell[0, 1]])
    double_cell = cell.cell[0] * torch.tensor([1.0, 2.0, 1.0], dtype=torch.float64).unsqueeze(1)
    supercell = make_graph(cell.z.repeat(2), pos, 3.0, double_cell)
    expected, actual = predict(potential, cell), predict(potential, supercell)
    assert_close(actual["atomic_energy"], expected["atomic_energy"].repeat(2), TOLERANCE[dtype], "energy")
    assert_close(actual["stress"], expected["stress"], TOLERANCE[dtype], "stress")
    if num_atoms > 1:
        assert_close(actual["forces"], expected["forces"].repeat(2, 1), TOLERANCE[dtype], "forces")


@pytest.mark.parametrize("pbc", [[True, True, False], [True, False, False]])
def test_mixed_periodic_directions(pbc: list[bool], make_potential: MakePotential, double: torch.dtype) -> None:
    """A slab and a wire: only the edges along periodic directions exist; forces are exact."""
    potential, crystal = make_potential(), random_crystal([1, 6], 3.0, 4)
    data = make_graph(crystal.z, crystal.pos, 3.0, crystal.cell[0], torch.tensor(pbc))
    assert 0 < data.edge_index.size(1) < crystal.edge_index.size(1)
    assert not bool(data.edge_shift[:, ~torch.tensor(pbc)].any())
    assert_conservative(potential, data)
    assert_equivariant(potential, data)


def test_isolated_atoms_and_batches_without_edges(make_potential: MakePotential, dtype: torch.dtype) -> None:
    potential = make_potential()
    atoms = [make_graph(torch.tensor([z]), torch.zeros(1, 3, dtype=torch.float64), 3.0) for z in (1, 6, 1)]
    output = potential.eval()(Batch.from_data_list(atoms))
    assert torch.equal(output["forces"], torch.zeros(3, 3, dtype=torch.float64))
    assert output["energy"][0] == output["energy"][2] != output["energy"][1]
    assert potential.eval()(atoms[1])["energy"][0] == output["energy"][1]
    potential.train()(Batch.from_data_list(atoms))["forces"].square().sum().backward()


def test_reference_energies_and_scale(make_potential: MakePotential, dtype: torch.dtype) -> None:
    potential, data = make_potential(), random_cluster([1, 6], 3.0)
    plain = copy.deepcopy(potential)
    plain.set_references({"H": 0.0, 6: 0.0})
    before, after = plain.eval()(data), potential.eval()(data)
    references = torch.where(data.z == 1, -3.0, 5.0).double()
    assert_close(after["atomic_energy"], 2 * before["atomic_energy"] + references, 1e-14, "atomic energies")
    assert_close(after["forces"], 2 * before["forces"], 1e-6 if dtype == torch.float32 else 1e-13, "forces")


def test_large_references_cost_no_precision(make_potential: MakePotential) -> None:
    """A float32 model resolves energy differences beside a reference of a megaelectronvolt."""
    potential, data = make_potential(), random_cluster([1, 6], 3.0)
    expected = predict(potential, data)["atomic_energy"]
    potential.set_references({"H": -1e6, "C": -1e6}, scale=2.0)
    assert_close(predict(potential, data)["atomic_energy"], expected, 1e-8, "atomic energies", smallest=0.1)


def test_what_is_computed(make_potential: MakePotential) -> None:
    potential, (cluster, _, crystal, *_) = make_potential(), sample_graphs([1, 6], 3.0)
    assert set(potential(cluster)) == {"energy", "atomic_energy", "forces"}
    assert set(potential(crystal)) == {"energy", "atomic_energy", "forces", "stress"}
    assert set(potential(crystal, forces=False)) == {"energy", "atomic_energy", "stress"}
    assert set(potential(crystal, forces=False, stress=False)) == {"energy", "atomic_energy"}
    with torch.no_grad():
        quiet = potential.eval()(crystal)
    assert_close(quiet["forces"], potential(crystal)["forces"], 1e-12, "forces without gradients around")
    potential.train()
    assert all(value.requires_grad for value in potential(crystal).values())


def test_stress_of_a_batch(make_potential: MakePotential, double: torch.dtype) -> None:
    """Each graph's virial is divided by its own volume; the stress is symmetric."""
    potential = make_potential()
    crystals = [random_crystal([1, 6], 3.0, 2, length) for length in (2.4, 3.1)]
    stress = potential.eval()(Batch.from_data_list(crystals))["stress"]
    for index, crystal in enumerate(crystals):
        assert_close(stress[index : index + 1], potential(crystal)["stress"], 1e-12, f"stress of graph {index}")
    assert torch.equal(stress, stress.transpose(1, 2))


@pytest.mark.parametrize("kind", [EquiREANN, REANN, EANN])
def test_force_training_of_a_crystal(kind: type[EquiREANN], make_potential: MakePotential, double: torch.dtype) -> None:
    assert_trainable(make_potential(kind), random_crystal([1, 6], 3.0, 3))


def test_deterministic_algorithms_do_not_change_the_gradient(
    make_potential: MakePotential, double: torch.dtype
) -> None:
    """Segment reductions lose the second derivative silently; nothing here may ever reach one."""
    torch.use_deterministic_algorithms(True)
    try:
        assert_trainable(make_potential(), random_cluster([1, 6], 3.0))
    finally:
        torch.use_deterministic_algorithms(False)


def test_model_without_the_contract() -> None:
    with pytest.raises(TypeError, match="Linear has no `cutoff`"):
        Potential(torch.nn.Linear(1, 1))
    model = torch.nn.Linear(1, 1)
    model.cutoff = 3.0
    with pytest.raises(TypeError, match="Linear has no `elements`"):
        Potential(model)


def test_cutoff_mismatch(make_potential: MakePotential) -> None:
    data = random_cluster([1, 6], 2.0)
    data.cutoff = torch.tensor([2.0])
    with pytest.raises(ValueError, match=r"cutoff mismatch: the graph was built with 2 Angstrom, the model needs 3"):
        make_potential()(data)
    with pytest.raises(ValueError, match="cutoff mismatch"):
        make_potential()(Batch.from_data_list([data, data]))


def test_stress_without_a_cell(make_potential: MakePotential) -> None:
    with pytest.raises(ValueError, match="stress: the graph has no cell volume"):
        make_potential()(random_cluster([1, 6], 3.0), stress=True)
    mixed: list[Data] = sample_graphs([1, 6], 3.0)
    with pytest.raises(ValueError, match="stress: the graph has no cell volume"):
        make_potential()(Batch.from_data_list(mixed), stress=True)


@pytest.mark.parametrize(
    ("references", "scale", "message"),
    [
        ({"H": 1.0}, 1.0, "reference energies lack C"),
        ({"H": 1.0, "C": float("nan")}, 1.0, "must be finite"),
        ({"H": 1.0, "C": 1.0}, 0.0, "scale positive"),
        ({"H": 1.0, "Q": 1.0}, 1.0, "unknown element 'Q'"),
    ],
)
def test_bad_references(
    references: dict[str, float], scale: float, message: str, make_potential: MakePotential
) -> None:
    with pytest.raises(ValueError, match=message):
        make_potential().set_references(references, scale)
