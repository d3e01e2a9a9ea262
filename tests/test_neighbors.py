from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.neighborlist import primitive_neighbor_list
from torch_geometric.data import Batch

from equireann_pyg.graph import edge_vectors, from_ase, neighbors, radius, radius_graph


def crystals() -> list[tuple[str, Atoms]]:
    """Triclinic, skewed and tiny cells, slabs and wires, with atoms outside of their cells."""
    rng = np.random.default_rng(1)
    result = []
    for index in range(16):
        count = int(rng.integers(1, 9))
        cell = np.diag(rng.uniform(1.6, 6.0, 3)) + rng.normal(scale=0.8, size=(3, 3))
        if index % 3 == 0:
            cell[1] += 2.5 * cell[0]  # strongly skewed
        pbc = [bool(index >> axis & 1) for axis in range(3)]
        grid = rng.permutation(64)[:count]  # no two atoms close together
        fractions = (np.stack([grid // 16, grid // 4 % 4, grid % 4], 1) + rng.uniform(0, 0.4, (count, 3))) / 4
        atoms = Atoms(numbers=[6] * count, cell=cell, pbc=pbc, scaled_positions=fractions)
        atoms.positions += (atoms.pbc * rng.integers(-2, 3, (count, 3))) @ cell
        result.append((f"random{index}", atoms))
    result.append(("tiny", Atoms("Cu", cell=1.7 * np.eye(3), pbc=True)))
    result.append(("slab", fcc111("Cu", (2, 2, 3), vacuum=None, a=3.6, periodic=False)))
    result.append(
        ("slab_without_third_vector", Atoms("C2", [[0, 0, 0], [1.2, 0.7, 9.0]], cell=[2.5, 2.5, 0], pbc=[1, 1, 0]))
    )
    result.append(("left_handed", Atoms("C2", [[0, 0, 0], [1, 1, 1]], cell=np.diag([3.0, 3.1, -3.2]), pbc=True)))
    return result


CRYSTALS = crystals()


def reference(atoms: Atoms, cutoff: float) -> list[tuple[int, ...]]:
    """Sorted (i, j, S) of ASE's own neighbour list."""
    i, j, shift = primitive_neighbor_list("ijS", atoms.pbc, atoms.cell.array, atoms.positions, cutoff)
    return sorted(zip(i.tolist(), j.tolist(), *shift.T.tolist(), strict=True))


def listed(edge_index: torch.Tensor, edge_shift: torch.Tensor) -> list[tuple[int, ...]]:
    """(i, j, S) in the order of the graph."""
    return list(
        zip(edge_index[1].tolist(), edge_index[0].tolist(), *edge_shift.T.to(torch.int64).tolist(), strict=True)
    )


@pytest.mark.parametrize(("name", "atoms"), CRYSTALS, ids=[name for name, _ in CRYSTALS])
@pytest.mark.parametrize("cutoff", [2.3, 4.7])
def test_same_edges_as_ase(name, atoms, cutoff):
    data = from_ase(atoms, cutoff)
    expected = reference(atoms, cutoff)
    assert listed(data.edge_index, data.edge_shift) == expected  # the order, too
    assert len(expected) > 0 or cutoff < 3 or len(atoms) == 1
    r = edge_vectors(data).norm(dim=1)
    assert bool((r < cutoff).all())
    if len(expected):
        distances = atoms.positions[[e[1] for e in expected]] - atoms.positions[[e[0] for e in expected]]
        distances = np.linalg.norm(distances + np.array([e[2:] for e in expected]) @ atoms.cell.array, axis=1)
        np.testing.assert_allclose(r.numpy(), distances, rtol=1e-12)


def test_the_crystals_are_a_fair_sample():
    pbc = {tuple(atoms.pbc.tolist()) for _, atoms in CRYSTALS}
    assert len(pbc) == 8
    edges = {name: reference(atoms, 4.7) for name, atoms in CRYSTALS}
    assert sum(len(e) for e in edges.values()) > 1000
    assert max(abs(x) for e in edges.values() for edge in e for x in edge[2:]) > 4  # far images and unwrapped atoms
    assert any(edge[0] == edge[1] for edge in edges["tiny"])  # images of the atom itself


@pytest.mark.parametrize("count", [1, 2, 40])
def test_engines_agree_on_open_systems(count, monkeypatch):
    pytest.importorskip("torch_cluster")
    pos = 1.6 * count ** (1 / 3) * torch.rand(count, 3, dtype=torch.float64)
    cluster = radius_graph(pos, 2.5)
    monkeypatch.setattr(radius, "torch_cluster_available", lambda device: False)
    vesin = radius_graph(pos, 2.5)
    assert torch.equal(cluster[0], vesin[0])
    assert torch.equal(cluster[1], vesin[1])
    assert cluster[1].dtype == vesin[1].dtype
    assert cluster[0].size(1) > (200 if count == 40 else -1)
    assert listed(*cluster) == reference(Atoms(numbers=[1] * count, positions=pos.numpy()), 2.5)


@pytest.mark.parametrize("installed", [True, False])
def test_a_batch_of_open_systems(installed, monkeypatch):
    if installed:
        pytest.importorskip("torch_cluster")
    monkeypatch.setattr(radius, "torch_cluster_available", lambda device: installed)
    parts = [4 * torch.rand(count, 3, dtype=torch.float64) for count in (12, 1, 30)]
    batch = torch.repeat_interleave(torch.arange(3), torch.tensor([12, 1, 30]))
    edge_index, edge_shift = radius_graph(torch.cat(parts), 2.0, batch=batch)
    starts = (0, 12, 13)
    single = torch.cat([radius_graph(part, 2.0)[0] + start for part, start in zip(parts, starts, strict=True)], dim=1)
    assert edge_index.size(1) > 100
    assert torch.equal(edge_index, single)
    assert edge_shift.shape == (edge_index.size(1), 3)
    assert not edge_shift.any()


@pytest.mark.parametrize("installed", [True, False])
def test_no_limit_on_neighbours(installed, monkeypatch):
    if installed:
        pytest.importorskip("torch_cluster")
    monkeypatch.setattr(radius, "torch_cluster_available", lambda device: installed)
    pos = torch.rand(150, 3, dtype=torch.float64)
    edge_index, _ = radius_graph(pos, 2.0)
    assert edge_index.size(1) == 150 * 149
    pairs = {tuple(pair) for pair in edge_index.T.tolist()}
    assert all((j, i) in pairs for i, j in pairs)


@pytest.mark.parametrize("installed", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_pair_at_the_cutoff_is_left_out(installed, dtype, monkeypatch):
    if installed:
        pytest.importorskip("torch_cluster")
    monkeypatch.setattr(radius, "torch_cluster_available", lambda device: installed)
    pos = torch.tensor([[0, 0, 0], [0, 0, 3], [0, 2.9999, 0]], dtype=dtype)
    edge_index, edge_shift = radius_graph(pos, 3.0)
    assert listed(edge_index, edge_shift) == [(0, 2, 0, 0, 0), (2, 0, 0, 0, 0)]
    assert edge_shift.dtype == dtype
    cell, pbc = 3 * torch.eye(3, dtype=dtype), torch.ones(3, dtype=torch.bool)
    assert radius_graph(pos[:1], 3.0, cell, pbc)[0].size(1) == 0
    assert radius_graph(pos[:1], 3.0001, cell, pbc)[0].size(1) == 6


def test_isolated_atoms_and_nothing():
    assert from_ase(Atoms("H"), 3.0).edge_index.shape == (2, 0)
    far = from_ase(Atoms("H2", [[0, 0, 0], [0, 0, 50]]), 3.0)
    assert far.edge_index.shape == (2, 0)
    assert far.num_nodes == 2
    edge_index, edge_shift = radius_graph(torch.empty(0, 3), 3.0)
    assert edge_index.shape == (2, 0)
    assert edge_shift.shape == (0, 3)


def test_wrapping_moves_only_the_shifts():
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=1)
    moved = atoms.copy()
    moved.positions += np.array([[3, -1, 0], [0, 0, 0], [0, 2, 5], [-7, 0, 1]]) @ atoms.cell.array
    first, second = from_ase(atoms, 4.0), from_ase(moved, 4.0)
    assert not torch.equal(first.edge_shift, second.edge_shift)

    def vectors(data):
        rows = torch.cat([data.edge_index.T.double(), edge_vectors(data).round(decimals=6)], dim=1)
        return sorted(map(tuple, rows.tolist()))

    np.testing.assert_allclose(vectors(first), vectors(second), rtol=1e-9, atol=1e-5)


def test_edge_vectors_of_a_batch_and_their_gradient():
    graphs = [from_ase(atoms, 3.5) for _, atoms in CRYSTALS[3:9]]
    batch = Batch.from_data_list(graphs)
    expected = torch.cat([edge_vectors(data) for data in graphs])
    assert len(expected) > 100
    assert float(expected.abs().max()) > 1
    torch.testing.assert_close(edge_vectors(batch), expected, rtol=1e-12, atol=1e-12)

    pos, cell = batch.pos.clone().requires_grad_(), batch.cell.clone().requires_grad_()
    batch.pos, batch.cell = pos, cell
    weight = torch.rand_like(expected)
    (edge_vectors(batch) * weight).sum().backward()
    j, i = batch.edge_index
    by_hand = torch.zeros_like(pos).index_add_(0, j, weight).index_add_(0, i, -weight)
    torch.testing.assert_close(pos.grad, by_hand)
    outer = batch.edge_shift.unsqueeze(2) * weight.unsqueeze(1)
    torch.testing.assert_close(cell.grad, torch.zeros_like(cell).index_add_(0, batch.batch[i], outer))
    assert float(cell.grad.abs().max()) > 1


def test_bad_arguments_of_radius_graph():
    pos = torch.rand(4, 3)
    with pytest.raises(ValueError, match=r"positions: expected the shape \[N, 3\], got \[3, 4\]"):
        radius_graph(pos.T, 1.0)
    with pytest.raises(ValueError, match="unsorted"):
        radius_graph(pos, 1.0, batch=torch.tensor([0, 1, 0, 1]))
    with pytest.raises(ValueError, match="periodic systems need one call each"):
        radius_graph(pos, 1.0, 4 * torch.eye(3), torch.ones(3), torch.tensor([0, 0, 1, 1]))


def test_skewed_cells_are_no_flat_ones():
    atoms = Atoms("Cu", cell=[[2.5, 0, 0], [250, 2.5, 0], [0, 0, 2.5]], pbc=True)
    data = from_ase(atoms, 3.0)
    assert listed(data.edge_index, data.edge_shift) == reference(atoms, 3.0)
    assert data.num_edges == 6  # the cell spans a simple cubic lattice
    assert float(data.edge_shift.abs().max()) == 100


def test_missing_torch_cluster_is_noticed(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_cluster", None)
    assert not neighbors.torch_cluster_available()
    assert from_ase(molecule("CH4"), 3.0).edge_index.size(1) == 20


def by_definition(atoms: Atoms, cutoff: float) -> list[tuple[int, ...]]:
    """Sorted (i, j, S) from every translation that can reach; ASE's own list misses pairs of some flat cells."""
    periodic, found = np.flatnonzero(atoms.pbc), []
    vectors = atoms.cell.array[periodic]  # -> [P, 3]
    inverse = np.linalg.pinv(vectors)  # -> [3, P]
    reach = cutoff * np.linalg.norm(inverse, axis=0)
    for i, j in np.ndindex(len(atoms), len(atoms)):
        r = atoms.positions[j] - atoms.positions[i]
        ranges = [np.arange(np.floor(-f - b), np.ceil(-f + b) + 1) for f, b in zip(r @ inverse, reach, strict=True)]
        steps = np.stack(np.meshgrid(*ranges, indexing="ij"), -1).reshape(-1, len(periodic)) if ranges else [[]]
        shift = np.zeros((len(steps), 3), dtype=int)
        shift[:, periodic] = steps
        near = np.linalg.norm(r + shift @ atoms.cell.array, axis=1) < cutoff
        found += [(i, j, *s) for s in shift[near].tolist() if i != j or any(s)]
    return sorted(found)


@pytest.mark.parametrize("scale", [0.0, 0.01, 1.0, 30.0])
@pytest.mark.parametrize("spread", [3.0, 40.0])
def test_atoms_far_outside_of_the_cell(scale, spread):
    rng = np.random.default_rng(7)
    count = 0
    for pbc in np.ndindex(2, 2, 2):
        open_directions = ~np.array(pbc, dtype=bool)
        cell = 2.5 * np.eye(3) + rng.normal(scale=0.6, size=(3, 3))
        cell[open_directions] *= scale  # whatever is in there must not matter
        atoms = Atoms("C5", rng.uniform(-spread, spread, (5, 3)), cell=cell, pbc=pbc)
        data = from_ase(atoms, 4.0)
        expected = by_definition(atoms, 4.0)
        assert listed(data.edge_index, data.edge_shift) == expected
        count += len(expected)
    assert count > 200


def test_what_a_gpu_searches():
    skew = torch.tensor([[10.0, 0, 0], [9.0, 5.0, 0], [0, 0, 10.0]], dtype=torch.float64)  # 5 high along b, 4.9 along a
    cubic, all_of_them = 10.0 * torch.eye(3), torch.ones(3, dtype=torch.bool)
    assert neighbors.searchable_on_gpu(cubic, all_of_them, 5.0)
    assert not neighbors.searchable_on_gpu(cubic, all_of_them, 5.01)
    assert not neighbors.searchable_on_gpu(cubic, torch.tensor([True, True, False]), 3.0)
    assert neighbors.searchable_on_gpu(skew, all_of_them, 2.4)
    assert not neighbors.searchable_on_gpu(skew, all_of_them, 2.46)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("side", [4.0, 12.0, 25.0])
@pytest.mark.parametrize("pbc", [(True, True, True), (True, True, False), (False, False, False)], ids=str)
def test_a_gpu_finds_what_the_cpu_finds(side, pbc):
    pos = side * torch.rand(60, 3, dtype=torch.float64)
    cell = side * torch.tensor([[1.0, 0, 0], [0.3, 1, 0], [0, 0.2, 1]], dtype=torch.float64)
    expected = radius_graph(pos, 3.0, cell, torch.tensor(pbc))
    for mine, theirs in zip(radius_graph(pos.cuda(), 3.0, cell, torch.tensor(pbc)), expected, strict=True):
        assert torch.equal(mine.cpu(), theirs)
