"""NequIP by ``nequip-train``, at the size of its tutorial."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from experiments.benchmark.own.program import Program, Setup
from experiments.benchmark.peers.nequip import ENVIRONMENT, TUTORIAL

MONITOR = "val0_epoch/weighted_sum"


class Nequip(Program):
    """configs/tutorial.yaml of NequIP 0.19.1: batches of 5, Adam at 0.01, a rate that falls on a plateau, averages with 0.999.

    Not of the tutorial are what depends on the set and the machine, the repulsion, which our other runs do not have, and that
    it stops early, since the time is given. Reference energies are fitted for each element, as its comments advise.
    """

    name, model = "nequip-train", "NequIP (nequip-train)"
    environment = ENVIRONMENT
    batch_size = 5

    def command(self, setup: Setup) -> list[str]:
        """The program, with a configuration that is written here."""
        (setup.folder / "own.yaml").write_text(json.dumps(self.configuration(setup), indent=1))
        program = self.environment.python.with_name("nequip-train")
        return [str(program), "-cp", str(setup.folder), "-cn", "own"]

    def settings(self, setup: Setup) -> Any:
        """All that the training is given."""
        return self.configuration(setup)

    def best(self, setup: Setup) -> Path:
        """The checkpoint with the smallest sum of validation errors."""
        return setup.folder / "best.ckpt"

    def steps(self, frames: int) -> int:
        """Steps of an epoch."""
        return -(-frames // self.batch_size)

    def configuration(self, setup: Setup) -> dict[str, Any]:
        """What NequIP reads; its files are YAML, of which JSON is a part."""
        return {
            "hydra": {"run": {"dir": str(setup.folder / "hydra")}},
            "run": ["train"],
            "data": self.data(setup),
            "trainer": trainer(setup),
            "training_module": training_module(setup),
            "global_options": {"allow_tf32": False},
        }

    def data(self, setup: Setup) -> dict[str, Any]:
        """Files, neighbours, batches and statistics."""
        names, data = list(setup.elements), "nequip.data."
        kinds = {"model_type_names": names, "chemical_species_to_atom_type_map": {name: name for name in names}}
        loader = {"_target_": "torch.utils.data.DataLoader", "num_workers": 0}
        return {
            "_target_": f"{data}datamodule.ASEDataModule",
            "seed": setup.seed,
            "train_file_path": str(setup.folder / "train.extxyz"),
            "val_file_path": str(setup.folder / "val.extxyz"),
            "transforms": [
                {"_target_": f"{data}transforms.ChemicalSpeciesToAtomTypeMapper", **kinds},
                {"_target_": f"{data}transforms.NeighborListTransform", "r_max": setup.cutoff},
            ],
            "train_dataloader": {**loader, "batch_size": self.batch_size, "shuffle": True},
            "val_dataloader": {**loader, "batch_size": 10},
            "stats_manager": {
                "_target_": f"{data}CommonDataStatisticsManager",
                "dataloader_kwargs": {"batch_size": 10},
                "type_names": names,
            },
        }


def trainer(setup: Setup) -> dict[str, Any]:
    """Lightning's trainer on the CPU."""
    callbacks = "lightning.pytorch.callbacks."
    best = {"monitor": MONITOR, "dirpath": str(setup.folder), "filename": "best"}
    return {
        "_target_": "lightning.Trainer",
        "accelerator": "cpu",
        "max_epochs": setup.epochs,
        "logger": False,
        "enable_progress_bar": False,
        "num_sanity_val_steps": 0,
        "callbacks": [
            {"_target_": f"{callbacks}ModelCheckpoint", **best},
            {"_target_": "experiments.benchmark.own.callback.StepTimes", "path": str(setup.laps)},
        ],
    }


def training_module(setup: Setup) -> dict[str, Any]:
    """Model, loss, optimiser and schedule."""
    train, optim = "nequip.train.", "torch.optim."
    errors = {"_target_": f"{train}EnergyForceMetrics", "coeffs": {"total_energy_mae": 1.0, "forces_mae": 1.0}}
    plateau = {"factor": 0.6, "patience": 5, "threshold": 0.2, "min_lr": 1e-6}
    return {
        "_target_": f"{train}EMALightningModule",
        "ema_decay": 0.999,
        "loss": {
            "_target_": f"{train}EnergyForceLoss",
            "per_atom_energy": True,
            "coeffs": {"total_energy": 1.0, "forces": 1.0},
        },
        "val_metrics": errors,
        "train_metrics": errors,
        "optimizer": {"_target_": f"{optim}Adam", "lr": 0.01},
        "lr_scheduler": {
            "scheduler": {"_target_": f"{optim}lr_scheduler.ReduceLROnPlateau", **plateau},
            "monitor": MONITOR,
            "interval": "epoch",
            "frequency": 1,
        },
        "model": model(setup),
    }


def model(setup: Setup) -> dict[str, Any]:
    """Sizes of the tutorial, with statistics of the set."""
    return {
        "_target_": "nequip.model.NequIPGNNModel",
        "seed": setup.seed,
        "model_dtype": "float32",
        "type_names": list(setup.elements),
        "r_max": setup.cutoff,
        **TUTORIAL,
        "num_bessels": 8,
        "bessel_trainable": False,
        "polynomial_cutoff_p": 6,
        "avg_num_neighbors": "${training_data_stats:num_neighbors_mean}",
        "per_type_energy_scales": "${training_data_stats:per_type_forces_rms}",
        "per_type_energy_shifts": setup.references,
        "per_type_energy_scales_trainable": False,
        "per_type_energy_shifts_trainable": False,
    }
