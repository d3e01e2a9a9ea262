from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

import equireann_pyg
from equireann_pyg import graph
from equireann_pyg.data import AtomsDataset
from equireann_pyg.data.report import similar_names
from equireann_pyg.graph import from_ase, labels
from equireann_pyg.graph.labels import KINDS, LabelKeys, read_labels
from equireann_pyg.graph.names import ALIASES, meaning

FORCES = np.arange(1.0, 10.0).reshape(3, 3)


def water(info=None, **arrays):
    atoms = molecule("H2O")
    atoms.info.update(info or {})
    for name, value in arrays.items():
        atoms.set_array(name, np.array(value))
    return atoms


def test_names_stay_where_they_were():
    assert equireann_pyg.LabelKeys is graph.LabelKeys is LabelKeys
    for name in ("CONDITIONS", "LABELS", "PER_ATOM", "Label", "label_places"):
        assert getattr(graph, name) is getattr(labels, name)


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("REF_energy", "energy"),
        ("dft_energy", "energy"),
        ("DFT-energy", "energy"),
        ("energy_ref", "energy"),
        ("E", "energy"),
        ("total_energy", "energy"),
        ("free_energy", "energy"),
        ("F", "forces"),
        ("forces_ref", "forces"),
        ("REF_force", "forces"),
        ("gradient", "forces"),
        ("virials", "stress"),
        ("REF_virial", "stress"),
        ("total_charge", "total_charge"),
        ("electric_field", "field"),
        ("mp2_energy", None),
        ("energy_per_atom", None),
        ("energies", None),
        ("tags", None),
        ("initial_charges", None),
    ],
)
def test_meaning_of_names(key, name):
    assert meaning(key).label == (name or "")


def test_every_default_key_means_its_label():
    assert set(ALIASES) == set(KINDS)
    for name in KINDS:
        assert meaning(getattr(LabelKeys, name)) == (name, 0)


@pytest.mark.parametrize("key", ["F", "f", "force", "REF_forces", "DFT_forces", "forces_ref"])
def test_forces_under_names_in_common_use(key):
    found = read_labels(water(**{key: FORCES}))
    assert found.sources == {"forces": key}
    assert found.values["forces"].tolist() == FORCES.tolist()


def test_a_letter_is_a_name_only_of_what_fits():
    assert read_labels(water({"F": True, "E": [0.0, 0.0, 0.1], "e": "x"})).sources == {}
    assert read_labels(water({"E": -3.0})).sources == {"energy": "E"}
    with pytest.raises(ValueError, match=r"label 'E': expected energy of shape \[1\], got \[3\]"):
        read_labels(water({"E": [0.0, 0.0, 0.1]}), LabelKeys(energy="E"))


@pytest.mark.parametrize("key", ["gradient", "gradients", "REF_gradient", "energy-gradient"])
def test_a_gradient_is_refused(key):
    for keys in (LabelKeys(), LabelKeys(forces=key)):
        with pytest.raises(ValueError, match=f"label '{key}' is a gradient, minus the forces: store its negative"):
            read_labels(water(**{key: FORCES}), keys)
    assert read_labels(water(**{key: FORCES, "forces": 2 * FORCES})).values["forces"].tolist() == (2 * FORCES).tolist()
    for keys, wanted in ((LabelKeys(forces=None), None), (None, ["energy"])):
        found = read_labels(water(**{key: FORCES}), keys, wanted)
        assert np.isnan(found.values["forces"]).all()
        assert found.unused == {key: "switched off" if wanted is None else "not trained"}


@pytest.mark.parametrize("shape", [(6,), (9,), (3, 3)])
@pytest.mark.parametrize("key", ["virial", "virials", "REF_virial"])
@pytest.mark.parametrize("named", [False, True])
def test_a_virial_becomes_a_stress_with_the_sign_of_ase(shape, key, named):
    atoms = bulk("Cu", cubic=True, a=3.8)  # stretched: tension
    atoms.rattle(0.1, seed=1)
    atoms.calc = EMT()
    stress = atoms.get_stress(voigt=shape == (6,))
    atoms.calc = None
    atoms.info[key] = -atoms.get_volume() * np.reshape(stress, shape)
    found = from_ase(atoms, 3.0, keys=LabelKeys(stress=key) if named else None).stress[0].numpy()
    expected = stress if shape != (6,) else stress[[0, 5, 4, 5, 1, 3, 4, 3, 2]].reshape(3, 3)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert found[0, 0] > 0.01


def test_a_virial_needs_a_volume():
    found = read_labels(water({"virial": np.eye(3)}))
    assert np.isnan(found.values["stress"]).all()
    assert found.unused == {"virial": "no cell volume"}


def test_the_usual_name_comes_first_and_free_energy_last():
    atoms = water({"REF_energy": -5.0})
    atoms.calc = SinglePointCalculator(atoms, energy=-4.0, free_energy=-4.5)
    found = read_labels(atoms)
    assert found.values["energy"] == [-4.0]
    assert found.unused == dict.fromkeys(("REF_energy", "free_energy"), "energy is used instead")
    atoms.calc = SinglePointCalculator(atoms, free_energy=-4.5)
    assert read_labels(atoms).values["energy"] == [-5.0]
    del atoms.info["REF_energy"]
    assert read_labels(atoms).values["energy"] == [-4.5]
    assert np.isnan(
        read_labels(atoms, found=["energy", "free_energy"]).values["energy"]
    )  # other frames have a better one


def test_places_that_disagree_in_another_shape():
    atoms = bulk("Cu", cubic=True)
    atoms.calc = SinglePointCalculator(atoms, stress=np.arange(6.0))
    atoms.info["stress"] = np.array([[0, 5, 4], [5, 1, 3], [4, 3, 2.0]])
    assert read_labels(atoms, labels=["stress"]).values["stress"][0, 0, 1] == 5
    atoms.info["stress"][0, 0] = 0.5
    with pytest.raises(ValueError, match="'stress' is one in info and another in calculator"):
        read_labels(atoms, labels=["stress"])


def test_names_that_disagree_are_asked_back():
    atoms = water({"REF_energy": -5.0, "dft_energy": -6.0})
    with pytest.raises(
        ValueError, match=r"'REF_energy' and 'dft_energy' are different: name .* --data.keys.energy=REF_ene"
    ):
        read_labels(atoms)
    assert read_labels(atoms, LabelKeys(energy="dft_energy")).values["energy"] == [-6.0]
    assert read_labels(atoms, labels=["forces"]).unused == dict.fromkeys(("REF_energy", "dft_energy"), "not trained")
    atoms.info["dft_energy"] = -5.0
    assert read_labels(atoms).values["energy"] == [-5.0]


def test_one_name_in_two_places():
    atoms = water({"energy": -5.0})
    atoms.calc = SinglePointCalculator(atoms, energy=-4.0)
    with pytest.raises(ValueError, match="label 'energy' is one in info and another in calculator: remove one of them"):
        read_labels(atoms)
    atoms.info["energy"] = -4.0
    assert read_labels(atoms).values["energy"] == [-4.0]


def test_frames_that_are_passed_over_are_told():
    free = water({"free_energy": -4.5})
    assert read_labels(free, found=["energy", "free_energy"]).unused == {
        "free_energy": "other frames have a better name"
    }
    assert read_labels(water({"energy": 1.0}), LabelKeys(energy="total")).unused == {"energy": "keys.energy is total"}


def test_a_key_of_ones_own_is_taken_literally():
    atoms = water({"energy": -4.0, "total": -3.0})
    assert read_labels(atoms, LabelKeys(energy="total")).sources == {"energy": "total"}
    assert read_labels(water({"energy": -4.0}), LabelKeys(energy="total")).sources == {}


MALFORMED = [
    {"dipole": 1.85},
    {"dipole": "none"},
    {"dipole": [[1, 2], [3]]},
    {"charge": "neutral"},
    {"polarizability": 13.2},
    {"external_field": [0.0, np.nan, 0.0]},
]


@pytest.mark.parametrize("info", MALFORMED)
def test_only_what_is_asked_for_is_looked_at(info):
    (name,) = (meaning(key).label for key in info)
    atoms = water({"energy": -4.0, **info})
    with pytest.raises(ValueError, match=rf"label '{next(iter(info))}'"):
        read_labels(atoms)
    with pytest.raises(ValueError, match=rf"label '{next(iter(info))}'"):
        read_labels(atoms, labels=["energy", name])
    assert read_labels(atoms, labels=["energy"]).sources == {"energy": "energy"}
    assert from_ase(atoms, 3.0, labels=["energy"]).energy.tolist() == [-4.0]
    switched_off = read_labels(atoms, LabelKeys(**{name: None}))
    assert switched_off.sources == {"energy": "energy"}
    assert switched_off.unused == {next(iter(info)): "switched off"}
    lenient = read_labels(atoms, lenient=True)
    assert lenient.sources == {"energy": "energy"}
    assert list(lenient.malformed) == [name]


def test_leniency_ends_where_a_label_is_expected_or_named():
    with pytest.raises(ValueError, match="label 'energy'"):
        read_labels(water({"energy": "none"}), lenient=True)
    with pytest.raises(ValueError, match="label 'mu'"):
        read_labels(water({"mu": 1.85}), LabelKeys(dipole="mu"), lenient=True)


def test_labels_in_a_data_base_of_ase(tmp_path):
    from ase.db import connect

    with connect(tmp_path / "a.db") as base:
        base.write(molecule("H2O"), REF_energy=-5.0, data={"REF_forces": FORCES})
    (graph,) = AtomsDataset(tmp_path / "a.db", 3.0, cache_dir=tmp_path / "cache")
    assert graph.energy.tolist() == [-5.0]
    assert graph.forces.tolist() == FORCES.tolist()


def test_similar_names_could_be_the_label():
    atoms = water({"mp2_energy": -3.0, "energy_unit": "eV", "energy_per_atom": -1.0, "energy": -3.0}, mp2_forces=FORCES)
    assert similar_names("energy", atoms) == ["mp2_energy"]
    assert similar_names("forces", atoms) == ["mp2_forces"]
    assert similar_names("stress", atoms) == []


def test_words_of_a_missing_name(tmp_path):
    write(tmp_path / "a.xyz", water({"energy": -4.0}, mp2_forces=FORCES), format="extxyz")
    wanted = ["energy", "forces", "stress"]
    with pytest.raises(
        ValueError, match=r"there is 'mp2_forces': to train on it, set --data.keys.forces=mp2_forces, or"
    ):
        AtomsDataset(tmp_path / "a.xyz", 3.0, cache_dir=tmp_path / "cache", labels=wanted)
    for keys, count in ((LabelKeys(forces="mp2_forces"), 1), (LabelKeys(forces=None), 0)):
        data = AtomsDataset(tmp_path / "a.xyz", 3.0, keys, tmp_path / "cache", wanted)
        assert data.reports[0].count("forces") == count
    assert AtomsDataset(tmp_path / "a.xyz", 3.0, cache_dir=tmp_path / "cache", labels=["energy"])[0].energy == -4.0
    with pytest.raises(ValueError, match=r"labels: expected some of \['energy', .*, got \['mu'\]"):
        AtomsDataset(tmp_path / "a.xyz", 3.0, labels=["energy", "mu"])
