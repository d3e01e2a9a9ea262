from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from torch_geometric.data import Batch

from equireann_pyg.graph import CONDITIONS, LABELS, LabelKeys, from_ase, to_ase


def test_fields():
    atoms = bulk("NaCl", "rocksalt", a=5.6)
    atoms.info["config_type"] = "salt"
    data = from_ase(atoms, 4.0)
    assert data.z.tolist() == [11, 17]
    assert data.z.dtype == data.edge_index.dtype == torch.int64
    floats = {"pos", "cell", "edge_shift", "cutoff", *LABELS, *CONDITIONS}
    assert all(data[name].dtype == torch.float64 for name in floats)
    shapes = {"pos": (2, 3), "cell": (1, 3, 3), "pbc": (1, 3), "energy": (1,), "forces": (2, 3), "stress": (1, 3, 3)}
    shapes |= {"dipole": (1, 3), "polarizability": (1, 3, 3), "charges": (2,), "total_charge": (1,), "field": (1, 3)}
    assert all(data[name].shape == shape for name, shape in shapes.items())
    assert data.pbc.dtype == torch.bool
    assert all(bool(data[name].isnan().all()) for name in LABELS)
    assert not any(bool(data[name].any()) for name in CONDITIONS)
    assert data.cutoff.tolist() == [4.0]
    assert data.config_type == "salt"
    assert from_ase(molecule("H2O"), 4.0).config_type == "default"
    assert set(data.to_dict()) == {*floats, "z", "pbc", "edge_index", "config_type"}
    assert not from_ase(molecule("H2O"), 4.0).cell.any()


def test_batch_of_mixed_labels_keeps_every_key():
    labelled = bulk("Cu")
    labelled.calc = SinglePointCalculator(labelled, energy=1.5, forces=[[0.1, 0, 0]], stress=[1, 2, 3, 4, 5, 6])
    for order in ([labelled, molecule("H2O")], [molecule("H2O"), labelled]):
        batch = Batch.from_data_list([from_ase(atoms, 3.0) for atoms in order])
        assert batch.energy.shape == (2,)
        assert batch.stress.shape == (2, 3, 3)
        assert batch.cell.shape == (2, 3, 3)
        assert batch.forces.shape == (4, 3)
        assert sorted(batch.energy.isnan().tolist()) == [False, True]


VOIGT = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
MATRIX = [[1.0, 6.0, 5.0], [6.0, 2.0, 4.0], [5.0, 4.0, 3.0]]


@pytest.mark.parametrize("stress", [VOIGT, MATRIX, np.ravel(MATRIX).tolist()], ids=["voigt", "3x3", "9"])
def test_stress_in_every_notation(stress):
    atoms = bulk("Cu")
    atoms.info["dft_stress"] = stress
    data = from_ase(atoms, 3.0, keys=LabelKeys(stress="dft_stress"))
    assert data.stress[0].tolist() == MATRIX
    assert to_ase(data).get_stress().tolist() == VOIGT


def test_stress_has_the_sign_of_ase():
    atoms = bulk("Cu", a=3.8)  # stretched: tension
    atoms.calc = EMT()
    atoms.get_stress()
    data = from_ase(atoms, 5.0)
    assert float(data.stress[0, 0, 0]) == pytest.approx(atoms.get_stress()[0], rel=1e-12)
    assert float(data.stress[0, 0, 0]) > 0.01


def test_keys_are_found_in_info_arrays_and_calculator():
    atoms = molecule("H2O")
    forces = np.arange(9.0).reshape(3, 3)
    atoms.calc = SinglePointCalculator(atoms, energy=-14.0, forces=forces)
    assert from_ase(atoms, 3.0).energy.tolist() == [-14.0]
    assert from_ase(atoms, 3.0).forces.tolist() == forces.tolist()
    atoms.info["mp2"], atoms.arrays["mp2_forces"] = -15.0, 2 * forces
    data = from_ase(atoms, 3.0, keys=LabelKeys("mp2", "mp2_forces"))
    assert data.energy.tolist() == [-15.0]
    assert data.forces.tolist() == (2 * forces).tolist()
    data.forces.zero_()
    assert atoms.arrays["mp2_forces"].any()  # the labels are copies


def test_results_of_another_structure_are_no_labels():
    atoms = molecule("H2O")
    atoms.calc = SinglePointCalculator(atoms, energy=-14.0)
    assert bool(from_ase(atoms, 3.0).energy.isfinite())
    atoms.positions[0] += 0.1
    assert bool(from_ase(atoms, 3.0).energy.isnan())


def test_round_trip():
    atoms = fcc111("Cu", (2, 1, 2), vacuum=4.0)
    atoms.rattle(0.1, seed=2)
    atoms.info["config_type"] = "slab"
    labels = {"energy": 3.25, "forces": np.random.default_rng(0).normal(size=(4, 3)), "stress": np.array(VOIGT)}
    atoms.calc = SinglePointCalculator(atoms, **labels)
    again = to_ase(from_ase(atoms, 3.0))
    assert again == atoms  # numbers, positions, cell, pbc
    assert again.info["config_type"] == "slab"
    for name, value in labels.items():
        np.testing.assert_array_equal(again.calc.results[name], value)
    partial = molecule("H2O")
    partial.calc = SinglePointCalculator(partial, energy=1.0)
    assert set(to_ase(from_ase(partial, 3.0)).calc.results) == {"energy"}
    assert to_ase(from_ase(molecule("H2O"), 3.0)).calc is None
    attached = from_ase(atoms, 3.0)
    attached.pos.requires_grad_()
    assert to_ase(attached) == atoms


def with_info(**info):
    atoms = molecule("H2O")
    atoms.info.update(info)
    return atoms


def with_forces(forces):
    atoms = molecule("H2O")
    atoms.info["forces"] = forces
    return atoms


NAN = float("nan")


@pytest.mark.parametrize(
    ("atoms", "cutoff", "message"),
    [
        (molecule("H2O"), 0.0, "cutoff: expected a positive length in Angstrom, got 0.0"),
        (molecule("H2O"), -1.0, "cutoff: expected a positive length"),
        (molecule("H2O"), NAN, "cutoff: expected a positive length"),
        (molecule("H2O"), float("inf"), "cutoff: expected a positive length"),
        (Atoms("H2", [[0, 0, 0], [0, NAN, 1]]), 3.0, "positions of atom 1 are not finite"),
        (Atoms("H2", [[0, 0, 0], [0, 0, 5e-4]]), 3.0, r"atoms 0 and 1 coincide \(0.0005 Angstrom apart\): remove one"),
        (Atoms("H2", [[0, 0, 0], [0, 0, 4]], cell=[4, 4, 4], pbc=True), 3.0, "atoms 0 and 1 coincide"),
        (Atoms("H", pbc=True), 3.0, "no volume there: set the cell or pbc=False"),
        (Atoms("H", pbc=[1, 0, 0]), 3.0, r"pbc is \[True, False, False\] but the cell"),
        (Atoms("H", cell=[[1, 0, 0], [2, 0, 0], [0, 0, 3]], pbc=True), 3.0, "no volume there"),
        (Atoms("H", cell=[[1, 0, 0], [2, 0, 0], [0, 0, 3]], pbc=[1, 1, 0]), 3.0, "no volume there"),
        (Atoms("H", cell=[[NAN, 0, 0], [0, 2, 0], [0, 0, 3]], pbc=True), 3.0, "no volume there"),
        (with_info(energy=NAN), 3.0, "label 'energy' is not finite: remove the label or the frame"),
        (with_info(energy=True), 3.0, "label 'energy': expected numbers for the energy, got True"),
        (with_info(energy="none"), 3.0, "label 'energy': expected numbers for the energy, got 'none'"),
        (with_info(energy=[1.0, 2.0]), 3.0, r"label 'energy': expected energy of shape \[1\], got \[2\]"),
        (with_info(stress=np.full(6, np.inf)), 3.0, "label 'stress' is not finite"),
        (with_info(stress=np.ones(5)), 3.0, r"label 'stress': expected stress of shape \[1, 3, 3\], got \[5\]"),
        (with_forces(np.full((3, 3), NAN)), 3.0, "label 'forces' is not finite"),
        (with_forces(np.ones((2, 3))), 3.0, r"label 'forces': expected forces of shape \[3, 3\], got \[2, 3\]"),
    ],
)
def test_bad_structures(atoms, cutoff, message):
    with pytest.raises(ValueError, match=message) as error:
        from_ase(atoms, cutoff)
    assert "\n" not in str(error.value)


FAR = "too far to search for neighbours within 3.5: check the units"


@pytest.mark.parametrize(
    ("pos", "cell", "pbc"),
    [
        ([1e6, 1, 1], None, False),
        ([1e12, 1, 1], None, False),
        ([1e4, 1e4, 1], None, False),
        ([1, 1, 1e5], [4, 4, 0], [True, True, False]),
        ([1, 1, 1], [1e6, 4, 4], True),
        ([1, 1, 1], [[4, 0, 0], [4e16, 4, 0], [0, 0, 4]], True),
    ],
)
def test_what_would_crash_the_neighbour_search(pos, cell, pbc):
    with pytest.raises(ValueError, match=f"{FAR}|has no volume there"):
        from_ase(Atoms("H2", [[0, 0, 0], pos], cell=cell, pbc=pbc), 3.5)


def test_far_is_not_too_far():
    near = Atoms("H2", [[0, 0, 0], [0, 0, 1.1]])
    for pos, cell, pbc in (
        ([1e4, 1, 1], None, False),
        ([1, 1, 1e4], [40, 40, 0], [True, True, False]),
        ([1e7, 1, 1], [30, 30, 30], True),  # unwrapped
        ([1, 2, 1], [1e4, 40, 40], True),
    ):
        apart = Atoms(near + Atoms("He", [pos]), cell=cell, pbc=pbc)
        assert from_ase(apart, 3.5).num_edges >= 2
    with pytest.raises(ValueError, match=r"a lattice vector is 0.0001 Angstrom long: check the units"):
        from_ase(Atoms("H", cell=[1e-4, 4, 4], pbc=True), 3.5)


def test_transposed_forces_are_refused():
    atoms = molecule("CH4")
    atoms.info["forces"] = np.ones((3, 5))
    with pytest.raises(ValueError, match=r"expected forces of shape \[5, 3\], got \[3, 5\]"):
        from_ase(atoms, 3.0)
