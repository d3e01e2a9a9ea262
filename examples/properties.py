"""Train a dipole moment with energy and forces, and read it out in ASE."""

import lightning
import numpy as np
import torch
from ase.build import molecule
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from equireann_pyg import EquiREANN, EquiREANNCalculator
from equireann_pyg.data import AtomsDataModule, Batches, ValidationSplit
from equireann_pyg.properties import Dipole
from equireann_pyg.training import PotentialTask

CHARGE = {"H": 0.4, "O": -0.8}  # e: the dipole to be learnt


def labelled_water(rng: np.random.Generator) -> object:
    """A distorted water molecule with energy, forces and dipole (rough ones, for want of a better method here)."""
    atoms = molecule("H2O")
    atoms.rattle(0.05, rng=rng)
    atoms.rotate(rng.uniform(0, 360), rng.normal(size=3))
    atoms.calc = EMT()
    labels = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()}
    labels["dipole"] = np.array([CHARGE[symbol] for symbol in atoms.symbols]) @ atoms.positions
    atoms.calc = SinglePointCalculator(atoms, **labels)
    return atoms


rng = np.random.default_rng(0)
write("water.extxyz", [labelled_water(rng) for _ in range(60)], format="extxyz")

lightning.seed_everything(0, verbose=False)
task = PotentialTask(
    EquiREANN(["H", "O"], cutoff=4.0, num_density=16, num_iterations=1, hidden_channels=[16]),
    properties=[Dipole(hidden_channels=[16])],
    optimizer=lambda parameters: torch.optim.Adam(parameters, lr=1e-2),
)
data = AtomsDataModule(4.0, train="water.extxyz", batches=Batches(8), split=ValidationSplit(0.2))
trainer = lightning.Trainer(
    max_epochs=20,
    accelerator="cpu",
    inference_mode=False,
    use_distributed_sampler=False,
    logger=False,
    enable_checkpointing=False,
    enable_model_summary=False,
)
trainer.fit(task, data)

atoms = labelled_water(rng)
expected = atoms.get_dipole_moment()
atoms.calc = EquiREANNCalculator(task.potential)
print("dipole:", atoms.get_dipole_moment(), "e Å, expected", expected)
