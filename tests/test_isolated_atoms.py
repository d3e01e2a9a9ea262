"""An isolated atom has its reference energy exactly, in every form of a potential; repulsion and old files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from ase import Atoms
from torch import Tensor
from torch_geometric.data import Batch, Data

from equireann_pyg import EquiREANN, OrbitalNetwork, Potential, from_ase, load_potential, save_potential
from equireann_pyg.inference.blocks import BlockPotential
from equireann_pyg.inference.calculator import EquiREANNCalculator
from equireann_pyg.inference.compiled import compile_potential
from equireann_pyg.inference.exported import export_potential
from equireann_pyg.nn import ZBL, ACEProducts, AllReadout, Coupled, PairRadial
from equireann_pyg.potential.checkpoint import potential_state
from equireann_pyg.properties import Dipole
from equireann_pyg.testing import (
    assert_close,
    assert_potential,
    make_graph,
    random_crystal,
    randomize,
    sample_graphs,
)

REFERENCES = {"H": -13.587222780835477, "C": -1029.4889999855063}
BINDING = {1: -2.3, 6: -6.1}


class Charges(torch.nn.Module):
    """A model of somebody else: energies that neither vanish without neighbours nor are rows of a product."""

    def __init__(self) -> None:
        super().__init__()
        self.cutoff, self.elements = 3.0, (1, 6)
        self.weight = torch.nn.Parameter(torch.tensor([0.7, -1.3]))

    def forward(self, z: Tensor, edge_index: Tensor, edge_vec: Tensor) -> Tensor:
        own = torch.tanh(z.to(self.weight) * self.weight[0]) + 1 / z.to(self.weight)
        pair = torch.exp(-edge_vec.norm(dim=1)) * self.weight[1]
        return own.index_add(0, edge_index[1], pair)


def model(kind: str) -> torch.nn.Module:
    """A model with random parameters, whose isolated atoms have energies."""
    if kind == "other":
        return Charges()
    if kind == "equireann":
        made: OrbitalNetwork = EquiREANN(["H", "C"], 3.0, num_radial=4, num_density=8, hidden_channels=[8])
    else:
        parts = ACEProducts(4, order=3), Coupled([8], num_channels=2), AllReadout([8])
        made = OrbitalNetwork(["H", "C"], 3.0, *parts, radial=PairRadial(4), num_iterations=1)
    randomize(made)
    return made


def potential(kind: str = "equireann", dtype: torch.dtype = torch.float64, **parts: Any) -> Potential:
    """A potential with references, binding energies and a scale."""
    torch.manual_seed(0)
    made = Potential(model(kind).to(dtype), **parts).eval()
    made.set_references(REFERENCES, 1.7, BINDING)
    return made


def alone(element: str, **options: Any) -> Data:
    """Graph of one atom."""
    return from_ase(Atoms(element, **options), 3.0)


@pytest.mark.parametrize("kind", ["equireann", "products", "other"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_isolated_atoms_have_their_references(kind: str, dtype: torch.dtype) -> None:
    made = potential(kind, dtype, repulsion=ZBL())
    none = torch.empty(2, 0, dtype=torch.int64), torch.empty(0, 3, dtype=dtype)
    assert float(made.model(torch.tensor([1, 6]), *none).detach().abs().min()) > 1e-2  # the model alone has other ideas
    for element, energy in REFERENCES.items():
        for graph in (alone(element), alone(element, cell=[9, 9, 9], pbc=True)):
            for evaluate in (made, *([BlockPotential(made, 1)] if hasattr(made.model, "block_size") else [])):
                output = evaluate(graph)
                assert float(output["energy"]) == energy
                assert not output["forces"].any()
    far = make_graph(torch.tensor([1, 6, 1]), torch.tensor([[0.0, 0, 0], [0, 0, 4], [0, 3.5, 0]]).double(), 3.0)
    assert made(far)["atomic_energy"].tolist() == [REFERENCES["H"], REFERENCES["C"], REFERENCES["H"]]
    methylene = from_ase(Atoms("CH2", [[0, 0, 0], [0.7, 0.8, 0], [0, -0.8, 0.7]]), 3.0)
    beside = Batch.from_data_list([alone("C"), methylene])
    assert float(made(beside)["energy"][0]) == REFERENCES["C"]
    assert abs(float(made(beside)["energy"][1]) - float(made.reference_energies[beside.z[1:]].sum())) > 1
    assert float(EquiREANNCalculator(made).get_potential_energy(Atoms("C"))) == REFERENCES["C"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`isinstance\\(treespec, LeafSpec\\)`:FutureWarning")  # inside of torch
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's compiler imports what it likes
def test_compiled_and_exported_potentials(tmp_path: Path) -> None:
    made = potential(dtype=torch.float32, repulsion=ZBL())
    export_potential(made, tmp_path / "a.pt2")
    exported = EquiREANNCalculator(tmp_path / "a.pt2").potential
    close = from_ase(Atoms("CH4", [[0, 0, 0], [0.5, 0, 0], [0, 0.8, 0], [0, 0, 0.7], [-0.6, 0, 0.2]]), 3.0)
    bare = Potential(made.model).eval()
    bare.set_references(REFERENCES, 1.7, BINDING)
    assert float((made(close)["forces"] - bare(close)["forces"]).abs().max()) > 1  # repulsion is at work
    for evaluate in (exported, compile_potential(made)):
        for graph in (close, random_crystal([1, 6], 3.0, 3)):
            output, expected = evaluate(graph), made(graph)
            assert output.keys() == expected.keys()
            for name, value in expected.items():
                assert_close(output[name], value, 1e-5, name)
        for element, energy in REFERENCES.items():
            assert float(evaluate(alone(element))["energy"]) == energy


def test_atoms_far_from_isolated_are_not_touched() -> None:
    made, graph = potential(), random_crystal([1, 6], 3.0, 6)
    made.set_references(REFERENCES, 1.7)
    with torch.no_grad():
        plain = made(graph)["atomic_energy"] - made.reference_energies[graph.z]
        vectors = graph.pos[graph.edge_index[0]] - graph.pos[graph.edge_index[1]] + graph.edge_shift @ graph.cell[0]
        assert_close(plain, 1.7 * made.model(graph.z, graph.edge_index, vectors), 1e-6, "energies")


@pytest.mark.parametrize("kind", ["equireann", "products"])
def test_battery_with_binding_and_repulsion(kind: str, double: torch.dtype) -> None:
    made = potential(kind, repulsion=ZBL())
    assert_potential(made)


def test_binding_energies_are_where_atoms_are_bound(double: torch.dtype) -> None:
    fresh = Potential(EquiREANN(["H", "C"], 3.0)).eval()  # zero energies
    fresh.set_references(REFERENCES, 1.0, BINDING)
    methane = Atoms(
        "CH4", [[0, 0, 0], [0.63, 0.63, 0.63], [-0.63, -0.63, 0.63], [0.63, -0.63, -0.63], [-0.63, 0.63, -0.63]]
    )
    output = fresh(from_ase(methane, 3.0))
    expected = [REFERENCES["C"] - 6.1] + 4 * [REFERENCES["H"] - 2.3]
    assert output["atomic_energy"].tolist() == pytest.approx(expected, abs=1e-3)
    fresh.set_references(REFERENCES)
    assert fresh(from_ase(methane, 3.0))["atomic_energy"].tolist() == [REFERENCES["C"]] + 4 * [REFERENCES["H"]]
    assert not fresh.binding_energies.any()


def test_files(tmp_path: Path) -> None:
    made = potential(dtype=torch.float32, repulsion=ZBL(), properties=[Dipole([4])])
    save_potential(made, tmp_path / "a.pt")
    again = load_potential(tmp_path / "a.pt")
    assert isinstance(again.repulsion, ZBL)
    assert again.binding_energies[[1, 6]].tolist() == [-2.3, -6.1]
    graph = Batch.from_data_list(sample_graphs(made.elements, 3.0))
    expected = made(graph)
    for name, value in again(graph).items():
        assert torch.equal(value.nan_to_num(), expected[name].nan_to_num()), name
    state = potential_state(made)
    del state["state_dict"]["switch"]
    torch.save(state, tmp_path / "b.pt")
    with pytest.raises(ValueError, match=r"weights do not fit the model .*no switch"):
        load_potential(tmp_path / "b.pt")


def test_a_file_of_version_1_gives_the_numbers_it_always_gave(tmp_path: Path) -> None:
    made = potential()
    made.set_references(REFERENCES, 1.7)
    state = potential_state(made)
    old = {key: value for key, value in state["state_dict"].items() if key not in ("binding_energies", "switch")}
    assert len(old) == len(state["state_dict"]) - 2
    torch.save(state | {"version": 1, "state_dict": old}, tmp_path / "old.pt")
    loaded = load_potential(tmp_path / "old.pt")
    graphs = [*sample_graphs(made.elements, 3.0), alone("C"), from_ase(Atoms("H2", [[0, 0, 0], [0, 0, 2.7]]), 3.0)]
    for graph in graphs:
        vectors = graph.pos[graph.edge_index[0]] - graph.pos[graph.edge_index[1]] + graph.edge_shift @ graph.cell[0]
        expected = 1.7 * made.model(graph.z, graph.edge_index, vectors)  # as version 1 had it
        actual = loaded(graph)["atomic_energy"] - made.reference_energies[graph.z]
        assert_close(actual, expected, 1e-11, "energies")
    assert abs(float(loaded(alone("C"))["energy"]) - REFERENCES["C"]) > 1e-2
    assert float(load_potential(_saved(loaded, tmp_path)).switch) == 0  # and when it is saved again
    weights = Potential(made.model)
    weights.load_state_dict(old)  # a training that is resumed
    assert float(weights.switch) == 0


def _saved(made: Potential, folder: Path) -> Path:
    save_potential(made, folder / "again.pt")
    return folder / "again.pt"


def test_exact_numbers_stay_exact() -> None:
    made = potential(repulsion=ZBL()).float().double()
    assert made.binding_energies[1] == -2.3
    assert made.reference_energies[6] == REFERENCES["C"]
    assert made.switch == 1


@pytest.mark.parametrize("kind", ["equireann", "products"])
def test_repulsion_wins_at_short_distance(kind: str) -> None:
    r = torch.linspace(0.05, 0.4, 15).tolist()
    pairs = [from_ase(Atoms("CC", [[0, 0, 0], [0, 0, x]]), 3.0) for x in r]
    with_zbl, without = (
        torch.cat([potential(kind, repulsion=part)(graph)["energy"] for graph in pairs]) for part in (ZBL(), None)
    )
    assert bool((with_zbl.diff() < 0).all())
    assert float(with_zbl[0] - with_zbl[-1]) > 1e3
    assert float((without[0] - without[-1]).abs()) < 1e2  # the model itself knows nothing of it
