from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms, FixBondLength, FixCartesian
from ase.io import read, write

from equireann_pyg import from_ase
from equireann_pyg.cli import main
from equireann_pyg.data import AtomsDataModule, read_frames
from equireann_pyg.evaluation.predictions import PredictionWriter, check_unchanged, with_predictions, write_frames
from tests.test_cli import CONF
from tests.test_cli import fit as fit_toy

pytestmark = pytest.mark.usefixtures("own_cache")


def rich_water(seed: int = 0) -> Atoms:
    """A molecule with everything that a frame of extended XYZ may have."""
    rng = np.random.default_rng(seed)
    atoms = molecule("H2O", cell=[8.0, 9.0, 10.0], pbc=[True, False, True])
    atoms.rattle(0.05, seed=seed)
    atoms.set_tags([1, 2, 3])
    atoms.set_momenta(rng.normal(size=(3, 3)))
    atoms.set_initial_magnetic_moments([0.5, 0.0, -0.5])
    atoms.set_initial_charges([-0.8, 0.4, 0.4])
    atoms.set_masses([16.0, 2.0, 1.0])
    atoms.set_array("REF_forces", rng.normal(size=(3, 3)))
    atoms.set_array("residue", np.array(["WAT", "WAT", "HET"]))
    atoms.set_array("inside", np.array([True, False, True]))
    atoms.info |= {
        "config_type": "wet",
        "split": "test",
        "charge": -1,
        "REF_energy": -5.25,
        "weight": 0.1,
        "flag": False,
    }
    atoms.info |= {"vector": np.array([0.1, 0.2, 0.3]), "matrix": np.arange(6.0).reshape(2, 3), "names": ["a", "b c"]}
    results = {"energy": -14.0 - seed, "forces": rng.normal(size=(3, 3)), "dipole": rng.normal(size=3)}
    atoms.calc = SinglePointCalculator(
        atoms, **results, stress=rng.normal(size=6), magmoms=[0.1, 0.2, 0.3], free_energy=-15.0
    )
    return atoms


OUTPUT = {
    "energy": torch.tensor([-1.5]),
    "forces": torch.arange(9.0).reshape(3, 3) / 7,
    "stress": torch.eye(3)[None] / 8,
    "polarizability": 2 * torch.eye(3)[None],
    "dipole": torch.full((1, 3), torch.nan),
}


def written(atoms: Atoms, folder: Path) -> Atoms:
    """A structure after writing it with predictions and reading it with ASE alone."""
    write_frames(folder / "p.extxyz", [with_predictions(atoms, OUTPUT)])
    return read(folder / "p.extxyz")


def assert_same(one, other) -> None:
    if isinstance(one, dict | str | bool | type(None)):
        assert one == other
        assert isinstance(other, type(one))
    else:
        np.testing.assert_allclose(np.asarray(other, float), np.asarray(one, float), rtol=1e-7, atol=1e-8)


def test_default_path_of_the_writer():
    assert PredictionWriter().path == "predictions.extxyz"


def test_everything_is_kept(tmp_path, capsys):
    atoms = rich_water()
    atoms.set_constraint([FixAtoms([0])])
    again = written(atoms, tmp_path)
    assert capsys.readouterr().err == ""
    assert again.get_chemical_symbols() == atoms.get_chemical_symbols()
    assert again.pbc.tolist() == [True, False, True]
    np.testing.assert_allclose(again.cell.array, atoms.cell.array, rtol=1e-12)
    for name in (
        "positions",
        "tags",
        "momenta",
        "initial_magmoms",
        "initial_charges",
        "masses",
        "REF_forces",
        "inside",
    ):
        np.testing.assert_allclose(again.arrays[name], atoms.arrays[name], atol=1e-8)
    assert again.arrays["residue"].tolist() == ["WAT", "WAT", "HET"]
    for key in set(atoms.info) - {"names"}:
        assert_same(atoms.info[key], again.info[key])
    assert again.info["names"] == ["a", "b c"]
    assert again.constraints[0].index.tolist() == [0]
    assert set(atoms.calc.results) == {"energy", "forces", "dipole", "stress", "magmoms", "free_energy"}
    for name, value in atoms.calc.results.items():
        place = again.arrays if name in ("forces", "magmoms") else again.info
        assert_same(value, place[f"reference_{name}"])
    assert set(again.calc.results) == {"energy", "forces", "stress"}  # the dipole is not defined
    assert again.get_potential_energy() == -1.5
    np.testing.assert_allclose(again.calc.results["forces"], OUTPUT["forces"], atol=1e-7)
    assert_same(2 * np.eye(3), again.info["polarizability"])


def test_components_can_be_fixed(tmp_path):
    atoms = rich_water()
    atoms.set_constraint(FixCartesian([1], mask=[True, False, True]))
    masks = {c.index[0]: c.mask.tolist() for c in written(atoms, tmp_path).constraints}
    assert masks[1] == [True, False, True]
    assert masks[0] == [False, False, False]


def test_labels_in_info_and_arrays_give_way_to_the_predicted_ones(tmp_path):
    atoms = molecule("H2O")
    atoms.info |= {"energy": -7.0, "polarizability": np.eye(3), "dipole": 1.85, "reference_energy": -9.0}
    atoms.arrays |= {"forces": np.ones((3, 3)), "charge": np.array([-0.8, 0.4, 0.4])}
    again = written(atoms, tmp_path)
    assert again.get_potential_energy() == -1.5
    assert again.info["reference_energy"] == -9.0  # of earlier predictions
    assert again.info["reference_energy_1"] == -7.0
    assert again.info["reference_dipole"] == 1.85
    assert_same(np.eye(3), again.info["reference_polarizability"])
    assert_same(2 * np.eye(3), again.info["polarizability"])
    assert again.arrays["reference_forces"].tolist() == np.ones((3, 3)).tolist()
    assert again.arrays["reference_charge"].tolist() == [-0.8, 0.4, 0.4]
    assert "charges" not in again.calc.results
    assert set(atoms.info) == {"energy", "polarizability", "dipole", "reference_energy"}  # the input is untouched


@pytest.mark.parametrize(
    "value",
    [
        "C/C=C\\C",
        'said "yes"',
        "it's",
        "two\nlines",
        "007",
        "T",
        "-1.5",
        "",
        "a=b c=d",
        "Ångström",
        "{x}[y]",
        "trailing \\",
        None,
        True,
        1e-300,
        -0.1,
        12345678901,
        np.array([5.0]),
        np.array([True, False]),
        np.array([]),
        np.arange(8).reshape(2, 2, 2),
        {"a": [1, {"b": None}], "c": 'é \\ "'},
        {"x": np.array([1.0, 2.0])},
    ],
    ids=repr,
)
def test_entries_come_back_as_they_were(value, tmp_path, capsys):
    atoms = molecule("H2O")
    atoms.info |= {"before": 1, "entry": value, "after": 2}
    for again in (written(atoms, tmp_path), read_frames(tmp_path / "p.extxyz")[0]):
        assert (again.info["before"], again.info["after"]) == (1, 2)
        if isinstance(value, dict) and "x" in value:
            assert again.info["entry"] == {"x": [1.0, 2.0]}
        else:
            assert_same(value, again.info["entry"])
        assert again.get_potential_energy() == -1.5
    if not isinstance(value, dict):
        assert capsys.readouterr().err == ""


@pytest.mark.parametrize("shape", [(6,), (9,), (3, 3)])
def test_virials_stay_readable(shape, tmp_path):
    atoms = bulk("Cu", cubic=True)[:3]
    tensor = np.arange(1.0, 7.0)[[0, 5, 4, 5, 1, 3, 4, 3, 2]].reshape(3, 3)
    atoms.info["virial"] = np.arange(1.0, 7.0) if shape == (6,) else tensor.reshape(shape)
    assert written(atoms, tmp_path).info["virial"].tolist() == tensor.tolist()


def test_what_extended_xyz_cannot_hold_is_said_in_one_line(tmp_path, capsys):
    atoms = molecule("H2O")
    atoms.info |= {"object": object(), "pbc": "mine", "two words": 1, 7: 8}
    atoms.arrays |= {
        "tensor": np.arange(27.0).reshape(3, 3, 3),
        "phase": np.ones(3, complex),
        "gap": np.array(["a", "", "b"]),
        "tiny": np.full(3, 1e-9),
        "huge": np.array([1, 2, 2**40]),
        "pos": np.ones(3),
    }
    atoms.set_constraint([FixAtoms([0]), FixBondLength(0, 1)])
    again = written(atoms, tmp_path)
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert line.startswith(f"{tmp_path / 'p.extxyz'}: extended XYZ cannot hold all of the input: ")
    for remark in (
        "constraint FixBondLengths is left out",
        "info entry 'object' is left out",
        "info entry 'pbc' is left out",
        "info entry 7 is left out",
        "array 'tensor' is flattened from [3, 3] to 9 columns",
        "array 'phase' is left out",
        "array 'gap' is left out",
        "array 'tiny' is rounded to 8 decimals",
        "array 'huge' is written as words: it is beyond 32 bits",
        "array 'pos' is left out",
    ):
        assert f"{remark} (1 of 1 frames)" in line
    assert again.info["two words"] == 1
    assert again.arrays["tensor"].tolist() == np.arange(27.0).reshape(3, 9).tolist()
    assert again.arrays["huge"].tolist() == ["1", "2", str(2**40)]
    assert again.constraints[0].index.tolist() == [0]
    assert len(read_frames(tmp_path / "p.extxyz")) == 1


def test_a_file_that_changed_is_noticed(tmp_path):
    frames = [rich_water(seed) for seed in range(3)]
    graphs = [from_ase(atoms, 3.0, labels=[]) for atoms in frames]
    check_unchanged(frames, graphs)
    for changed, frame in ((frames[:2], 2), ([frames[1], *frames[1:]], 0), ([*frames[:2], molecule("CH4")], 2)):
        with pytest.raises(ValueError, match=f"data.predict, frame {frame}: the file has changed since it was read"):
            check_unchanged(changed, graphs)


def test_several_files_in_several_processes(tmp_path, monkeypatch):
    for name in "ab":
        write(tmp_path / f"{name}.traj", [rich_water(seed) for seed in range(3)])
    files = [f"{tmp_path / 'a.traj'}@1:", str(tmp_path / "b.traj")]
    module = AtomsDataModule(3.0, predict=files)
    module.setup("predict")
    outputs = [{**OUTPUT, "energy": torch.tensor([float(index)])} for index in range(5)]
    shards = [outputs[0::2], outputs[1::2]]
    monkeypatch.setattr(
        torch.distributed, "all_gather_object", lambda target, own: target.__setitem__(slice(2), shards)
    )
    trainer = SimpleNamespace(world_size=2, is_global_zero=True, datamodule=module)
    PredictionWriter(str(tmp_path / "p.extxyz")).write_on_epoch_end(trainer, None, [shards[0]], [])  # type: ignore[arg-type]
    again = read(tmp_path / "p.extxyz", ":")
    assert [atoms.get_potential_energy() for atoms in again] == [0, 1, 2, 3, 4]
    assert [atoms.info["reference_energy"] for atoms in again] == [-15, -16, -14, -15, -16]


def test_command_line(tmp_path, train, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert fit_toy("--trainer.max_epochs", "1") == 0
    frames = read(train, "0:4")
    for index, atoms in enumerate(frames):
        atoms.info |= {"id": index, "REF_energy": -3.0, "dipole": 1.85, "note": "it's"}
        atoms.set_tags(range(len(atoms)))
        atoms.set_constraint(FixAtoms([1]))
    frames[1].calc = None
    write("in.xyz", frames)
    words = ["--config", str(CONF), "--ckpt_path", "ckpt/last.ckpt", "--data.predict", "in.xyz"]
    assert main(["predict", *words, "--predictions.path", "out/p.extxyz"]) == 0
    again = read("out/p.extxyz", ":")
    for index, (atoms, source) in enumerate(zip(again, frames, strict=True)):
        assert {key: atoms.info[key] for key in ("id", "REF_energy", "note")} == {
            "id": index,
            "REF_energy": -3.0,
            "note": "it's",
        }
        assert atoms.info["reference_dipole"] == 1.85
        assert atoms.get_tags().tolist() == list(range(len(source)))
        assert atoms.constraints[0].index.tolist() == [1]
        assert ("reference_energy" in atoms.info) == (index != 1)
        if index != 1:
            assert atoms.info["reference_energy"] == pytest.approx(source.calc.results["energy"], rel=1e-8)
            np.testing.assert_allclose(atoms.arrays["reference_forces"], source.calc.results["forces"], atol=1e-7)
            assert atoms.get_potential_energy() != atoms.info["reference_energy"]
