"""One training: a case, a model and a seed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import lightning
import torch

from experiments.runs.budget import epochs_of
from experiments.runs.case import Case, Sets
from experiments.runs.models import Recipe, fingerprint


@dataclass(frozen=True)
class Job:
    """One training.

    Args:
        case: case, with its budget.
        name: name of the model.
        recipe: the model and its training.
        seed: of parameters and shuffling.
        device: ``"cpu"`` or ``"cuda"``.
    """

    case: Case
    name: str
    recipe: Recipe
    seed: int
    device: str = "cpu"

    def model(self) -> torch.nn.Module:
        """The untrained model, the same for the same seed."""
        lightning.seed_everything(self.seed, verbose=False)
        return self.recipe.build(self.case.elements, self.case.cutoff, self.case.iterations)

    def mark(self, sets: Sets, model: torch.nn.Module) -> str:
        """Changes whenever the run would be another one."""
        sources = [sets.train.source, sets.val.source, *(f"{k} {v.source}" for k, v in sorted(sets.tests.items()))]
        case = self.case
        budget = [case.epochs or f"{self.minutes} minutes", case.batch_size, case.energy_weight, case.stress_weight]
        return fingerprint(model, asdict(self.recipe.training), self.recipe.repulsion, budget, sources)

    def epochs(self, sets: Sets, file: Path) -> int:
        """Epochs of the budget; those of one in minutes are timed once and kept in a file, for all seeds."""
        if self.case.epochs is not None:
            return self.case.epochs
        return epochs_of(self.minutes, self.model(), self.case, sets, self.recipe, file, self.device)

    @property
    def minutes(self) -> float:
        """Budget in minutes of one core, where the case has no number of epochs."""
        return self.case.minutes_of(self.name)

    @property
    def title(self) -> str:
        """For messages."""
        return f"{self.case.name}, {self.name}, seed {self.seed}"
