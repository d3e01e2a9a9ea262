from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.io import read, write

from equireann_pyg import EquiREANN, Potential, from_ase, load_potential, save_potential
from equireann_pyg.cli import main
from equireann_pyg.evaluation import errors_by_type, evaluate, parity_plots, plots, predict, print_errors, write_errors
from equireann_pyg.testing import randomize
from tests.copper import frames, write_frames


@pytest.fixture(scope="module")
def potential():
    torch.manual_seed(0)
    model = EquiREANN(["Cu"], cutoff=3.5, num_radial=4, num_density=8, num_iterations=1, hidden_channels=[8])
    randomize(model)
    potential = Potential(model).eval()
    potential.set_references({"Cu": 2.5}, scale=0.5)
    return potential


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
    expected = [potential(graph) for graph in graphs]
    outputs = predict(potential.train(), graphs, batch_size=4)
    assert not potential.training
    assert len(outputs) == len(graphs)
    for output, single in zip(outputs, expected, strict=True):
        assert bool(torch.isfinite(output["stress"]).all()) == ("stress" in single)
        for name, value in single.items():
            assert not output[name].requires_grad
            torch.testing.assert_close(output[name], value, rtol=1e-4, atol=1e-5 * float(value.abs().max()))


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_errors_are_those_of_the_definition(potential, graphs, batch_size):
    errors = evaluate(potential, graphs, batch_size=batch_size)
    single = [potential(graph) for graph in graphs]
    for kind, row in errors.items():
        members = [k for k, graph in enumerate(graphs) if kind in ("all", graph.config_type)]
        energy = np.array([float(single[k]["energy"] - graphs[k].energy) for k in members])
        sizes = np.array([graphs[k].z.numel() for k in members])
        forces = torch.cat([single[k]["forces"] - graphs[k].forces for k in members]).numpy()
        stress = [(single[k]["stress"] - graphs[k].stress).numpy() for k in members if "stress" in single[k]]
        differences = {"energy": energy, "energy_per_atom": energy / sizes, "forces": forces, "stress": stress}
        for name, values in differences.items():
            if len(values):
                assert row[f"{name}_rmse"] == pytest.approx(1e3 * np.sqrt(np.mean(np.square(values))), rel=1e-5)
                assert row[f"{name}_mae"] == pytest.approx(1e3 * np.mean(np.abs(values)), rel=1e-5)
        assert row["forces_rmse"] > 1.1 * row["forces_mae"] > 1.0
    assert len(set(sizes)) == 2  # total energy and energy per atom differ by more than a factor


def test_stress_of_mixed_sets_is_never_lost(potential, graphs):
    ordered = sorted(graphs, key=lambda graph: graph.config_type)  # in batches of two: some without any volume
    assert evaluate(potential, ordered, 2)["all"]["stress_rmse"] == pytest.approx(
        evaluate(potential, graphs, 100)["all"]["stress_rmse"], rel=1e-4
    )


def test_a_type_named_like_the_total(potential, graphs):
    named = [graph.clone() for graph in graphs]
    for graph in named[:3]:
        graph.config_type = "all"
    errors = evaluate(potential, named)
    assert {kind: row["frames"] for kind, row in errors.items()} == {
        "bulk": 3, "cluster": 3, "config_type all": 3, "all": 9
    }  # fmt: skip


def test_graphs_of_other_makes(potential, graphs):
    bare = [graph.clone() for graph in graphs]
    for graph in bare:
        del graph.config_type
    errors = evaluate(potential, bare)
    assert list(errors) == ["default", "all"]
    assert errors["default"] == errors["all"]
    assert evaluate(potential, []) == {"all": {"frames": 0.0}}


def test_a_broken_potential_is_not_a_missing_label(potential, graphs):
    broken = Potential(potential.model)
    broken.reference_energies[29] = math.nan
    with pytest.raises(ValueError, match="frame 0: the predicted energy or forces are not finite"):
        evaluate(broken, graphs)


@pytest.mark.parametrize("batch_size", [0, -3])
def test_batch_size_is_positive(potential, graphs, batch_size):
    with pytest.raises(ValueError, match=f"batch_size: expected 1 or more frames, got {batch_size}"):
        evaluate(potential, graphs, batch_size)


def test_table_file_and_pictures(potential, graphs, tmp_path, capsys):
    outputs = predict(potential, graphs)
    errors = errors_by_type(outputs, graphs)
    print_errors(errors)
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("bulk", "cluster", "all", "meV/atom", "meV/A^3"))
    assert " / ".join(plots.three_digits(errors["all"][f"forces_{kind}"]) for kind in ("rmse", "mae")) in shown
    write_errors(errors, tmp_path / "out" / "errors.csv")
    with open(tmp_path / "out" / "errors.csv") as file:
        rows = {row["config_type"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["bulk", "cluster", "all"]
    assert float(rows["all"]["energy_rmse_meV"]) == pytest.approx(errors["all"]["energy_rmse"], rel=1e-12)
    assert rows["cluster"]["stress_rmse_meV_per_A3"] == ""
    parity_plots(potential, outputs, graphs, tmp_path / "out" / "parity.png")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["errors.csv", "parity.png"]


def test_what_the_parity_plots_show(potential, graphs, tmp_path, monkeypatch):
    drawn = {}
    monkeypatch.setattr(
        plots, "parity", lambda axis, x, models, quantity, unit: drawn.update({quantity: (x, models, unit)})
    )
    parity_plots(potential, predict(potential, graphs), graphs, tmp_path / "a.png")
    assert {quantity: unit for quantity, (*_, unit) in drawn.items()} == {
        "(E - ΣE⁰)/N": "eV", "force component": "eV/Å", "stress": "eV/Å³"
    }  # fmt: skip
    for k, graph in enumerate(graphs):  # 2.5 eV per atom are the references
        reference, models, _ = drawn["(E - ΣE⁰)/N"]
        assert reference[k] == pytest.approx(float(graph.energy) / len(graph.z) - 2.5, rel=1e-9)
        expected = float(potential(graph)["energy"]) / len(graph.z) - 2.5
        assert models["model"][k] == pytest.approx(expected, rel=1e-4)
        assert abs(expected) > 1e-3
    unlabelled = [graph.clone() for graph in graphs]
    for graph in unlabelled:
        graph.energy, graph.forces, graph.stress = (
            torch.full_like(graph[k], math.nan) for k in ("energy", "forces", "stress")
        )
    with pytest.raises(ValueError, match="no frame has a label to compare with"):
        parity_plots(potential, predict(potential, graphs), unlabelled, tmp_path / "b.png")
    for graph, labelled in zip(unlabelled, graphs, strict=True):
        graph.forces = labelled.forces
    drawn.clear()
    parity_plots(potential, predict(potential, graphs), unlabelled, tmp_path / "b.png")
    assert list(drawn) == ["force component"]


def test_nothing_half_written(potential, graphs, tmp_path, monkeypatch):
    errors = evaluate(potential, graphs)
    (tmp_path / "errors.csv").write_text("before")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(csv.DictWriter, "writerows", full)
    with pytest.raises(OSError, match="No space"):
        write_errors(errors, tmp_path / "errors.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["errors.csv"]
    assert (tmp_path / "errors.csv").read_text() == "before"


@pytest.fixture
def workplace(tmp_path, monkeypatch, potential) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    save_potential(potential, "cu.pt")
    write_frames(tmp_path / "a.xyz", count=4)
    write_frames(tmp_path / "b.xyz", count=3, seed=1)
    return tmp_path


def test_command_line(workplace, potential, capsys):
    assert main(["evaluate", "cu.pt", "a.xyz", "b.xyz", "--batch_size", "2", "--out", "deep/er"]) == 0
    assert "cluster" in capsys.readouterr().out
    assert sorted(path.name for path in (workplace / "deep" / "er").iterdir()) == ["errors.csv", "parity.png"]
    with open("deep/er/errors.csv") as file:
        rows = {row["config_type"]: row for row in csv.DictReader(file)}
    again = [from_ase(atoms, 3.5) for name in "ab" for atoms in read(f"{name}.xyz", ":")]
    assert rows["all"]["frames"] == "7.0"
    expected = evaluate(load_potential("cu.pt"), again)["all"]["forces_rmse"]
    assert float(rows["all"]["forces_rmse_meV_per_A"]) == pytest.approx(expected, rel=1e-5)


def test_errors_by_any_entry(workplace, capsys):
    frames = read("a.xyz", ":")
    for index, atoms in enumerate(frames[:3]):
        atoms.info["source"] = "first" if index < 2 else 7
    write("c.xyz", frames, format="extxyz")
    assert main(["evaluate", "cu.pt", "c.xyz", "--group", "source"]) == 0
    assert "source" in capsys.readouterr().out
    with open("evaluation/errors.csv") as file:
        rows = {row["source"]: row["frames"] for row in csv.DictReader(file)}
    assert rows == {"7": "1.0", "first": "2.0", "without": "1.0", "all": "4.0"}
    assert main(["evaluate", "cu.pt", "c.xyz", "--group", "phase"]) == 2
    assert "--group phase: no frame has it in its info; the frames have config_type, source" in capsys.readouterr().err


def test_labels_under_other_names(workplace, capsys):
    renamed = read("a.xyz", ":")
    for atoms in renamed:
        atoms.info["REF_energy"] = atoms.get_potential_energy()
        atoms.arrays["REF_forces"] = atoms.get_forces()
        atoms.calc = None
    write("c.xyz", renamed, format="extxyz")
    keys = ["--keys.energy", "REF_energy", "--keys.forces", "REF_forces"]
    results = []
    for words in (["a.xyz"], ["c.xyz", *keys]):
        assert main(["evaluate", "cu.pt", *words, "--out", "out"]) == 0
        with open("out/errors.csv") as file:
            results.append(list(csv.DictReader(file))[-1])
    assert "stress_rmse_meV_per_A3" in results[0]
    assert "stress_rmse_meV_per_A3" not in results[1]
    assert {name: results[0][name] for name in results[1]} == results[1]


def write_alien(name: str) -> None:
    """File of two frames of which the second has an element that the potential does not know."""
    atoms = [*read("a.xyz", "0:1"), Atoms("CuAg", [[0, 0, 0], [0, 0, 2.5]])]
    write(name, atoms, format="extxyz")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["absent.pt", "a.xyz"], "absent.pt: no such file"),
        (["a.xyz", "a.xyz"], "a.xyz: no plain weights file"),
        (["cu.pt", "absent.xyz"], "absent.xyz: no such file"),
        (
            ["cu.pt", "a.xyz", "alien.xyz"],
            "alien.xyz, frame 1: unknown element Ag: this model was made for Cu; remove",
        ),
        (["cu.pt", "bare.xyz"], "bare.xyz: no frame has a label; name them with --keys.energy"),
        (["cu.pt", "a.xyz", "--keys.energy", "REF"], "a.xyz: no frame has energy under the key 'REF'"),
        (["cu.pt", "a.xyz", "--out", "a.xyz"], "--out a.xyz: "),
        (["cu.pt", "a.xyz", "--out", "a.xyz/deeper"], "is a file, not a folder; name another"),
        (["cu.pt", "a.xyz", "--device", "abacus"], "device abacus: not usable"),
    ],
)
def test_bad_input_is_one_line(workplace, capsys, words, message):
    write_alien("alien.xyz")
    write("bare.xyz", Atoms("Cu2", [[0, 0, 0], [0, 0, 2.5]]), format="extxyz")
    before = sorted(workplace.iterdir())
    assert main(["evaluate", *words]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("equireann: error: ")
    assert message in lines[0]
    assert set(workplace.iterdir()) - set(before) <= {workplace / "cache"}


@pytest.mark.parametrize("words", [[], ["cu.pt"], ["cu.pt", "a.xyz", "--batch_size", "0"], ["cu.pt", "a.xyz", "--no"]])
def test_wrong_words_end_with_two(workplace, words):
    assert main(["evaluate", *words]) == 2
    assert not (workplace / "evaluation").exists()
