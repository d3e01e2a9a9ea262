"""MACE by ``mace_run_train``, at the size of MACE-medium."""

from __future__ import annotations

from pathlib import Path

from experiments.benchmark.own.program import Program, Setup
from experiments.benchmark.peers.mace import ENVIRONMENT

STAGE_TWO = 0.8
"""Part of the epochs after which energies get their large weight: 1200 of 1500 in the documentation."""


class Mace(Program):
    """128x0e + 128x1o, trained as https://mace-docs.readthedocs.io has it, with the batches of 5 of the paper on 3BPA.

    Adam (AMSGrad) at 0.01, averages with 0.99, a weight of 100 for forces, and a second stage at 0.001 with a weight of 1000
    for energies; reference energies fitted; single precision, which the documentation says is twice as fast.
    """

    name, model = "mace_run_train", "MACE-medium (mace_run_train)"
    environment = ENVIRONMENT
    batch_size = 5

    def command(self, setup: Setup) -> list[str]:
        """The program with its options."""
        options = {
            **{"name": "own", "work_dir": str(setup.folder), "seed": setup.seed, "device": "cpu"},
            **{"train_file": setup.folder / "train.extxyz", "valid_file": setup.folder / "val.extxyz"},
            **{"model": "ScaleShiftMACE", "num_channels": 128, "max_L": 1, "r_max": setup.cutoff},
            **{"E0s": "average", "default_dtype": "float32", "plot": False},
            **{"batch_size": self.batch_size, "lr": 0.01, "ema_decay": 0.99, "max_num_epochs": setup.epochs},
            **({"start_swa": stage_two(setup.epochs)} if setup.epochs > 1 else {}),
        }
        flags = ["--ema", "--amsgrad", *(["--swa"] if setup.epochs > 1 else [])]
        return self.python("launch", str(setup.laps), *(f"--{name}={value}" for name, value in options.items()), *flags)

    def best(self, setup: Setup) -> Path:
        """The model of the second stage with the smallest validation loss."""
        second = setup.folder / "own_stagetwo.model"
        return second if second.is_file() else setup.folder / "own.model"

    def steps(self, frames: int) -> int:
        """Steps of an epoch: MACE leaves out a last batch that is not full."""
        return frames // self.batch_size


def stage_two(epochs: int) -> int:
    """First epoch of the second stage, so that each stage has one at least."""
    return max(1, min(epochs - 1, round(STAGE_TWO * epochs)))
