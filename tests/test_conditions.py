"""Total charge and field of structures: what calculators take them from, and what does not feel them."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule

from equireann_pyg import CommitteeCalculator, EquiREANNCalculator, Potential, from_ase
from equireann_pyg.graph.conditions import conditions_of, in_field
from equireann_pyg.properties import Dipole, FieldResponse, Polarizability
from tests.test_properties import HIDDEN, make

FIELD = [0.0, 0.3, 0.5]


def response(seed: int = 0) -> Potential:
    """A potential whose energy depends on the field."""
    return make(FieldResponse(Dipole(HIDDEN), Polarizability(HIDDEN)), seed=seed)


def methane(**info: object) -> Atoms:
    atoms = molecule("CH4")
    atoms.rattle(0.1, seed=0)
    atoms.info |= info
    return atoms


@pytest.mark.parametrize("key", ["external_field", "electric_field", "REF_electric_field"])
def test_a_field_has_the_names_that_it_has_in_files(key: str) -> None:
    calculator, expected = EquiREANNCalculator(response()), []
    for atoms in (methane(), methane(**{key: FIELD})):
        atoms.calc = calculator
        found = atoms.get_potential_energy()
        assert found == pytest.approx(float(response()(from_ase(atoms, 3.0))["energy"]), rel=1e-10)
        expected.append(found)
    assert abs(expected[0] - expected[1]) > 1e-3


@pytest.mark.parametrize("key", ["charge", "total_charge"])
def test_a_charge_likewise(key: str) -> None:
    atoms = methane(**{key: 1})
    atoms.calc = EquiREANNCalculator(make(Dipole(HIDDEN)))
    assert atoms.get_charges().sum() == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize(
    ("info", "said"),
    [
        ({"external_field": 0.1}, r"expected field of shape \[1, 3\], got the number 0.1"),
        ({"external_field": [0, 0, np.nan]}, "'external_field' is not finite"),
        ({"charge": "+1"}, "expected numbers for the total_charge"),
    ],
)
def test_what_is_no_field_or_charge(info: dict[str, object], said: str) -> None:
    atoms = methane(**info)
    atoms.calc = EquiREANNCalculator(response())
    with pytest.raises(ValueError, match=said):
        atoms.get_potential_energy()
    assert atoms.calc.results == {}


def test_the_usual_name_goes_before_others() -> None:
    assert conditions_of(methane(electric_field=[0, 0, 1.0], external_field=FIELD))["field"].tolist() == [FIELD]


def test_a_committee_sees_another_field_and_has_properties() -> None:
    members = [response(seed) for seed in (0, 1)]
    atoms, energies = methane(), []
    atoms.calc = CommitteeCalculator(members)
    for field in ([0, 0, 0], FIELD):
        atoms.info["external_field"] = field
        energies.append(atoms.get_potential_energy())
        fresh = methane(external_field=field)
        fresh.calc = CommitteeCalculator(members)
        assert energies[-1] == fresh.get_potential_energy()
    assert abs(energies[0] - energies[1]) > 1e-3
    apart = []
    for member in members:
        single = methane(external_field=FIELD)
        single.calc = EquiREANNCalculator(member)
        apart.append(single.get_dipole_moment())
    np.testing.assert_allclose(atoms.get_dipole_moment(), np.mean(apart, axis=0), rtol=1e-10)
    np.testing.assert_allclose(atoms.calc.results["dipole_std"], np.std(apart, axis=0, ddof=1), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("properties", [(), (Dipole(HIDDEN),)], ids=["none", "dipole"])
def test_a_field_that_is_not_felt_is_said_once(properties: tuple[torch.nn.Module, ...]) -> None:
    atoms = methane(electric_field=FIELD)
    atoms.calc = EquiREANNCalculator(make(*properties))
    with pytest.warns(UserWarning, match="in a field that this potential does not depend on"):
        atoms.get_potential_energy()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        atoms.positions[0] += 0.1
        atoms.get_potential_energy()


def test_other_names_are_no_field() -> None:
    assert not in_field(methane(electric_field=[0, 0, 0], field_of_study="physics"))
    assert not in_field(methane(external_field="none"))
    atoms = methane(charge="none")  # whose potential does not ask for it
    atoms.calc = EquiREANNCalculator(make())
    assert np.isfinite(atoms.get_potential_energy())


def test_arithmetic_of_properties() -> None:
    """A potential in single precision computes in double, its properties with it."""
    single = make(Dipole(HIDDEN))
    single.model.float()
    single.properties.float()
    energies = []
    for made in (single, make(Dipole(HIDDEN))):
        atoms = methane()
        atoms.calc = EquiREANNCalculator(made, dtype="float64")
        energies.append((atoms.get_potential_energy(), *atoms.get_dipole_moment()))
    np.testing.assert_allclose(*energies, rtol=1e-4)
