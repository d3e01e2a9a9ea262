"""Training: the task, its loss, errors and callbacks, and how a potential is prepared for a training set."""

from __future__ import annotations

from typing import TYPE_CHECKING

from equireann_pyg.lazy import lazy_names

if TYPE_CHECKING:
    from equireann_pyg.training.callbacks import (
        BestCheckpoint,
        ExponentialMovingAverage,
        LastCheckpoint,
        OptimizerOptions,
        StopAtSmallestLearningRate,
    )
    from equireann_pyg.training.evaluating import Evaluation
    from equireann_pyg.training.finetuning import adapt_potential, add_elements, starting_potential
    from equireann_pyg.training.loss import (
        DivergenceError,
        LinearInEpoch,
        LinearInLearningRate,
        PotentialLoss,
        WeightSchedule,
    )
    from equireann_pyg.training.metrics import QUANTITIES, PotentialErrors, three_digits, with_unit
    from equireann_pyg.training.muon import Muon
    from equireann_pyg.training.preparation import prepare_potential, without_repulsion
    from equireann_pyg.training.progress import OneLineProgress
    from equireann_pyg.training.references import (
        References,
        find_references,
        fit_binding,
        fit_reference_energies,
        isolated_atoms,
    )
    from equireann_pyg.training.schedule import Cosine, Schedule
    from equireann_pyg.training.task import PotentialTask, adamw
    from equireann_pyg.training.warm_start import RidgeWarmStart

__all__ = [
    "QUANTITIES",
    "BestCheckpoint",
    "Cosine",
    "DivergenceError",
    "Evaluation",
    "ExponentialMovingAverage",
    "LastCheckpoint",
    "LinearInEpoch",
    "LinearInLearningRate",
    "Muon",
    "OneLineProgress",
    "OptimizerOptions",
    "PotentialErrors",
    "PotentialLoss",
    "PotentialTask",
    "References",
    "RidgeWarmStart",
    "Schedule",
    "StopAtSmallestLearningRate",
    "WeightSchedule",
    "adamw",
    "adapt_potential",
    "add_elements",
    "find_references",
    "fit_binding",
    "fit_reference_energies",
    "isolated_atoms",
    "prepare_potential",
    "starting_potential",
    "three_digits",
    "with_unit",
    "without_repulsion",
]

# Imported at first use, so that a module of this package brings no more than it needs.
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "callbacks": (
            "BestCheckpoint",
            "ExponentialMovingAverage",
            "LastCheckpoint",
            "OptimizerOptions",
            "StopAtSmallestLearningRate",
        ),
        "evaluating": ("Evaluation",),
        "finetuning": ("adapt_potential", "add_elements", "starting_potential"),
        "loss": (
            "DivergenceError",
            "PotentialLoss",
            "LinearInEpoch",
            "LinearInLearningRate",
            "WeightSchedule",
        ),
        "metrics": ("QUANTITIES", "PotentialErrors", "three_digits", "with_unit"),
        "muon": ("Muon",),
        "preparation": ("prepare_potential", "without_repulsion"),
        "progress": ("OneLineProgress",),
        "references": ("References", "find_references", "fit_binding", "fit_reference_energies", "isolated_atoms"),
        "schedule": ("Cosine", "Schedule"),
        "task": ("PotentialTask", "adamw"),
        "warm_start": ("RidgeWarmStart",),
    },
)
