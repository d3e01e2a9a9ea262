"""Properties from the file to the calculator: labels, loss, command line, evaluation, other forms of a potential."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write
from torch_geometric.data import Batch

from equireann_pyg import EquiREANN, Potential, from_ase, load_potential, to_ase
from equireann_pyg.cli import main
from equireann_pyg.inference.blocks import BlockPotential
from equireann_pyg.inference.calculator import EquiREANNCalculator
from equireann_pyg.inference.compiled import state_of, trace
from equireann_pyg.properties import Charges, Dipole, FieldResponse, Polarizability
from equireann_pyg.testing import randomize
from equireann_pyg.training.loss import PotentialLoss
from equireann_pyg.training.metrics import with_unit
from equireann_pyg.training.preparation import prepare_potential

CONF = Path(__file__).parent / "conf" / "properties.yaml"
SPRING, REST = 8.0, 1.0  # eV/Angstrom^2, Angstrom
CHARGES, ALPHA = np.array([-0.6, 0.3, 0.3]), {1: 0.03, 8: 0.06}  # e, e Angstrom^2/V


def waters(count: int = 40, seed: int = 0, field: float = 0.0) -> list[Atoms]:
    """Rattled and turned water of springs, point charges and point polarizabilities, in random fields."""
    rng = np.random.default_rng(seed)
    frames = []
    for _ in range(count):
        atoms = Atoms("OH2", [[0, 0, 0], [0.76, 0.59, 0], [-0.76, 0.59, 0]])
        atoms.rotate(rng.uniform(0, 360), rng.normal(size=3))
        atoms.positions += 0.06 * rng.normal(size=(3, 3)) + rng.normal(size=3)
        bonds = atoms.positions[1:] - atoms.positions[0]
        r = np.linalg.norm(bonds, axis=1, keepdims=True)
        pull = -SPRING * (r - REST) * bonds / r
        alpha = sum(ALPHA[z] for z in atoms.numbers) * np.eye(3) + 0.02 * bonds.T @ bonds
        push = field * rng.normal(size=3)
        atoms.calc = SinglePointCalculator(
            atoms,
            energy=float(0.5 * SPRING * ((r - REST) ** 2).sum() - CHARGES @ atoms.positions @ push) - 300.0,
            forces=np.concatenate([-pull.sum(0, keepdims=True), pull]) + CHARGES[:, None] * push,
            dipole=CHARGES @ atoms.positions,
            charges=CHARGES,
        )
        atoms.info |= {"polarizability": alpha, "external_field": push, "charge": 0}
        frames.append(atoms)
    return frames


def graphs(count: int = 40, seed: int = 0, field: float = 0.0):
    return [from_ase(atoms, 3.0) for atoms in waters(count, seed, field)]


def potential(*properties, seed: int = 0) -> Potential:
    torch.manual_seed(seed)
    model = EquiREANN(["H", "O"], 3.0, num_radial=4, num_density=8, num_iterations=1, hidden_channels=[8])
    result = Potential(model, properties).eval()
    randomize(result)
    return result


def test_labels_round_trip(tmp_path):
    atoms = waters(1, field=0.1)[0]
    atoms.info["charge"] = -1.0
    write(tmp_path / "a.xyz", atoms, format="extxyz")
    for source in (atoms, read(tmp_path / "a.xyz")):
        data = from_ase(source, 3.0)
        assert data.total_charge.tolist() == [-1.0]
        for again in (data, from_ase(to_ase(data), 3.0)):
            np.testing.assert_allclose(again.dipole[0], CHARGES @ atoms.positions, atol=1e-7)
            np.testing.assert_allclose(again.charges, CHARGES)
            np.testing.assert_allclose(again.polarizability[0], atoms.info["polarizability"], atol=1e-7)
            np.testing.assert_allclose(again.field[0], atoms.info["external_field"], atol=1e-7)
            assert again.total_charge.tolist() == [-1.0]


def test_labels_of_the_wrong_shape():
    atoms = Atoms("OH")
    atoms.positions[1, 0] = 1.0
    atoms.info["dipole"] = 1.85
    with pytest.raises(ValueError, match=r"label 'dipole': expected dipole of shape \[1, 3\], got the number 1.85"):
        from_ase(atoms, 3.0)
    atoms.info = {"polarizability": np.arange(6.0)}
    atoms.arrays["charge"] = np.ones(2)  # a column is no total charge
    data = from_ase(atoms, 3.0)
    assert data.total_charge.tolist() == [0.0]
    assert data.polarizability[0].tolist() == [[0.0, 5.0, 4.0], [5.0, 1.0, 3.0], [4.0, 3.0, 2.0]]


def test_preparation_takes_units_and_polarizabilities_of_the_elements():
    dataset = graphs()
    result = Potential(potential().model, [Dipole([8]), Polarizability([8])])
    prepare_potential(result, dataset)
    scales = result.scales()
    dipoles = torch.cat([data.dipole for data in dataset])
    assert float(scales["dipole"]) == pytest.approx(float(dipoles.square().mean().sqrt()), rel=1e-12)
    assert float(scales["charges"]) == pytest.approx(float(np.sqrt((CHARGES**2).mean())), rel=1e-12)
    labels = torch.cat([data.polarizability for data in dataset])
    mean = labels.diagonal(dim1=1, dim2=2).mean()
    output = result.eval()(Batch.from_data_list(dataset))  # the heads still give zero
    torch.testing.assert_close(output["polarizability"][3], mean * torch.eye(3).double())
    assert float(scales["polarizability"]) == pytest.approx(
        float((labels - mean * torch.eye(3)).square().mean().sqrt())
    )
    assert float(result.properties[0].head.size.min()) != 1.0


def test_preparation_wants_labels():
    dataset = graphs(8)
    for data in dataset:
        data.dipole, data.charges = torch.full_like(data.dipole, torch.nan), torch.full_like(data.charges, torch.nan)
    for kind, name in ((Dipole, "dipole"), (Charges, "charges")):
        with pytest.raises(
            ValueError, match=f"no frame has a label for {kind.__name__}: .*--data.keys.{name}=REF_{name}"
        ):
            prepare_potential(Potential(potential().model, [kind([8])]), dataset)
    prepare_potential(Potential(potential().model, [FieldResponse(Dipole([8]))]), dataset)  # energies will do


def test_loss_of_properties_is_in_their_units():
    batch = Batch.from_data_list(graphs(3))
    batch.dipole[0] = torch.nan
    output = {name: torch.nan_to_num(batch[name]) for name in ("energy", "forces", "charges", "polarizability")}
    output |= {"dipole": torch.nan_to_num(batch.dipole) + 0.2, "charges": batch.charges - 0.1}
    scales = {name: torch.tensor(value).double() for name, value in {"dipole": 0.5, "charges": 0.2}.items()}
    loss = PotentialLoss(dipole=3.0, charges=5.0)
    sums, counts = loss(output, batch, scales)
    assert counts.tolist() == [3, 27, 0, 6, 27, 9]
    torch.testing.assert_close(sums, torch.tensor([0, 0, 0, 6 * 0.16, 0, 9 * 0.25]).double())
    means = sums / counts.clamp(min=1)
    assert float(loss.weighted(loss.final(), means)) == pytest.approx(3 * 0.16 + 5 * 0.25)


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write(tmp_path / "train.xyz", waters(), format="extxyz")
    write(tmp_path / "test.xyz", waters(5, seed=9), format="extxyz")
    return tmp_path


def columns(path: Path) -> dict[str, np.ndarray]:
    with open(path) as file:
        rows = list(csv.DictReader(file))
    return {
        name: np.array([float(row[name]) for row in rows if row.get(name)]) for name in rows[0] if name != "config_type"
    }


def test_command_line(workplace, capsys):
    assert main(["fit", "--config", str(CONF), "--data.train", "train.xyz"]) == 0
    errors = columns(workplace / "log" / "version_0" / "metrics.csv")
    for name in ("forces", "dipole", "polarizability", "charges"):
        curve = errors["val/" + with_unit(f"{name}_rmse")]
        assert curve[-1] < 0.7 * curve[0], name

    common = ["--config", str(CONF), "--ckpt_path", "ckpt/best.ckpt"]
    assert main(["predict", *common, "--data.predict", "test.xyz", "--predictions.path", "p.extxyz"]) == 0
    predicted, reference = read("p.extxyz", ":"), read("test.xyz", ":")
    capsys.readouterr()
    assert main(["evaluate", "ckpt/best.ckpt", "test.xyz", "--out", "ev"]) == 0
    assert "me A^2/V" in capsys.readouterr().out
    table = columns(workplace / "ev" / "errors.csv")
    values = {
        "dipole": lambda atoms: atoms.get_dipole_moment(),
        "charges": lambda atoms: atoms.get_charges(),
        "polarizability": lambda atoms: atoms.info["polarizability"],
    }
    for name, value in values.items():
        difference = np.array([value(p) - value(r) for p, r in zip(predicted, reference, strict=True)])
        assert 1e3 * np.sqrt((difference**2).mean()) == pytest.approx(table[with_unit(f"{name}_rmse")][-1], rel=1e-3)
        assert table[with_unit(f"{name}_rmse")][-1] > 0.01


def test_energy_in_a_field_is_learnt_from_the_command_line(workplace):
    write("train.xyz", waters(field=0.3), format="extxyz")
    words = ["fit", "--config", str(CONF), "--data.train", "train.xyz", "--model.properties", "[FieldResponse]"]
    assert main([*words, "--trainer.max_epochs", "2"]) == 0
    loaded = load_potential("ckpt/last.ckpt")
    assert isinstance(loaded.properties[0], FieldResponse)
    assert isinstance(loaded.properties[0].dipole, Dipole)


def test_calculator():
    atoms = waters(1)[0]
    model = potential(Dipole([8]), Polarizability([8]))
    atoms.calc = EquiREANNCalculator(model)
    expected = model(from_ase(atoms, 3.0))
    np.testing.assert_allclose(atoms.get_dipole_moment(), expected["dipole"][0], rtol=1e-5)
    np.testing.assert_allclose(atoms.get_charges(), expected["charges"], rtol=1e-5)
    alpha = atoms.calc.get_property("polarizability", atoms)
    np.testing.assert_allclose(alpha, expected["polarizability"][0], rtol=1e-5)
    assert float(np.abs(alpha).max()) > 1e-3
    atoms.info["charge"] = 2
    assert atoms.get_charges().sum() == pytest.approx(2.0, abs=1e-12)
    atoms.set_cell([9, 9, 9])
    atoms.pbc = True
    with pytest.raises(PropertyNotImplementedError):
        atoms.get_dipole_moment()
    assert atoms.get_charges().sum() == pytest.approx(2.0, abs=1e-12)
    assert "dipole" not in EquiREANNCalculator(potential()).implemented_properties


def test_calculator_in_a_field():
    atoms = waters(1)[0]
    atoms.calc = EquiREANNCalculator(potential(FieldResponse(Dipole([8]), Polarizability([8]))))
    energies = []
    for size in (1e-3, 0.0, -1e-3):
        atoms.info["external_field"] = [0.0, size, 0.0]
        energies.append(atoms.get_potential_energy())
    atoms.info["external_field"] = [0.0, 0.0, 0.0]
    slope = (energies[0] - energies[2]) / 2e-3
    assert abs(slope) > 1e-2
    assert atoms.get_dipole_moment()[1] == pytest.approx(-slope, rel=1e-4)


def test_blocks_give_the_same():
    batch = Batch.from_data_list(graphs(4))
    model = potential(Dipole([8]), Polarizability([8]))
    expected = model(batch)
    for name, value in BlockPotential(model, 2)(batch).items():
        torch.testing.assert_close(value, expected[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("field", [0.0, 0.2])
def test_traced_graphs_carry_properties(field, training):
    model = potential(FieldResponse(Dipole([8]), Polarizability([8]))).train(training)
    batch = Batch.from_data_list(graphs(4, field=field))
    graph = trace(model, model.tensors(Batch.from_data_list(graphs(2, seed=3, field=field))), True, False)
    output = graph(state_of(model), *model.tensors(batch))
    expected = model(batch)
    assert set(output) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(output[name], value, rtol=1e-4, atol=1e-5)
