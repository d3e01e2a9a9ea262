"""PyG's own SchNet in our potential and training task.

    python -m experiments.plugging.schnet [--epochs 30]

Any module with ``cutoff``, ``elements`` and ``forward(z, edge_index, edge_vec) -> atomic energies`` gets forces,
stress, reference energies, training, checkpoints and an ASE calculator. Here SchNet and EquiREANN learn the same rattled
copper-gold crystals (effective medium theory of ASE), on the same graphs, with the same loss and loop.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import warnings
from pathlib import Path
from typing import Any

import lightning
import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from torch import Tensor
from torch_geometric.nn import SchNet

from equireann_pyg import EquiREANN
from equireann_pyg.data import AtomsDataModule, Batches, ValidationSplit
from equireann_pyg.elements import SYMBOLS, atomic_numbers
from equireann_pyg.training import PotentialTask
from equireann_pyg.training.metrics import with_unit

ELEMENTS, CUTOFF = ["Cu", "Au"], 4.5


class SchNetEnergies(torch.nn.Module):
    """Atomic energies of :class:`torch_geometric.nn.SchNet` on given edges.

    SchNet's forward would search neighbours itself, without periodicity and at most 32 of them; its layers do not.

    Args:
        elements: chemical symbols or atomic numbers.
        cutoff: in Angstrom.
        hidden_channels: width of embedding and filters.
        num_interactions: number of interaction blocks.
        num_gaussians: number of radial functions.
    """

    def __init__(
        self,
        elements: list[str],
        cutoff: float = 5.0,
        hidden_channels: int = 64,
        num_interactions: int = 3,
        num_gaussians: int = 20,
    ) -> None:
        super().__init__()
        self.elements = atomic_numbers(elements)
        self.cutoff = cutoff
        self.schnet = SchNet(hidden_channels, hidden_channels, num_interactions, num_gaussians, cutoff)
        self.config = {
            "elements": [SYMBOLS[number] for number in self.elements],
            "cutoff": cutoff,
            "hidden_channels": hidden_channels,
            "num_interactions": num_interactions,
            "num_gaussians": num_gaussians,
        }

    def forward(self, z: Tensor, edge_index: Tensor, edge_vec: Tensor) -> Tensor:
        """Atomic energies ``[N]``."""
        r = edge_vec.norm(dim=-1)
        inside = r < self.cutoff  # SchNet's cosine cutoff rises again beyond the cutoff
        edge_index, r = edge_index[:, inside], r[inside]
        h, basis = self.schnet.embedding(z), self.schnet.distance_expansion(r)
        for interaction in self.schnet.interactions:
            h = h + interaction(h, edge_index, r, basis)
        return self.schnet.lin2(self.schnet.act(self.schnet.lin1(h))).squeeze(-1)


def rattled_crystal(seed: int) -> Atoms:
    """A strained, rattled cell of eight atoms with energy, forces and stress."""
    atoms = bulk("Cu", "fcc", a=3.8, cubic=True) * (2, 1, 1)
    atoms.symbols[seed % 8] = atoms.symbols[3] = "Au"
    generator = torch.Generator().manual_seed(seed)
    strain = 0.03 * torch.randn(3, 3, generator=generator, dtype=torch.float64)
    atoms.set_cell(atoms.cell @ (torch.eye(3) + strain).numpy(), scale_atoms=True)
    atoms.positions += 0.08 * torch.randn(len(atoms), 3, generator=generator, dtype=torch.float64).numpy()
    atoms.calc = EMT()
    labels = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces(), "stress": atoms.get_stress()}
    atoms.calc = SinglePointCalculator(atoms, **labels)
    return atoms


def train(model: torch.nn.Module, file: Path, epochs: int, **options: Any) -> PotentialTask:
    """Train a model of atomic energies; the task then holds the potential."""
    lightning.seed_everything(0, verbose=False)
    task = PotentialTask(model, optimizer=lambda parameters: torch.optim.Adam(parameters, lr=5e-3))
    data = AtomsDataModule(CUTOFF, train=str(file), split=ValidationSplit(0.2), batches=Batches(8))
    quiet = {"logger": False, "enable_checkpointing": False, "enable_model_summary": False, "accelerator": "cpu"}
    trainer = lightning.Trainer(max_epochs=epochs, inference_mode=False, **quiet, **options)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*does not have many workers.*")
        warnings.filterwarnings("ignore", ".*number of training batches.*")
        trainer.fit(task, data)
    return task


def main(arguments: list[str] | None = None) -> None:
    """Train both models and print their validation errors."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=30)
    epochs = parser.parse_args(arguments).epochs
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "copper-gold.extxyz"
        write(file, [rattled_crystal(seed) for seed in range(60)])
        torch.manual_seed(0)
        models = [SchNetEnergies(ELEMENTS, CUTOFF), EquiREANN(ELEMENTS, CUTOFF, num_density=32, num_iterations=1)]
        for model in models:
            errors = train(model, file, epochs, enable_progress_bar=False).trainer.callback_metrics
            energy, forces = (
                float(errors["val/" + with_unit(f"{name}_rmse")]) for name in ("energy_per_atom", "forces")
            )
            print(f"{type(model).__name__:15s} {energy:6.1f} meV/atom {forces:7.1f} meV/Angstrom")


if __name__ == "__main__":
    main()
