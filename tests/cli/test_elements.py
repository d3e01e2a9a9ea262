"""Elements come from the training data; those that a training set lacks are noted and refused; others can be added."""

from __future__ import annotations

from pathlib import Path

import pytest
from ase.build import molecule

from equireann_pyg import load_potential
from equireann_pyg.cli import main
from equireann_pyg.inference.calculator import EquiREANNCalculator
from tests.cli.conftest import CONF
from tests.molecules import write_molecules

BEST = "runs/a/best.ckpt"


def test_elements_are_those_of_the_data(workplace, fit):
    assert fit("--run", "runs/a") == 0
    potential = load_potential(BEST)
    assert potential.elements == [1, 6, 8]
    assert [int(potential.training_atoms[z]) > 0 for z in (1, 6, 7, 8)] == [True, True, False, True]


def test_an_element_without_atoms_is_refused(workplace, fit, refused, capsys):
    write_molecules(Path("ammonia.xyz"), ["CH4", "NH3"], count=4)
    assert fit("--run", "runs/a", "--model.model.init_args.elements", "[H, C, O, F, N]") == 0
    assert "no atom of N, F" in capsys.readouterr().err
    for words in (["test", "--ckpt_path", BEST, "--data.test"], ["predict", "--ckpt_path", BEST, "--data.predict"]):
        assert "untrained element N" in refused(*words, "ammonia.xyz")
        assert main([*words, "ammonia.xyz", "--allow_untrained", "true"]) == 0
    assert "untrained element N" in refused("evaluate", BEST, "ammonia.xyz")
    assert main(["evaluate", BEST, "ammonia.xyz", "--allow_untrained", "true"]) == 0
    atoms = molecule("NH3")
    atoms.calc = EquiREANNCalculator(BEST)
    with pytest.raises(ValueError, match="untrained element N"):
        atoms.get_potential_energy()
    atoms.calc = EquiREANNCalculator(BEST, allow_untrained=True)
    assert abs(atoms.get_potential_energy()) < float("inf")


@pytest.mark.slow
def test_an_exported_potential_refuses_them_too(workplace, fit):
    assert fit("--run", "runs/a", "--model.model.init_args.elements", "[H, C, O, N]") == 0
    assert main(["export", BEST]) == 0
    atoms = molecule("NH3")
    atoms.calc = EquiREANNCalculator("runs/a/best.pt2")
    with pytest.raises(ValueError, match="unknown element N"):
        atoms.get_potential_energy()


def test_a_trained_potential_learns_a_new_element(workplace, fit, capsys):
    assert fit("--run", "runs/a") == 0
    other = write_molecules(Path("other.xyz"), ["CH4", "NH3"], seed=3)
    assert fit("--run", "runs/b", "--model.init_from", BEST, train=other) == 0
    before, after = load_potential(BEST), load_potential("runs/b/best.ckpt")
    assert after.elements == [1, 6, 7, 8]
    assert after.cutoff == before.cutoff
    kept = [1, 6, 8]
    assert after.reference_energies[kept].tolist() == before.reference_energies[kept].tolist()
    assert float(after.reference_energies[7]) != 0.0
    assert float(after.scale) == float(before.scale)
    atoms = molecule("NH3")
    atoms.calc = EquiREANNCalculator("runs/b/best.ckpt")
    assert abs(atoms.get_potential_energy()) < float("inf")


def test_references_are_refitted_when_asked(workplace, fit):
    assert fit("--run", "runs/a") == 0
    other = write_molecules(Path("other.xyz"), ["CH4", "H2O"], shift=-50.0)
    words = ["--model.init_from", BEST, "--trainer.max_epochs", "1", "--model.optimizer.init_args.lr", "1e-9"]
    assert fit("--run", "runs/b", *words, "--model.refit", "references", train=other) == 0
    before, after = load_potential(BEST), load_potential("runs/b/best.ckpt")
    shift = [float(after.reference_energies[z] - before.reference_energies[z]) for z in (1, 6, 8)]
    assert shift == pytest.approx([-50.0] * 3, rel=0.2)


def test_new_elements_need_no_resuming(workplace, fit, refused):
    assert fit("--run", "runs/a") == 0
    other = write_molecules(Path("other.xyz"), ["CH4", "NH3"], seed=3)
    message = refused("fit", "--config", str(CONF), "--data.train", other, "--ckpt_path", "runs/a/last.ckpt")
    assert "unknown element N" in message


def test_a_structure_with_another_element_is_named(workplace, fit, refused):
    assert fit("--run", "runs/a") == 0
    write_molecules(Path("ammonia.xyz"), ["CH4", "NH3"], count=4)
    message = refused("predict", "--ckpt_path", BEST, "--data.predict", "ammonia.xyz")
    assert "predict set, frame 1: unknown element N: this model was made for H, C, O" in message
