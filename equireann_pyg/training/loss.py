"""Training loss on energy per atom, forces, stress and properties, with weights that may follow a schedule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch_geometric.data import Data

from equireann_pyg.graph.convert import label_of
from equireann_pyg.graph.labels import LABELS
from equireann_pyg.potential.derivatives import volume
from equireann_pyg.properties.base import per_graph


class DivergenceError(ValueError):
    """The training has run away: a loss is not finite."""


class WeightSchedule:
    """Base class of loss-weight schedules; ``final`` is the weight that validation uses from the first epoch on."""

    final: float

    def __call__(self, epoch: int, lr_fraction: float) -> float:
        """Weight at an epoch (from 0) and at a fraction of the starting learning rate."""
        raise TypeError(f"{type(self).__name__} must define __call__(epoch, lr_fraction)")


@dataclass
class LinearInEpoch(WeightSchedule):
    """Weight that goes from ``start`` to ``final`` over ``epochs`` epochs.

    Args:
        start: first weight.
        final: last weight.
        epochs: length of the ramp.
    """

    start: float
    final: float
    epochs: int

    def __call__(self, epoch: int, lr_fraction: float) -> float:
        """Weight on the ramp, which depends on the epoch alone."""
        return self.start + (self.final - self.start) * min(1.0, epoch / self.epochs)


@dataclass
class LinearInLearningRate(WeightSchedule):
    """REANN's schedule: linear in the current learning rate, from ``start`` at the first to ``final`` at zero.

    Args:
        start: weight at the starting learning rate.
        final: weight as the learning rate vanishes.
    """

    start: float
    final: float

    def __call__(self, epoch: int, lr_fraction: float) -> float:
        """Weight between the last and the first, by the fraction of the learning rate that is left."""
        return self.final + (self.start - self.final) * lr_fraction


Weight = float | WeightSchedule


def residuals(output: Mapping[str, Tensor], data: Data) -> dict[str, Tensor]:
    """Prediction minus label, NaN where there is no label.

    Returns:
        what is predicted of :data:`equireann_pyg.graph.LABELS`, in their shapes and units, but ``energy`` per atom.
    """
    errors = {name: output[name] - label_of(data, name) for name in LABELS if name in output}
    return {**errors, "energy": errors["energy"] / atoms_per_graph(data)}


def labelled(data: Data) -> dict[str, Tensor]:
    """Which labels exist and can be compared, with the shapes of :func:`residuals`.

    A prediction that is not a number still counts, so that a diverged model shows.
    """
    known = {name: torch.isfinite(label_of(data, name)) for name in LABELS}
    return {**known, "stress": known["stress"] & (volume(data.cell).view(-1, 1, 1) > 0)}


def chosen(values: Tensor, where: Tensor) -> Tensor:
    """The values where ``where`` is true, in a row; beside the CPU, where to count them is to wait, zeros for the others."""
    return values[where] if values.device.type == "cpu" else torch.where(where, values, 0.0)


def atoms_per_graph(data: Data) -> Tensor:
    """Number of atoms of each graph, ``[G]`` float64."""
    if data.batch is None:
        return data.pos.new_full((1,), data.z.numel())
    return per_graph(torch.ones_like(data.batch), data.batch, data.cell.size(0)).to(data.pos.dtype)


class PotentialLoss(torch.nn.Module):
    r"""Weighted mean squared errors in units of the potential's scales, s (force RMS of the training set) and s_p.

    .. math::
        L = \frac{1}{s^2} \Bigl[ w_E \langle (\Delta E / N)^2 \rangle + w_F \langle \Delta F^2 \rangle
            + w_S \langle (V \Delta\sigma / N)^2 \rangle \Bigr] + \sum_p \frac{w_p}{s_p^2} \langle \Delta p^2 \rangle

    Means run over the labels that exist; the stress enters as virial per atom, which has the unit of the energy. The terms p
    are those of the properties of the potential, if it has any; :math:`s_p` is the root mean square of their labels.

    Args:
        energy: weight or schedule of the energy.
        forces: weight or schedule of the forces.
        stress: weight or schedule of the stress.
        dipole: weight or schedule of the dipole moment.
        polarizability: weight or schedule of the polarizability.
        charges: weight or schedule of the partial charges.
    """

    def __init__(
        self,
        energy: Weight = 10.0,
        forces: Weight = 1.0,
        stress: Weight = 1.0,
        dipole: Weight = 1.0,
        polarizability: Weight = 1.0,
        charges: Weight = 1.0,
    ) -> None:
        super().__init__()
        self.weights: dict[str, Weight] = {
            "energy": energy,
            "forces": forces,
            "stress": stress,
            "dipole": dipole,
            "polarizability": polarizability,
            "charges": charges,
        }

    def current(self, epoch: int, lr_fraction: float) -> dict[str, float]:
        """Weights at this point of the training."""
        return {
            name: weight(epoch, lr_fraction) if isinstance(weight, WeightSchedule) else weight
            for name, weight in self.weights.items()
        }

    def final(self) -> dict[str, float]:
        """Weights at the end of all schedules."""
        return {
            name: weight.final if isinstance(weight, WeightSchedule) else weight
            for name, weight in self.weights.items()
        }

    def forward(self, output: Mapping[str, Tensor], data: Data, scales: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Sums of squares and numbers of labels of each term, in the order of the weights, in units of the scales."""
        errors, known = residuals(output, data), labelled(data)
        if "stress" in errors:
            size = volume(data.cell) / atoms_per_graph(data)  # -> [G]
            errors["stress"] = errors["stress"] * size.view(-1, 1, 1)
        sums, counts = [], []
        for name in self.weights:
            error = errors.get(name, output["energy"].new_empty(0))
            where = known[name] if name in errors else torch.zeros_like(error, dtype=torch.bool)
            sums.append((chosen(error, where) / scales.get(name, 1.0)).square().sum())
            counts.append(where.sum())
        return torch.stack(sums), torch.stack(counts)

    def weighted(self, weights: Mapping[str, float], means: Tensor) -> Tensor:
        """Sum of the terms with their weights."""
        return torch.stack([mean * weights[name] for name, mean in zip(self.weights, means, strict=True)]).sum()
