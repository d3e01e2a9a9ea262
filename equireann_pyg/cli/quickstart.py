"""Learn the twist of cumulenes with EquiREANN-plus, and see that REANN cannot.

    equireann quickstart [--epochs 12] [--seed 0] [--out quickstart]

Trains both models on the cumulene set of the package (density-functional theory, C4H4 to C9H4) with a cutoff of
3 Angstrom, so short that no atom sees the hydrogen of both ends; prints a table of errors and writes pictures.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from ase import units
from ase.md.verlet import VelocityVerlet
from jsonargparse import ArgumentParser, Namespace
from jsonargparse.typing import NonNegativeInt, PositiveInt
from rich.console import Console
from rich.table import Table

from equireann_pyg.data.batches import Batches
from equireann_pyg.data.dataset import AtomsDataset
from equireann_pyg.data.module import AtomsDataModule
from equireann_pyg.data.reading import read_frames
from equireann_pyg.datasets import cumulene
from equireann_pyg.evaluation import plots
from equireann_pyg.evaluation.errors import evaluate, predict
from equireann_pyg.inference.calculator import EquiREANNCalculator
from equireann_pyg.models.equireann import REANN
from equireann_pyg.models.network import OrbitalNetwork
from equireann_pyg.models.plus import EquiREANNPlus
from equireann_pyg.nn import ZBL
from equireann_pyg.potential.checkpoint import save_potential
from equireann_pyg.potential.potential import Potential
from equireann_pyg.training.callbacks import ExponentialMovingAverage
from equireann_pyg.training.loss import LinearInLearningRate, PotentialLoss
from equireann_pyg.training.metrics import with_unit
from equireann_pyg.training.muon import Muon
from equireann_pyg.training.progress import OneLineProgress
from equireann_pyg.training.schedule import Cosine, Schedule
from equireann_pyg.training.task import PotentialTask

CUTOFF = 3.0  # Angstrom
NUM_ITERATIONS = 3
LEARNING_RATE, BATCH_SIZE, SEED = 1e-2, 4, 0
EPOCHS = 12
SEES, BLIND = "EquiREANN-plus-s", "REANN"


def network(name: str) -> OrbitalNetwork:
    """One of the models: that of ``equireann-plus-s`` with more iterations, or its invariant ancestor."""
    if name == BLIND:
        return REANN(["H", "C"], CUTOFF, num_density=32, num_iterations=NUM_ITERATIONS, hidden_channels=[32, 32])
    return EquiREANNPlus(["H", "C"], CUTOFF, num_radial=64, num_products=48, num_iterations=NUM_ITERATIONS)


class History(lightning.Callback):
    """Validation force error after each epoch."""

    def __init__(self) -> None:
        self.epochs: list[float] = []
        self.errors: list[float] = []

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Note the error of this epoch."""
        if not trainer.sanity_checking:
            self.epochs.append(trainer.current_epoch + 1)
            self.errors.append(float(trainer.callback_metrics[f"val/{with_unit('forces_rmse')}"]))


def in_haste(parameters: Iterable[torch.Tensor]) -> Muon:
    """All matrices, with equal singular values: in so few epochs the weakest directions cannot add up."""
    return Muon(parameters, lr=LEARNING_RATE, largest=1024, steps=5)


def train(name: str, data: AtomsDataModule, epochs: int, seed: int) -> tuple[Potential, History, float]:
    """Train one model; potential with averaged weights, learning curve and seconds."""
    lightning.seed_everything(seed, verbose=False)
    task = PotentialTask(
        network(name),
        loss=PotentialLoss(energy=LinearInLearningRate(4.0, 40.0), forces=1.0),
        optimizer=in_haste,
        repulsion=ZBL(),
        schedule=Schedule(Cosine, warmup_steps=50),
    )
    history = History()
    trainer = lightning.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        gradient_clip_val=1.0,
        callbacks=[ExponentialMovingAverage(0.99), history, OneLineProgress()],
        check_val_every_n_epoch=max(1, epochs // 30),
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )
    start = time.perf_counter()
    trainer.fit(task, data)
    seconds = time.perf_counter() - start
    return task.potential.eval(), history, seconds


def energies(potential: Potential, dataset: Any) -> np.ndarray:
    """Predicted energies in eV, in order."""
    return torch.cat([output["energy"] for output in predict(potential, dataset)]).numpy()


def scan_rmse(reference: np.ndarray, prediction: np.ndarray, chain: np.ndarray) -> float:
    """RMSE of the torsional energy in meV: each chain's scan relative to its own mean."""
    difference = prediction - reference
    for n in np.unique(chain):
        difference[chain == n] -= difference[chain == n].mean()
    return 1e3 * float(np.sqrt(np.mean(difference**2)))


def profiles(frames: Any, scans: dict[str, np.ndarray], path: Path) -> None:
    """One panel for each chain: energy against torsion."""
    chain = np.array([atoms.info["n_carbons"] for atoms in frames])
    angle = np.array([atoms.info["torsion"] for atoms in frames])
    reference = np.array([atoms.get_potential_energy() for atoms in frames])
    chains = np.unique(chain)
    picture, axes = plots.figure(2, (len(chains) + 1) // 2, 2.6, 2.3)
    for axis, n in zip(axes.flat, chains, strict=False):
        pick = chain == n
        curves = {name: values[pick] for name, values in scans.items()}
        plots.torsion_profile(axis, angle[pick], reference[pick], curves, f"C$_{n}$H$_4$")
    axes[0, 0].legend(frameon=False, fontsize=8)
    picture.supxlabel("torsion of the ends (degrees)", fontsize=10)
    picture.supylabel("energy (eV)", fontsize=10)
    plots.save(picture, path)


def parities(potentials: dict[str, Potential], dataset: Any, path: Path) -> None:
    """Test energies and forces of both models against the reference."""
    sizes = np.array([data.z.numel() for data in dataset])
    first = next(iter(potentials.values()))
    free = np.array([float(first.reference_energies[data.z].sum()) for data in dataset])
    energy = (np.array([float(data.energy) for data in dataset]) - free) / sizes
    forces = torch.cat([data.forces for data in dataset]).numpy()
    outputs = {name: predict(potential, dataset) for name, potential in potentials.items()}
    picture, axes = plots.figure(1, 2, 3.8, 3.5)
    predicted = {name: (torch.cat([o["energy"] for o in out]).numpy() - free) / sizes for name, out in outputs.items()}
    plots.parity(axes[0, 0], energy, dict(reversed(predicted.items())), "(E - ΣE⁰)/N", "eV")
    predicted = {name: torch.cat([o["forces"] for o in out]).numpy() for name, out in outputs.items()}
    plots.parity(axes[0, 1], forces, dict(reversed(predicted.items())), "force component", "eV/Å")
    plots.save(picture, path)


def report(potentials: dict[str, Potential], seconds: dict[str, float], out: Path, console: Console) -> None:
    """Table of errors, torsion profiles and parity plots."""
    test, scan = (AtomsDataset(cumulene(part), CUTOFF) for part in ("test", "scan"))
    frames = read_frames(cumulene("scan"))
    chain = np.array([atoms.info["n_carbons"] for atoms in frames])
    reference = np.array([float(data.energy) for data in scan])
    scans = {name: energies(potential, scan) for name, potential in potentials.items()}
    table = Table(
        title=f"Cumulenes, cutoff {CUTOFF:g} Å: RMSE", caption=f"{len(test)} test frames, {len(scan)} scan points"
    )
    for heading in ("model", "energy\nmeV/atom", "forces\nmeV/Å", "torsion scan\nmeV", "training\ns"):
        table.add_column(heading, justify="left" if heading == "model" else "right")
    for name, potential in potentials.items():
        errors = evaluate(potential, test.graphs)["all"]
        torsion = scan_rmse(reference, scans[name], chain)
        cells = (errors["energy_per_atom_rmse"], errors["forces_rmse"], torsion, seconds[name])
        table.add_row(name, *(f"{cell:.3g}" for cell in cells))
    console.print(table)
    profiles(frames, scans, out / "torsion.png")
    parities(potentials, test, out / "parity.png")


def dynamics(potential: Potential, steps: int = 400) -> tuple[float, float]:
    """Drift and fluctuation of the total energy of C6H4 in meV over ``steps`` of 0.5 fs, started with 600 K at rest."""
    atoms = next(atoms for atoms in read_frames(cumulene("scan")) if atoms.info["n_carbons"] == 6)
    atoms.calc = EquiREANNCalculator(potential)
    momenta = (
        np.random.default_rng(SEED).normal(size=(len(atoms), 3)) * np.sqrt(units.kB * 600 * atoms.get_masses())[:, None]
    )
    atoms.set_momenta(momenta - momenta.mean(0))
    totals = []
    verlet = VelocityVerlet(atoms, 0.5 * units.fs)
    verlet.attach(lambda: totals.append(atoms.get_total_energy()))
    verlet.run(steps)
    slope = np.polyfit(np.arange(len(totals)), totals, 1)[0] * steps
    return 1e3 * float(slope), 1e3 * float(np.std(totals))


def parser() -> ArgumentParser:
    """Options of the quickstart."""
    made = ArgumentParser(prog="equireann quickstart", description="Learn the twist of cumulenes in a few minutes.")
    made.add_argument("--epochs", type=PositiveInt, default=EPOCHS, help="passes over the training set")
    made.add_argument("--seed", type=NonNegativeInt, default=SEED, help="random start of the weights")
    made.add_argument("--out", type=str, default="quickstart", help="folder for pictures and potentials")
    return made


def run(options: Namespace) -> None:
    """Train, compare, draw.

    Args:
        options: of :func:`parser`.

    Raises:
        OSError: if the folder cannot be written.
    """
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    console = Console()
    potentials, seconds, curves = {}, {}, {}
    data = AtomsDataModule(CUTOFF, train=str(cumulene("train")), val=str(cumulene("val")), batches=Batches(BATCH_SIZE))
    for name in (SEES, BLIND):
        console.print(f"Training {name} ...")
        potentials[name], history, seconds[name] = train(name, data, options.epochs, options.seed)
        save_potential(potentials[name], out / f"{name.lower()}.pt")
        curves[name] = (history.epochs, history.errors)
    report(potentials, seconds, out, console)
    picture, axes = plots.figure(1, 1, 4.0, 3.0)
    plots.learning_curves(axes[0, 0], curves, "validation force RMSE (meV/Å)")
    plots.save(picture, out / "learning_curve.png")
    drift, fluctuation = dynamics(potentials[SEES])
    console.print(f"200 fs of NVE dynamics of C6H4: drift {drift:.2g} meV, fluctuation {fluctuation:.2g} meV in total")
    console.print(f"Pictures and potentials are in {out}/: torsion.png, parity.png, learning_curve.png, *.pt")
    console.print("Next: equireann fit --config equireann-plus --data.train YOUR.extxyz")
