"""Errors over a whole set: sums are kept, so that no mean of batch means is ever taken."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data
from torchmetrics import Metric

from equireann_pyg.training.loss import atoms_per_graph, chosen, labelled, residuals

QUANTITIES = {
    "energy": "meV",
    "energy_per_atom": "meV/atom",
    "forces": "meV/A",
    "stress": "meV/A^3",
    "dipole": "me A",
    "polarizability": "me A^2/V",
    "charges": "me",
}
"""Reported quantities and their units."""


SHOWN = {
    "E meV/atom": "energy_per_atom_rmse",
    "F meV/Å": "forces_rmse",
    "S meV/Å³": "stress_rmse",
    "mu me Å": "dipole_rmse",
}
"""Validation errors in the progress bar."""


def with_unit(error: str) -> str:
    """Name of an error for logs and tables of others' tools: ``forces_rmse_meV_per_A`` for ``forces_rmse``."""
    unit = QUANTITIES[error.rpartition("_")[0]]
    return f"{error}_{unit.replace('/', '_per_').replace('^', '').replace(' ', '_')}"


def three_digits(value: float) -> str:
    """Number with three significant digits and no exponent."""
    return np.format_float_positional(value, 3, fractional=False, trim="-")


class PotentialErrors(Metric):
    """RMSE and MAE over a set, of energy, energy per atom, and of each component of everything else that is predicted.

    Labels that are NaN are left out. Exact over several processes.
    """

    full_state_update = False
    squares: Tensor
    absolutes: Tensor
    counts: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("squares", "absolutes", "counts"):
            self.add_state(name, torch.zeros(len(QUANTITIES), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, output: dict[str, Tensor], data: Data) -> None:
        """Add a batch."""
        errors = residuals(output, data)
        known = labelled(data)
        known["energy_per_atom"] = known["energy"]
        errors |= {"energy_per_atom": errors["energy"], "energy": errors["energy"] * atoms_per_graph(data)}
        for row, name in enumerate(QUANTITIES):
            if name in errors:
                error = chosen(errors[name], known[name]).detach().double()
                self.squares[row] += error.square().sum()
                self.absolutes[row] += error.abs().sum()
                self.counts[row] += known[name].sum()

    def compute(self) -> dict[str, float]:
        """``{"energy_rmse": ..., "energy_mae": ...}`` in the units of :data:`QUANTITIES`, for what had labels."""
        result = {}
        for row, name in enumerate(QUANTITIES):
            count = float(self.counts[row])
            if count:
                result[f"{name}_rmse"] = 1e3 * float(self.squares[row] / count) ** 0.5
                result[f"{name}_mae"] = 1e3 * float(self.absolutes[row] / count)
        return result
