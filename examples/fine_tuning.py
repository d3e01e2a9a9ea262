"""Train a trained potential further, on other data: run train.py first. Writes fine_tuned.pt."""

import lightning
import torch
from ase.io import write

from equireann_pyg import load_potential, save_potential
from equireann_pyg.data import AtomsDataModule, AtomsDataset, Batches, ValidationSplit, read_frames
from equireann_pyg.datasets import cumulene
from equireann_pyg.evaluation import evaluate
from equireann_pyg.training import PotentialTask

lightning.seed_everything(0, verbose=False)
frames = read_frames(cumulene("scan"))  # energies and forces along the twist of each chain
write("new.extxyz", frames[::2], format="extxyz")
write("left.extxyz", frames[1::2], format="extxyz")

potential = load_potential("potential.pt")
left = AtomsDataset("left.extxyz", potential.cutoff).graphs
before = evaluate(potential, left)["all"]

# A trained potential keeps its references, its scale and its statistics; no preparation is done twice.
task = PotentialTask(init_from="potential.pt", optimizer=lambda parameters: torch.optim.Adam(parameters, lr=5e-3))
data = AtomsDataModule(potential.cutoff, train="new.extxyz", batches=Batches(4), split=ValidationSplit(0.2))
trainer = lightning.Trainer(
    max_epochs=20,
    accelerator="cpu",
    gradient_clip_val=10.0,
    inference_mode=False,
    use_distributed_sampler=False,
    logger=False,
    enable_checkpointing=False,
    enable_model_summary=False,
)
trainer.fit(task, data)

after = evaluate(task.potential, left)["all"]
save_potential(task.potential, "fine_tuned.pt")
print(f"forces along the twist: {before['forces_rmse']:.0f} meV/Å before, {after['forces_rmse']:.0f} after")
