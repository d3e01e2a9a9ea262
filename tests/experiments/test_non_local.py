"""Cases, pictures, costs and tables of the non-locality experiment."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from equireann_pyg import datasets
from equireann_pyg.data import AtomsDataset
from experiments.non_local import ablation, cost, descriptors, figures, report, run
from experiments.non_local.cases import CASES
from experiments.runs import results
from experiments.runs.results import COLUMNS, SCAN_COLUMNS, Row

MODELS = ("EANN", "REANN", "EquiREANN", *(f"EquiREANN-plus-{size}" for size in "sml"))


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    for module in (run, report, cost, descriptors, ablation):
        monkeypatch.setattr(module, "SUITE", dataclasses.replace(module.SUITE, folder=tmp_path))
    return tmp_path


def scan(case: str, split: str, group: str, points: np.ndarray) -> list[Row]:
    energies = np.cos(points / 30)
    return [
        dict(zip(SCAN_COLUMNS, (case, model, "0", "mark", split, group, f"{x}", f"{e}", f"{e * k / 4}"), strict=True))
        for k, model in enumerate(MODELS)
        for x, e in zip(points, energies, strict=True)
    ]


def scans() -> list[Row]:
    angles, distances = np.arange(0.0, 90, 10), np.arange(4.0, 9)
    rows = scan("c9h4-200", "test", "default", angles) + scan("c9h4-600", "test", "default", angles)
    rows += scan("gnl", "scan_angle", "angle", angles) + scan("gnl", "scan_length", "length", np.arange(3.0, 20))
    rows += [row for n in (4, 5, 6) for row in scan("cumulene", "scan", str(n), angles)]
    for name in ("CC", "PP"):
        rows += scan("lode", "near", name, distances) + scan("lode", "test", name, distances + 8)
    return rows


@pytest.mark.parametrize("case", CASES.values(), ids=lambda case: case.name)
def test_cases_name_sets_and_splits_that_exist(case):
    assert case.cutoff <= 4.0
    for part in (case.train, case.val, *case.tests.values()):
        splits = datasets.SPLITS if part.kind == "cumulene" else getattr(datasets, part.kind).splits
        assert part.split in splits
        assert part.otherwise is None or part.otherwise[0] in splits
    assert case.minutes_of("EquiREANN") >= 5
    assert case.quick[0] > 0


@pytest.mark.parametrize(("name", "bonds", "hop"), [("c9h4-200", 10, 3), ("gnl", 15, 3), ("cumulene", 10, 2)])
def test_messages_reach_from_end_to_end(name, bonds, hop):
    case = CASES[name]
    assert hop * 1.29 <= case.cutoff < (hop + 1) * 1.25
    assert (case.iterations + 1) * hop >= bonds


def test_the_longest_chain_is_held_out(tmp_path):
    sets = CASES["cumulene"].load(tmp_path)
    assert {graph.config_type for graph in sets.train.graphs} == {f"C{n}H4" for n in range(4, 9)}
    assert "C9H4" in {graph.config_type for graph in sets.tests["test"].graphs}
    assert {graph.config_type for graph in sets.tests["scan"].graphs} == {str(n) for n in range(4, 10)}
    assert len(sets.tests["scan"].values("torsion")) == 78


def test_pictures_of_all_scans(tmp_path):
    made = figures.draw(scans(), tmp_path)
    assert sorted(path.name for path in made) == ["c9h4.png", "cumulene.png", "gnl.png", "lode.png"]
    assert all(path.stat().st_size > 10_000 for path in made)


def test_curves_are_sorted_and_complete():
    rows = scan("gnl", "scan_angle", "", np.array([20.0, 0, 10]))
    x, reference, predictions = figures.curves(rows)
    assert x.tolist() == [0, 10, 20]
    assert reference == pytest.approx(np.cos(x / 30))
    assert predictions["EquiREANN-plus-s"] == pytest.approx(0.75 * reference)
    assert figures.curves(rows, backwards=True)[0].tolist() == [20, 10, 0]
    with pytest.raises(ValueError, match="different points"):
        figures.curves(rows[1:])


def test_the_report_lists_everything(folder, capsys):
    base = dict.fromkeys(COLUMNS, "") | {"case": "gnl", "seed": "0", "epochs": "5", "frames": "170", "seconds": "3"}
    base |= {"energy_rmse": "12.34", "forces_rmse": "56.7", "ms_per_step": "8", "cpu": "a processor"}
    kinds = ("all", "in-domain", "out-domain-nc-15,16")
    rows = [base | {"model": m, "split": "test", "config_type": kind} for m in MODELS for kind in kinds]
    results.append(folder / "results.csv", rows, COLUMNS)
    results.append(folder / "scans.csv", scans(), SCAN_COLUMNS)
    pairs = [
        base | {"model": f"Density + {rule}", "split": "test", "config_type": "in-domain"} for rule in descriptors.RULES
    ]
    results.append(folder / "descriptors.csv", pairs, COLUMNS)
    variants = [
        base | {"case": "3bpa", "model": name, "split": "600K", "config_type": "all"} for name in ablation.VARIANTS
    ]
    results.append(folder / "ablation.csv", variants, COLUMNS)
    report.main([])
    text = (folder / "results.md").read_text()
    assert "| test: out-domain-nc-15,16 | 170 | 12.3 / 56.7 | 12.3 / 56.7 |" in text
    assert "| Density | 12.3 / 56.7 | 12.3 / 56.7 |" in text
    assert "| order 3 |  | - | 12.3 / 56.7 |" in text
    assert "| gnl | EquiREANN-plus-m |" in text
    assert len(list((folder / "figures").glob("*.png"))) == 4
    assert "gnl.png" in capsys.readouterr().out


def test_no_results_no_report(folder, capsys):
    with pytest.raises(SystemExit, match="1"):
        report.main([])
    assert "no results yet" in capsys.readouterr().err


def test_costs_are_relative_to_reann():
    graphs = AtomsDataset(f"{datasets.cumulene('train')}@:8", 3.0).graphs
    rows = cost.measure(CASES["cumulene"], graphs, seconds=0.01)
    by_model = {row["model"]: row for row in rows}
    assert list(by_model) == [*MODELS, cost.LARGE]
    assert float(by_model["REANN"]["ratio"]) == float(by_model[cost.LARGE]["ratio_large"]) == 1.0
    assert all(float(row["ms"]) > 0 for row in rows)
    assert [line[1] for line in cost.sheet(rows).rows] == list(by_model)


@pytest.mark.parametrize("name", descriptors.pairs())
def test_every_descriptor_goes_with_every_rule(name):
    torch.manual_seed(0)
    model = descriptors.pairs()[name].build(["H", "C"], 4.0, 2)
    assert model.num_iterations == (0 if name.endswith("Local") else 2)
    assert 40 <= model.num_features <= 130


def test_variants_differ_from_the_full_model_and_each_other():
    recipes = list(ablation.VARIANTS.values())
    assert all(recipe not in recipes[:index] for index, recipe in enumerate(recipes))
    assert [recipe.training.warm_start() for recipe in recipes].count(None) == len(recipes) - 1
    assert ablation.without(descriptor__order=2).build(["H"], 4.0).descriptors[0].order == 2
    assert ablation.FULL.plan["init_args"]["descriptor"]["init_args"]["order"] == 4
    for recipe in ablation.VARIANTS.values():
        recipe.build(["H", "C"], 4.0, 2)
