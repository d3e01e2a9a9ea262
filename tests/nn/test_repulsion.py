"""Screened nuclear repulsion against its formula, and its derivatives."""

from __future__ import annotations

import ase.data
import numpy as np
import pytest
import torch
from torch import Tensor

from equireann_pyg.elements import COVALENT_RADII
from equireann_pyg.nn import ZBL
from equireann_pyg.potential.checkpoint import build, recipe
from equireann_pyg.testing import assert_close, random_crystal


def dimer(first: int, second: int, r: float | Tensor, **options: float) -> Tensor:
    """Atomic energies of two atoms at a distance."""
    direction = torch.tensor([[0.6, 0.0, 0.8], [-0.6, 0.0, -0.8]], dtype=torch.float64)
    edge_vec = torch.as_tensor(r, dtype=torch.float64) * direction
    return ZBL(reach=1.0)(torch.tensor([first, second]), torch.tensor([[1, 0], [0, 1]]), edge_vec, **options)


def formula(first: int, second: int, r: float, reach: float) -> float:
    """The formula of LAMMPS' ``pair_style zbl``, times the polynomial envelope with p = 6."""
    x = r * (first**0.23 + second**0.23) / 0.46850
    screening = 0.02817 * np.exp(-0.20162 * x) + 0.28022 * np.exp(-0.40290 * x)
    screening += 0.50986 * np.exp(-0.94229 * x) + 0.18175 * np.exp(-3.19980 * x)
    q = r / reach
    return 14.399645 * first * second / r * screening * (1 - 28 * q**6 + 48 * q**7 - 21 * q**8)


@pytest.mark.parametrize(
    ("pair", "reach", "r"),
    [((1, 1), 0.62, 0.1), ((1, 1), 0.62, 0.5), ((6, 8), 1.42, 0.7), ((29, 29), 2.64, 1.5), ((92, 1), 2.27, 2.0)],
)
def test_pairs(pair: tuple[int, int], reach: float, r: float) -> None:
    first, second = dimer(*pair, r).tolist()
    assert first == second  # half on either atom
    assert first + second == pytest.approx(formula(*pair, r, reach), rel=1e-12)
    assert first + second > 1e-2


def test_golden_values() -> None:
    # Two carbon nuclei at 0.05 Angstrom: 10367.7 eV unscreened, x = 0.05 * 2 * 1.510 / 0.4685 = 0.3223, and by hand
    # phi(x) = 0.0648 + 0.3763 + 0.2461 + 0.0264 = 0.7136.
    assert float(dimer(6, 6, 0.05).sum()) == pytest.approx(10367.7 * 0.7136, rel=2e-4)
    assert float(dimer(1, 1, 1e-6).sum()) == pytest.approx(14.399645 / 1e-6, rel=1e-4)  # bare charges when they touch


def test_radii() -> None:
    assert pytest.approx(ase.data.covalent_radii[1:97], abs=1e-9) == np.array(COVALENT_RADII[1:97]) / 100
    assert ZBL().radii.shape == (119,)
    assert int(ZBL().half().double().radii[6]) == 76


def test_nothing_beyond_the_covalent_bond_or_the_cutoff() -> None:
    for r in (0.6201, 1.0, 50.0):
        assert not dimer(1, 1, r).any()
    assert dimer(55, 55, 4.5).all()
    assert not dimer(55, 55, 4.5, cutoff=4.0).any()
    assert float(dimer(55, 55, 2.0, cutoff=4.0).sum()) == pytest.approx(formula(55, 55, 2.0, 4.0), rel=1e-12)
    z = torch.tensor([1, 6])
    assert not ZBL()(z, torch.empty(2, 0, dtype=torch.int64), torch.empty(0, 3)).any()


def test_reach() -> None:
    z, index = torch.tensor([6, 8]), torch.tensor([[1, 0], [0, 1]])
    vectors = torch.tensor([[0.0, 0.0, 0.9], [0.0, 0.0, -0.9]], dtype=torch.float64)
    expected = formula(6, 8, 0.9, 0.75 * 1.42)
    assert float(ZBL()(z, index, vectors).sum()) == pytest.approx(expected, rel=1e-12)
    assert expected > 1
    assert not ZBL()(z, index, vectors * 1.0651 / 0.9).any()
    with pytest.raises(ValueError, match="positive fraction"):
        ZBL(reach=0.0)


@pytest.mark.parametrize(
    ("pair", "shortest"),  # bonds of molecules that are known for them, in Angstrom
    [
        ((1, 1), 0.741),
        ((7, 7), 1.098),
        ((6, 8), 1.128),
        ((6, 7), 1.153),
        ((6, 6), 1.203),
        ((9, 9), 1.412),
        ((1, 9), 0.917),
    ],
)
def test_no_bond_feels_it(pair: tuple[int, int], shortest: float) -> None:
    z = torch.tensor(pair)
    vectors = 0.97 * shortest * torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]], dtype=torch.float64)
    assert not ZBL()(z, torch.tensor([[1, 0], [0, 1]]), vectors).any()


def test_earlier_files_keep_their_reach() -> None:
    made = build({"class_path": "equireann_pyg.nn.repulsion.ZBL", "init_args": {}})
    assert made.reach == 1.0
    assert build(recipe(ZBL())).reach == 0.75


def test_rises_without_end_towards_short_distance() -> None:
    r = np.linspace(0.02, 1.41, 100)
    energies = np.array([float(dimer(6, 8, float(x)).sum()) for x in r])
    assert (np.diff(energies) < 0).all()
    assert energies[0] > 1e4


def test_two_continuous_derivatives_at_the_end() -> None:
    r = 1.52 * (1 - torch.tensor([0.004, 0.002], dtype=torch.float64))
    far, near = (float(dimer(6, 6, x).sum()) for x in r)
    assert near > 1e-8
    assert np.log2(far / near) == pytest.approx(3, abs=0.05)


def test_derivatives(double: torch.dtype) -> None:
    data = random_crystal([1, 29], 3.0, 3)
    edge_vec = data.pos[data.edge_index[0]] - data.pos[data.edge_index[1]] + data.edge_shift @ data.cell[0]
    short = edge_vec.norm(dim=1) < 2.5
    index, vectors = data.edge_index[:, short], 0.5 * edge_vec[short]

    def energies(vectors: Tensor) -> Tensor:
        return ZBL()(data.z, index, vectors)

    assert float(energies(vectors).abs().max()) > 1
    vectors.requires_grad_()
    assert torch.autograd.gradcheck(energies, (vectors,))
    assert torch.autograd.gradgradcheck(energies, (vectors,))


def test_a_traced_graph_has_the_same_numbers(monkeypatch: pytest.MonkeyPatch, double: torch.dtype) -> None:
    data = random_crystal([1, 29], 3.0, 3)
    edge_vec = 0.4 * (data.pos[data.edge_index[0]] - data.pos[data.edge_index[1]] + data.edge_shift @ data.cell[0])
    expected = ZBL()(data.z, data.edge_index, edge_vec)
    monkeypatch.setattr("equireann_pyg.nn.repulsion.readable", lambda tensor: False)  # all pairs, with a mask
    assert_close(ZBL()(data.z, data.edge_index, edge_vec), expected, 1e-13, "energies")


def test_integers_of_heavy_elements() -> None:
    assert float(dimer(118, 1, 1.0).sum()) == pytest.approx(formula(118, 1, 1.0, 1.69 + 0.31), rel=1e-12)
