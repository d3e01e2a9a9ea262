from __future__ import annotations

import csv

import numpy as np
import pytest
import torch

from equireann_pyg import EquiREANN, Potential, from_ase, plots
from equireann_pyg.evaluation import evaluate, parity_plots, predict, print_errors, write_errors
from tests.copper import frames


@pytest.fixture(scope="module")
def potential():
    torch.manual_seed(0)
    model = EquiREANN(["Cu"], cutoff=3.5, num_radial=4, num_density=8, num_iterations=1, hidden_channels=[8])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return Potential(model).eval()


@pytest.fixture(scope="module")
def graphs():
    return [from_ase(atoms, 3.5) for atoms in frames(9)]


def test_errors_by_configuration_type(potential, graphs):
    errors = evaluate(potential, graphs, batch_size=2)
    assert list(errors) == ["bulk", "cluster", "all"]
    assert [errors[kind]["frames"] for kind in errors] == [4, 5, 9]
    by_hand = {"bulk": [], "cluster": []}
    for graph in graphs:
        by_hand[graph.config_type].append(potential(graph)["forces"] - graph.forces)
    for kind, differences in by_hand.items():
        expected = 1e3 * float(torch.cat(differences).square().mean().sqrt())
        assert errors[kind]["forces_rmse"] == pytest.approx(expected, rel=1e-5)
    assert "stress_rmse" in errors["bulk"]
    assert "stress_rmse" not in errors["cluster"]


def test_frames_without_labels_are_left_out(potential, graphs):
    bare = [graph.clone() for graph in graphs]
    bare[0].forces = torch.full_like(bare[0].forces, torch.nan)
    errors = evaluate(potential, bare)
    rest = evaluate(potential, graphs[1:])
    assert errors["all"]["forces_rmse"] == pytest.approx(rest["all"]["forces_rmse"], rel=1e-5)


def test_predictions_keep_the_order(potential, graphs):
    batched = torch.cat([output["energy"] for output in predict(potential, graphs, batch_size=4)])
    single = torch.cat([potential(graph)["energy"] for graph in graphs])
    torch.testing.assert_close(batched, single, rtol=1e-5, atol=1e-5)


def test_table_file_and_pictures(potential, graphs, tmp_path, capsys):
    errors = evaluate(potential, graphs)
    print_errors(errors)
    assert "meV/atom" in capsys.readouterr().out
    write_errors(errors, tmp_path / "out" / "errors.csv")
    with open(tmp_path / "out" / "errors.csv") as file:
        rows = {row["config_type"]: row for row in csv.DictReader(file)}
    assert float(rows["all"]["energy_rmse"]) == pytest.approx(errors["all"]["energy_rmse"], rel=1e-12)
    parity_plots(potential, graphs, tmp_path / "out" / "parity.png")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["errors.csv", "parity.png"]


def test_torsion_and_learning_curve_pictures(tmp_path):
    picture, axes = plots.figure(1, 2, 3, 3)
    angle = np.linspace(0, 60, 7)
    plots.torsion_profile(axes[0, 0], angle, np.cos(angle), {"EquiREANN": np.cos(angle), "REANN": 0 * angle}, "C4H4")
    plots.learning_curves(axes[0, 1], {"EquiREANN": ([1, 2, 3], [3.0, 2.0, 1.0])}, "error")
    assert [line.get_label() for line in axes[0, 0].lines] == ["DFT", "EquiREANN", "REANN"]
    plots.save(picture, tmp_path / "torsion.png")
    assert (tmp_path / "torsion.png").stat().st_size > 5_000
