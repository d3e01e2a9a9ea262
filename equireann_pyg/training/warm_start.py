"""Closed-form start of the linear part of a readout."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

from equireann_pyg.potential.potential import Potential
from equireann_pyg.training.loss import PotentialLoss
from equireann_pyg.training.preparation import spread


class RidgeWarmStart:
    r"""Ridge regression of the linear part of the readout on energies, forces and stress, before the first step.

    .. math:: w = \arg\min_w L(w) + \alpha |w|^2

    What a potential predicts is linear in these weights, so the training loss L, with its final weights, is quadratic in
    them: conjugate gradients find the minimum, one pass over a sample of the training set for each of their steps.

    Args:
        alpha: of the penalty, in units of the loss; keeps weights small that the sample does not determine.
        steps: largest number of steps; they end earlier where the gradient has fallen by five orders of magnitude, or where
            curvature cannot be told from rounding.
        frames: size of the sample, spread evenly over the training set.
        batch_size: frames evaluated together.

    Raises:
        ValueError: for an ``alpha`` that is negative or not finite, or fewer than one step, frame or frame of a batch.
    """

    def __init__(self, alpha: float = 1e-3, steps: int = 30, frames: int = 200, batch_size: int = 8) -> None:
        if not 0 <= alpha < float("inf") or min(steps, frames, batch_size) < 1:
            raise ValueError(
                "RidgeWarmStart: expected a finite alpha of 0 or more, and steps, frames and batch_size of 1 or more, got "
                f"{alpha}, {steps}, {frames} and {batch_size}"
            )
        self.alpha, self.steps, self.frames, self.batch_size = alpha, steps, frames, batch_size

    def __call__(self, potential: Potential, dataset: Sequence[Data], loss: PotentialLoss) -> None:
        """Set the linear weights of an otherwise untrained potential, which keeps all else.

        Args:
            potential: prepared potential.
            dataset: training set.
            loss: training loss.

        Raises:
            ValueError: if the model's readout has no linear part.
        """
        weights = linear_weights(potential)
        sample = spread(dataset, self.frames)
        chunks = [sample[at : at + self.batch_size] for at in range(0, len(sample), self.batch_size)]
        batches = [Batch.from_data_list(chunk).to(potential.scale.device) for chunk in chunks]
        mode = potential.training
        potential.train()
        try:
            self._solve(Quadratic(potential, weights, batches, loss))
        finally:
            potential.train(mode)

    def _solve(self, quadratic: Quadratic) -> None:
        """Conjugate gradients, from the weights at hand."""
        start = quadratic.point()
        slope = quadratic.gradient(start)
        solution = torch.zeros_like(start)
        residual = -slope - 2 * self.alpha * start
        direction, square = residual.clone(), residual.square().sum()
        enough = 1e-10 * square
        past: list[Tensor] = []  # unit residuals
        stiffest, rounding = 0.0, torch.finfo(quadratic.weights[0].dtype).eps
        for _ in range(self.steps):
            if square <= enough:
                break
            past.append(residual / square.sqrt())
            unit = direction / direction.norm()
            image = direction.norm() * (quadratic.gradient(start + unit) - slope) + 2 * self.alpha * direction
            curvature = float(direction @ image / direction.square().sum())
            stiffest = max(stiffest, curvature)
            if not curvature > rounding * stiffest:
                break
            length = square / (direction @ image)
            solution, residual = solution + length * direction, orthogonal(residual - length * image, past)
            square, last = residual.square().sum(), square
            direction = residual + square / last * direction
        quadratic.move(start + solution)


def orthogonal(vector: Tensor, basis: Sequence[Tensor]) -> Tensor:
    """Part of a vector orthogonal to an orthonormal basis: left to itself, conjugacy is lost within a dozen steps."""
    rows = torch.stack(list(basis))
    for _ in range(2):  # once is not enough in finite precision
        vector = vector - rows.T @ (rows @ vector)
    return vector


class Quadratic:
    """Gradient of the loss on a sample with respect to some weights, as one vector ``[P]`` in double precision."""

    def __init__(
        self, potential: Potential, weights: Sequence[Tensor], batches: Sequence[Data], loss: PotentialLoss
    ) -> None:
        self.potential, self.weights, self.batches, self.loss = potential, list(weights), batches, loss
        self.counts = torch.stack([self._sums(batch)[1] for batch in batches]).sum(0).clamp(min=1)

    def point(self) -> Tensor:
        """The weights."""
        return torch.cat([weight.detach().double().flatten() for weight in self.weights])

    @torch.no_grad()
    def move(self, point: Tensor) -> None:
        """Set the weights."""
        for weight, part in zip(self.weights, point.split([w.numel() for w in self.weights]), strict=True):
            weight.copy_(part.view_as(weight))

    def gradient(self, point: Tensor) -> Tensor:
        """Gradient of the loss at a point, where the weights are left."""
        self.move(point)
        total = torch.zeros_like(point)
        for batch in self.batches:
            means = self._sums(batch)[0] / self.counts
            parts = torch.autograd.grad(self.loss.weighted(self.loss.final(), means), self.weights)
            total += torch.cat([part.double().flatten() for part in parts])
        return total

    def _sums(self, batch: Data) -> tuple[Tensor, Tensor]:
        return self.loss(self.potential(batch), batch, self.potential.scales())


def linear_weights(potential: Potential) -> list[Tensor]:
    """Weights in which the energy of a potential is linear.

    Raises:
        ValueError: if the model's readout names none.
    """
    named = getattr(getattr(potential.model, "readout", None), "linear_weights", None)
    weights = list(named()) if named is not None else []
    if not weights:
        raise ValueError(
            f"RidgeWarmStart: {type(potential.model).__name__} has no linear part in its readout: use readout=AllReadout()"
        )
    return weights
