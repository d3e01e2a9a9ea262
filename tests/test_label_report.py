from __future__ import annotations

import io
import json

import numpy as np
import pytest
import torch
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write
from rich.console import Console

from equireann_pyg import save_potential
from equireann_pyg.cli import main
from equireann_pyg.data import AtomsDataModule, AtomsDataset, LabelReport, elements_of, print_report, reading
from equireann_pyg.evaluation import read_labelled
from equireann_pyg.graph.labels import KINDS, LabelKeys
from tests.copper import write_frames
from tests.test_cli import fit

TRAINED = ["energy", "forces", "stress"]
pytestmark = pytest.mark.usefixtures("own_cache")


def waters(count=4, **info):
    """Frames of which the second half keeps its labels as REF_*."""
    frames = []
    for index in range(count):
        atoms = molecule("H2O")
        atoms.rattle(0.05, seed=index)
        forces = np.random.default_rng(index).normal(size=(3, 3))
        if 2 * index < count:
            atoms.calc = SinglePointCalculator(atoms, energy=-14.0 - index, forces=forces)
        else:
            atoms.info["REF_energy"], atoms.arrays["REF_forces"] = -14.0 - index, forces
        atoms.info.update(info)
        frames.append(atoms)
    return frames


def shown(reports, width=80):
    console = Console(file=io.StringIO(), width=width)
    print_report(reports, console)
    return console.file.getvalue()


def test_no_frame_drops_out_of_a_file_with_two_names(tmp_path):
    write(tmp_path / "a.xyz", waters(dipole=1.85))
    for _ in range(2):  # built, and from the cache
        data = AtomsDataset(tmp_path / "a.xyz", 3.0, labels=TRAINED)
        assert [float(graph.energy) for graph in data] == [-14.0, -15.0, -16.0, -17.0]
        assert all(bool(graph.forces.isfinite().all()) and float(graph.forces.abs().max()) > 0.1 for graph in data)
        (report,) = data.reports
        assert report.sources["forces"] == {"forces": 2, "REF_forces": 2}
        assert report.count("stress") == 0
        assert "forces: read from REF_forces (2 frames) and forces (2 frames)" in report.notes
        assert "dipole: not trained" in report.notes


def test_labels_are_part_of_the_cache(tmp_path):
    write(tmp_path / "a.xyz", waters(dipole=[0.1, 0.2, 0.3]))
    assert bool(AtomsDataset(tmp_path / "a.xyz", 3.0, labels=TRAINED)[0].dipole.isnan().all())
    everything = AtomsDataset(tmp_path / "a.xyz", 3.0, labels=[*TRAINED, "dipole"])
    assert everything[0].dipole.tolist() == [[0.1, 0.2, 0.3]]
    assert everything.reports[0].count("dipole") == 4
    switched_off = AtomsDataset(tmp_path / "a.xyz", 3.0, LabelKeys(dipole=None), labels=[*TRAINED, "dipole"])
    assert bool(switched_off[0].dipole.isnan().all())
    assert "dipole: switched off" in switched_off.reports[0].notes


def test_a_report_in_the_cache_gets_the_name_of_its_file(tmp_path):
    write(tmp_path / "a.xyz", waters())
    AtomsDataset(tmp_path / "a.xyz", 3.0)
    (tmp_path / "deeper").mkdir()
    moved = (tmp_path / "a.xyz").rename(tmp_path / "deeper" / "a.xyz")
    assert AtomsDataset(moved, 3.0).reports[0].file == str(moved)


def test_without_a_list_everything_is_read_and_losses_are_told(tmp_path):
    write(tmp_path / "a.xyz", waters(dipole=1.85, polarizability=np.arange(6.0)), format="extxyz")
    with pytest.warns(UserWarning, match=r"a.xyz: dipole: not used, frame 0: label 'dipole': expected dipole of shape"):
        data = AtomsDataset(tmp_path / "a.xyz", 3.0)
    assert bool(data[0].dipole.isnan().all())
    assert data[0].polarizability[0].tolist() == [[0, 5, 4], [5, 1, 3], [4, 3, 2]]
    assert data.reports[0].labels == list(KINDS)


@pytest.mark.parametrize("width", [80, 120])
def test_table(width):
    many = dict.fromkeys(KINDS, 7)
    reports = [
        LabelReport(
            "a/long/way/to/the/training/set.extxyz", 1000, TRAINED, {"energy": {"energy": 1000}}, ["dipole: no [x]"]
        ),
        LabelReport("val.xyz", 12, list(KINDS), {name: {name: count} for name, count in many.items()}, [], ["a loss"]),
    ]
    text = shown(reports, width)
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    assert "…" not in text
    for name, kind in KINDS.items():
        assert f"({kind.unit})" in text
        assert name.replace("_", " ") in text
    first = next(line for line in lines if "training/set.extxyz" in line)
    assert first.split()[-4:] == ["1000", "1000", "-", "-"]
    assert text.count(" 7 ") >= 8
    assert "dipole: no [x]" in text
    assert "a loss" in text
    plain = shown([LabelReport("val.xyz", 12, TRAINED)])
    assert "dipole" not in plain
    assert "(eV/Å³)" in plain
    assert "dipole" in shown([LabelReport("val.xyz", 12, [*TRAINED, "dipole"])])  # asked for, and there is none


def test_the_table_of_a_run_is_printed_once(tmp_path, train, val, capsys):
    module = AtomsDataModule(3.0, train, val, test=val, predict=val, labels=TRAINED)
    module.setup("fit")
    table = capsys.readouterr().out
    assert table.count("Frames with labels") == 1
    for name in ("train.xyz", "val.xyz", "energy", "(eV/Å)"):
        assert name in table
    module.setup("fit")
    module.setup("validate")
    module.setup("predict")
    assert capsys.readouterr().out == ""
    module.setup("test")
    assert "val.xyz" in capsys.readouterr().out
    assert [report.frames for report in module.reports["train"]] == [20]


def test_labels_of_a_module(tmp_path):
    write(tmp_path / "a.xyz", waters(12, dipole=1.85, charge="neutral", polarizability=13.2))
    module = AtomsDataModule(3.0, str(tmp_path / "a.xyz"), predict=str(tmp_path / "a.xyz"), labels=TRAINED)
    module.setup("fit")
    assert len(module.datasets["train"]) + len(module.datasets["val"]) == 12
    module.setup("predict")
    assert len(module.datasets["predict"]) == 12
    with pytest.raises(ValueError, match=r"a.xyz, frame 0, line 1: label 'dipole': expected dipole"):
        AtomsDataModule(3.0, str(tmp_path / "a.xyz"), labels=[*TRAINED, "dipole"]).setup("fit")
    bad = molecule("H2O")
    bad.info["energy"] = "none"
    write(tmp_path / "bad.xyz", bad)
    module = AtomsDataModule(3.0, predict=str(tmp_path / "bad.xyz"), labels=TRAINED)
    module.setup("predict")  # needs no labels
    assert bool(module.datasets["predict"][0].energy.isnan())


def test_evaluation_prints_the_table_and_names_its_own_options(tmp_path, make_potential, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    potential = make_potential().eval()
    frames = [molecule("CH4") for _ in range(3)]
    for atoms in frames:
        atoms.info |= {"energy": -1.0, "dipole": 1.85}
        atoms.arrays["mp2_forces"] = np.ones((5, 3))
    write("a.xyz", frames)
    with pytest.raises(ValueError, match=r"set --keys.forces=mp2_forces, or --keys.forces=null"):
        read_labelled(["a.xyz"], LabelKeys(), potential)
    assert len(read_labelled(["a.xyz"], LabelKeys(forces=None), potential)) == 3
    table = capsys.readouterr().out
    assert "a.xyz" in table
    assert "dipole: not trained" in table
    save_potential(potential, "p.pt")
    words = ["evaluate", "p.pt", "a.xyz", "--keys.forces", "null", "--out", "ev"]
    assert main(words) == 0
    assert "Frames with labels" in capsys.readouterr().out


def test_a_name_is_switched_off_on_the_command_line(tmp_path, train, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    frames = read(train, ":")
    for atoms in frames:
        atoms.info["dipole"] = 1.85
    write("train.xyz", frames)
    words = ["--trainer.max_epochs", "1", "--data.keys.dipole", "null", "--data.keys.stress", "null"]
    assert fit(*words) == 0
    table = capsys.readouterr().out
    assert "dipole: switched off" in table
    assert "stress: switched off" in table
    assert table.count("Frames with labels") == 1
    assert fit("--trainer.max_epochs", "1", "--data.keys", "{energy: null, dipole: null}") == 2
    assert "no frame has an energy; set data.keys.energy" in capsys.readouterr().err


def test_elements_are_found_once(tmp_path, monkeypatch):
    path, parsed = write_frames(tmp_path / "copper.xyz", count=4), []
    read = reading.read
    monkeypatch.setattr(reading, "KEPT", {})
    monkeypatch.setattr(reading, "read", lambda file: parsed.append(str(file)) or read(file))
    write(tmp_path / "water.xyz", waters(2))
    assert elements_of([path, tmp_path / "water.xyz"]) == [1, 8, 29]
    assert len(parsed) == 2
    assert len(AtomsDataset(path, 3.0)) == 4  # takes the frames that were parsed
    assert len(parsed) == 2
    assert AtomsDataset(path, 3.5).elements == [29]  # they are gone by then
    assert len(parsed) == 3
    assert elements_of(path) == [29]  # from the cache
    assert elements_of(f"{path}@1:3") == [29]
    assert parsed[3:] == [f"{path}@1:3"]
    write(path, [*waters(1), molecule("CH4")])
    assert elements_of(path) == [1, 6, 8]  # not those of the old content
    assert AtomsDataset(path, 3.0).elements == [1, 6, 8]
    assert len(parsed) == 5
    assert [(key[0][-9:], key[1]) for key in reading.KEPT] == [("water.xyz", ":"), ("opper.xyz", "1:3")]


def test_a_damaged_list_of_elements_is_found_anew(tmp_path):
    path = write_frames(tmp_path / "copper.xyz", count=2)
    folder = tmp_path / "own"
    assert elements_of(path, folder) == [29]
    (file,) = folder.iterdir()
    assert json.loads(file.read_text()) == [29]
    for content in ("", "[29", "{}", '["Cu"]', "[]"):
        file.write_text(content)
        assert elements_of(path, folder) == [29]
    with pytest.raises(FileNotFoundError, match=r"absent.xyz: no such file"):
        elements_of("absent.xyz")


def test_reports_are_plain(tmp_path):
    write(tmp_path / "a.xyz", waters())
    AtomsDataset(tmp_path / "a.xyz", 3.0, cache_dir=tmp_path / "own", labels=TRAINED)
    (file,) = (tmp_path / "own").iterdir()
    stored = torch.load(file, weights_only=True)["report"]
    assert LabelReport(**stored).count("energy") == 4
