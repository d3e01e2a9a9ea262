"""Standardised features: zero mean and unit variance per element, from the statistics of a training set."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from equireann_pyg.ops import soft_standardize

LIMIT = 10.0
"""Features beyond this many standard deviations grow only logarithmically."""


class ElementStandardize(torch.nn.Module):
    r"""Shift and scale the features of each element, :math:`u = (x - \mu_s) / \sigma_s`.

    The statistics are buffers: part of a checkpoint, not trained. They are the identity until :meth:`fit`.

    Args:
        num_species: number of elements.
        num_features: number of features k.

    Shapes:
        - input: ``x [N, k]``, ``species [N]`` element index
        - output: ``[N, k]``
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, num_species: int, num_features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(num_species, num_features))
        self.register_buffer("scale", torch.ones(num_species, num_features))

    def reset_parameters(self) -> None:
        """Back to the identity."""
        self.mean.zero_()
        self.scale.fill_(1.0)

    @torch.no_grad()
    def fit(self, x: Tensor, species: Tensor, floor: float = 1e-3, only: Collection[int] | None = None) -> None:
        """Take mean and standard deviation of ``x [N, k]`` for every element that occurs.

        Args:
            x: features.
            species: element index of each row.
            only: element indices to do it for; all by default.
            floor: smallest standard deviation relative to the mean size of a feature, so that rounding noise of
                a constant feature is never blown up.
        """
        for s in set(species.tolist()) if only is None else set(species.tolist()) & set(only):
            rows = x[species == s].double()  # -> [N_s, k]
            mean, size = rows.mean(0), rows.square().mean(0).sqrt()
            deviation = (rows - mean).square().mean(0).sqrt()
            self.mean[s] = mean.to(self.mean.dtype)
            self.scale[s] = torch.maximum(deviation, floor * size + 1e-12).to(self.scale.dtype)

    def forward(self, x: Tensor, species: Tensor) -> Tensor:
        """Standardise."""
        return (x - self.mean.index_select(0, species)) / self.scale.index_select(0, species)

    def extra_repr(self) -> str:
        return f"num_species={self.mean.size(0)}, num_features={self.mean.size(1)}"


class SoftStandardize(ElementStandardize):
    r"""Standardised features that grow only logarithmically far out, :math:`y = a \operatorname{asinh}(u / a)`, a = 10.

    No structure, however compressed, then makes a recursion run away. Arguments and shapes as for
    :class:`ElementStandardize`.
    """

    def forward(self, x: Tensor, species: Tensor) -> Tensor:
        """Standardise; beyond ten standard deviations features grow logarithmically."""
        return soft_standardize(x, species, self.mean, self.scale, LIMIT)


@torch.no_grad()
def calibrate(module: torch.nn.Module, *inputs: Tensor, only: Collection[int] | None = None) -> None:
    """Evaluate a module once, and let every part of it that has a method ``fit`` take its statistics on the way.

    Each part sees its input as the parts before it, already fitted, make it. A part that is evaluated several times, shared by
    iterations, takes the statistics of the first.

    Args:
        module: module to evaluate.
        *inputs: its arguments.
        only: indices of the elements whose standardisation is to be taken; all other statistics then stay as they are.
    """
    fitted: set[torch.nn.Module] = set()

    def fit(part: torch.nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if part not in fitted:  # again would spoil what later parts have taken already
            part.fit(*inputs, **({} if only is None else {"only": only}))  # type: ignore[operator]
            fitted.add(part)

    parts = (part for part in module.modules() if hasattr(part, "fit"))
    hooks = [
        part.register_forward_pre_hook(fit) for part in parts if only is None or isinstance(part, ElementStandardize)
    ]
    try:
        module(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
