"""Train a small EquiREANN-plus on the cumulene set of the package, in half a minute; writes potential.pt."""

import argparse

import lightning

from equireann_pyg import EquiREANNPlus, save_potential
from equireann_pyg.data import AtomsDataModule, AtomsDataset, Batches
from equireann_pyg.datasets import cumulene
from equireann_pyg.evaluation import evaluate
from equireann_pyg.training import Cosine, Muon, PotentialTask, Schedule

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--epochs", type=int, default=5)
epochs = parser.parse_args().epochs

lightning.seed_everything(0, verbose=False)
cutoff = 3.0  # Å: no atom sees the hydrogen of both ends
data = AtomsDataModule(cutoff, train=str(cumulene("train")), val=str(cumulene("val")), batches=Batches(4))
model = EquiREANNPlus(["H", "C"], cutoff, num_radial=32, num_products=32, num_iterations=3)
task = PotentialTask(
    model,  # any model of atomic energies
    optimizer=lambda parameters: Muon(parameters, lr=1e-2),
    schedule=Schedule(Cosine, warmup_steps=50),
)
trainer = lightning.Trainer(
    max_epochs=epochs,
    accelerator="cpu",
    gradient_clip_val=1.0,
    inference_mode=False,  # forces are derivatives, in validation too
    use_distributed_sampler=False,  # the data module has its own
    logger=False,
    enable_checkpointing=False,
    enable_model_summary=False,
)
trainer.fit(task, data)

save_potential(task.potential, "potential.pt")
errors = evaluate(task.potential, AtomsDataset(cumulene("test"), cutoff).graphs)["all"]
print(f"test: {errors['energy_per_atom_rmse']:.1f} meV/atom, {errors['forces_rmse']:.0f} meV/Å")
