"""Labels that can be read and are hardly meant so."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms
from ase.io import write

from equireann_pyg.data import AtomsDataModule, AtomsDataset

pytestmark = pytest.mark.usefixtures("own_cache")


def crystal(seed: int, **results: object):
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=seed)
    forces = np.random.default_rng(seed).normal(size=(4, 3))
    atoms.calc = SinglePointCalculator(
        atoms, **{"energy": -14.0, "forces": forces, "stress": np.full(6, 0.01)} | results
    )
    return atoms


def read(path: Path, *frames):
    write(path / "a.xyz", frames, format="extxyz")
    return AtomsDataset(path / "a.xyz", 3.0).reports[0]


def test_nothing_is_odd(tmp_path: Path) -> None:
    report = read(tmp_path, crystal(0), crystal(1))
    assert (report.notes, report.losses) == ([], [])


def test_a_stress_in_other_units(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"stress: more than 10 eV/Å³: is it in GPa or kbar\? \(2 frames\)"):
        read(tmp_path, *(crystal(seed, stress=np.full(6, 12.0)) for seed in range(2)), crystal(3))


def test_weights_of_frames(tmp_path: Path) -> None:
    frames = [crystal(seed) for seed in range(3)]
    for atoms, weight in zip(frames, (0.0, 1.0, 2.0), strict=True):
        atoms.info["config_energy_weight"] = weight
    frames[0].info["config_type_weight"] = "heavy"
    with pytest.warns(UserWarning, match=r"config_energy_weight: not used, all frames count alike; .* \(2 frames\)"):
        read(tmp_path, *frames)


def test_labels_of_zero(tmp_path: Path) -> None:
    still, held = crystal(0, forces=np.zeros((4, 3)), stress=np.zeros(6)), crystal(1)
    held.set_constraint(FixAtoms([2]))
    held.calc.results["forces"][2] = 0.0
    notes = read(tmp_path, still, held, crystal(2)).notes
    assert "stress: exactly zero; was it computed? (1 frame)" in notes
    assert "forces: exactly zero; were they computed? (1 frame)" in notes
    assert "forces: exactly zero on atoms that are held; they count as forces (1 frame)" in notes


def test_a_cell_under_another_name(tmp_path: Path) -> None:
    lines = '1\ncell="10 0 0 0 10 0 0 0 10" Properties=species:S:1:pos:R:3 energy=-1\nCu 0 0 0\n'
    (tmp_path / "a.xyz").write_text(lines)
    with pytest.raises(ValueError, match="'cell' looks like a cell, which is called Lattice"):
        AtomsDataset(tmp_path / "a.xyz", 3.0)
    (tmp_path / "b.xyz").write_text(lines.replace("cell=", 'Lattice="9 0 0 0 9 0 0 0 9" cell='))
    assert float(AtomsDataset(tmp_path / "b.xyz", 3.0)[0].cell.det()) == pytest.approx(729)


def test_a_virial_under_a_name_of_ones_own(tmp_path: Path) -> None:
    from equireann_pyg.graph import LabelKeys

    atoms = crystal(0)
    del atoms.calc.results["stress"]
    atoms.info |= {"my_virial": 5.0 * np.eye(3), "virial_stress_dft": 0.02 * np.eye(3)}
    write(tmp_path / "a.xyz", atoms, format="extxyz")
    for key, expected in (("my_virial", -5.0 / atoms.get_volume()), ("virial_stress_dft", 0.02)):
        data = AtomsDataset(tmp_path / "a.xyz", 3.0, LabelKeys(stress=key), labels=["energy", "stress"])
        assert float(data[0].stress[0, 1, 1]) == pytest.approx(expected, rel=1e-12)
        assert any("minus, over the volume, my_virial" in note for note in data.reports[0].notes) == (expected < 0)


@pytest.mark.parametrize(("val", "number"), [("0:3", 3), ("6:", 0)])
def test_validation_frames_that_are_trained_on(
    val: str, number: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path / "a.xyz", [crystal(seed) for seed in range(9)], format="extxyz")
    data = AtomsDataModule(3.0, train=f"{tmp_path / 'a.xyz'}@:6", val=f"{tmp_path / 'a.xyz'}@{val}")
    with caplog.at_level(logging.WARNING):
        data.setup("fit")
    assert (f"{number} of the validation frames are in the training set" in caplog.text) == bool(number)


def test_conditions_that_no_frame_has(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    atoms = molecule("H2O")
    atoms.info["net_charge"] = 1.0
    write(tmp_path / "a.xyz", atoms, format="extxyz")
    with caplog.at_level(logging.INFO):
        AtomsDataModule(3.0, predict=str(tmp_path / "a.xyz"), labels=["energy", "total_charge"]).setup("predict")
    assert "total_charge: zero, for no frame has 'charge'" in caplog.text
