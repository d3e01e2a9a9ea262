"""Published errors, our cases, and the report of the accuracy experiment."""

from __future__ import annotations

import dataclasses

import pytest

from equireann_pyg import datasets
from experiments.accuracy import report, run
from experiments.accuracy.cases import CASES
from experiments.accuracy.published import FILE, published
from experiments.accuracy.scans import draw_scans
from experiments.runs import results
from experiments.runs.results import COLUMNS, SCAN_COLUMNS


def row(case: str, model: str, split: str, **entries: str) -> dict[str, str]:
    empty = dict.fromkeys(COLUMNS, "")
    kept = {
        "case": case,
        "model": model,
        "split": split,
        "config_type": "all",
        "frames": "10",
        "epochs": "5",
        "seed": "0",
    }
    numbers = {
        "energy_rmse": "3.5",
        "energy_mae": "2.5",
        "forces_rmse": "20",
        "forces_mae": "12",
        "ms_per_step": "30",
    }
    return empty | kept | numbers | {"cpu": "a processor", "seconds": "9", "batch_size": "5"} | entries


ROWS = [
    row("3bpa", "EquiREANN", "300K"),
    row("3bpa", "EquiREANN", "600K", forces_rmse="50"),
    row("3bpa", "EquiREANN-plus", "300K", ms_per_step="80"),
    row("3bpa", "EquiREANN-plus", "600K", forces_rmse="35", ms_per_step="80"),
    row("rmd17-aspirin", "REANN", "test"),
    row("rmd17-ethanol", "REANN", "test"),
    row("nbmotaw", "REANN", "quaternary", stress_rmse="0.7", energy_per_atom_rmse="4"),
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "SUITE", dataclasses.replace(run.SUITE, folder=tmp_path))
    return tmp_path


def test_published_errors_belong_to_our_tests():
    entries = published()
    assert len(entries) > 30
    for entry in entries:
        assert entry.split in CASES[entry.set].tests, entry
        assert entry.energy is None or 0 < entry.energy < 1000
        assert entry.forces is None or 0 < entry.forces < 1000
    assert {entry.model for entry in entries} >= {"NequIP", "BOTNet", "Allegro", "PaiNN", "MACE"}
    assert len({(entry.set, entry.split, entry.model) for entry in entries}) == len(entries)
    assert {(entry.set, entry.measure) for entry in entries if "rmd17" in entry.set} == {
        (f"rmd17-{name}", "MAE") for name in datasets.RMD17.molecules
    }


@pytest.mark.parametrize(("old", "new"), [("RMSE", "rms"), ("meV/A", "kcal"), ("yes", "maybe"), ("12.98", "twelve")])
def test_a_line_that_cannot_be_understood_is_refused(tmp_path, old, new):
    path = tmp_path / "published.csv"
    path.write_text(FILE.read_text().replace(old, new, 1))
    with pytest.raises(ValueError, match=r"line 2|twelve"):
        published(path)


def test_an_unverified_error_says_so(tmp_path):
    path = tmp_path / "published.csv"
    path.write_text(FILE.read_text().replace(",yes", ",no", 1))
    before, labels = ([entry.label for entry in published(file)] for file in (FILE, path))
    assert labels[0] == f"{before[0]} (unverified)"
    assert labels[1:] == before[1:]


@pytest.mark.parametrize("case", CASES.values(), ids=lambda case: case.name)
def test_cases_name_sets_and_splits_that_exist(case):
    for part in (case.train, case.val, *case.tests.values()):
        assert part.split in getattr(datasets, part.kind).splits
        if part.otherwise is not None:
            assert part.otherwise[0] in getattr(datasets, part.kind).splits
    assert case.minutes_of("EquiREANN") >= 20
    assert case.quick[0] > 0
    assert (case.train.split, case.train.frames) != (case.val.split, case.val.frames)


def test_the_report_has_ours_and_theirs(folder, capsys):
    results.append(folder / "results.csv", ROWS, COLUMNS)
    report.main([])
    text = (folder / "results.md").read_text()
    assert "| EquiREANN (this work) | 3.5 / 20 | 3.5 / 50 |" in text
    assert "| MACE (L=2) | 3 / 8.8 | 9.7 / 21.8 |" in text
    assert "| aspirin | 2.5 / 12 | 2.2 / 6.6 |" in text  # mean absolute errors, as papers quote for rMD17
    assert "| mean of 2 | 2.5 / 12 | 1.3 / 4.35 |" in text
    assert "| nbmotaw | quaternary | REANN | 4 | 20 | 0.7 |" in text
    assert (folder / "figures" / "error-cost.png").stat().st_size > 10_000
    assert "EquiREANN-plus" in capsys.readouterr().out


def test_no_results_no_report(folder, capsys):
    with pytest.raises(SystemExit, match="1"):
        report.main([])
    assert "no results yet" in capsys.readouterr().err


def test_a_picture_needs_results(tmp_path):
    with pytest.raises(ValueError, match="nothing to draw"):
        report.draw([row("lips20", "REANN", "test")], [], tmp_path / "picture.png")


def test_the_cost_of_mace_is_that_of_the_speed_experiment(tmp_path):
    path = tmp_path / "results.csv"
    path.write_text("case,step,contestant,ms\ntrain8,training,MACE-medium,1600\nmol1,inference,MACE-medium,5\n")
    assert report.mace_cost(path) == 200.0
    path.write_text("case,step,contestant,ms\n")
    assert report.mace_cost(path) is None
    assert report.mace_cost() > 50


def test_scans_and_their_barriers(folder):
    base = dict(zip(SCAN_COLUMNS, ("acac", "", "0", "mark", "H-transfer", "", "", "", ""), strict=True))
    scans = [
        base | {"model": model, "x": f"{x}", "reference": f"{1 - x * x}", "prediction": f"{3 + scale * (1 - x * x)}"}
        for model, scale in (("REANN", 1.5), ("EquiREANN", 1.0))
        for x in (-1.0, -0.5, 0.0, 0.5, 1.0)
    ]
    results.append(folder / "results.csv", ROWS, COLUMNS)
    results.append(folder / "scans.csv", scans, SCAN_COLUMNS)
    report.main([])
    text = (folder / "results.md").read_text()
    assert "| REANN | 1500 (+500) |" in text
    assert "| EquiREANN | 1000 (+0) |" in text
    assert "| reference | 1000 |" in text
    assert (folder / "figures" / "scans.png").stat().st_size > 10_000
    with pytest.raises(ValueError, match="nothing to draw"):
        draw_scans([base | {"case": "nowhere"}], folder / "nothing.png")
