r"""Degree by degree: mixing of channels, scales and scalar products of orbitals; the components keep their meaning."""

from __future__ import annotations

import torch
from torch import Tensor

from equireann_pyg.nn.layout import degree_of
from equireann_pyg.ops import degree_dot, degree_linear

LIMIT = 5.0
"""Root mean square, per component, at which the size of an orbital levels off."""


class DegreeLinear(torch.nn.Module):
    r"""Channel mixing, :math:`\phi_{lm,k} = n^{-1/2} \sum_n W_{l,nk}\, \psi_{lm,n}`; equivariant, since m is untouched.

    The weights are unit normal and the root of the width is apart, so that one learning rate suits every width.

    Args:
        components: number of angular components of each degree l = 0..L.
        in_channels: number of channels n.
        out_channels: number of channels k.

    Shapes:
        - input: ``[N, lm, n]``
        - output: ``[N, lm, k]``
    """

    def __init__(self, components: tuple[int, ...], in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.components = tuple(components)
        self.weight = torch.nn.Parameter(torch.empty(len(components), in_channels, out_channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Unit normal weights, which keep the variance."""
        torch.nn.init.normal_(self.weight)

    def matrices(self) -> Tensor:
        """What the channels of each degree are multiplied by, ``[L + 1, n, k]``."""
        return self.weight * self.weight.size(1) ** -0.5

    def forward(self, orbital: Tensor) -> Tensor:
        """Mix the channels."""
        return degree_linear(orbital, self.matrices(), self.components)

    def extra_repr(self) -> str:
        _, in_channels, out_channels = self.weight.shape
        return f"{list(self.components)}, {in_channels}, {out_channels}"


class DegreeDot(torch.nn.Module):
    r"""Scalar products of two orbitals, :math:`\sum_m a_{lm,n} b_{lm,n}` for every degree: invariants.

    Args:
        components: number of angular components of each degree l = 0..L.

    Shapes:
        - input: ``a [N, lm, n]``, ``b [N, lm, n]``
        - output: ``[N, (L + 1) n]``
    """

    def __init__(self, components: tuple[int, ...]) -> None:
        super().__init__()
        self.components = tuple(components)

    def reset_parameters(self) -> None:
        """Nothing to reset."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Multiply and sum over the components."""
        return degree_dot(a, b, self.components).flatten(1)

    def extra_repr(self) -> str:
        return f"{list(self.components)}"


class ScaledLinear(DegreeLinear):
    r"""Channel mixing of orbitals brought to unit variance.

    .. math:: \phi_{lm,k} = n^{-1/2} \sum_n W_{l,nk}\, \psi_{lm,n} / \sigma_l

    The scale :math:`\sigma_l` comes from a training set (:func:`degree_scale`) and is one until :meth:`fit`: a buffer, part
    of a checkpoint, not trained. Arguments and shapes as for :class:`DegreeLinear`.
    """

    scale: Tensor

    def __init__(self, components: tuple[int, ...], in_channels: int, out_channels: int) -> None:
        super().__init__(components, in_channels, out_channels)
        self.register_buffer("scale", torch.ones(len(components)))

    def reset_parameters(self) -> None:
        """Unit normal weights; no scale."""
        super().reset_parameters()
        if hasattr(self, "scale"):
            self.scale.fill_(1.0)

    @torch.no_grad()
    def fit(self, orbital: Tensor) -> None:
        """Take the scale from the orbitals of a training set."""
        self.scale.copy_(degree_scale(orbital, self.components))

    def matrices(self) -> Tensor:
        """Weights over the scale of their degree, ``[L + 1, n, k]``."""
        return super().matrices() / self.scale.view(-1, 1, 1)


def degree_scale(orbital: Tensor, components: tuple[int, ...]) -> Tensor:
    r"""Scale :math:`\sigma_l \propto l + 1` of every degree that makes the mean square of an orbital one, ``[L + 1]``.

    All channels of a degree share it. A scale for each would make as much of a channel that few atoms reach as of one that
    every bond fills, and of the sharpest function of the angles as of the smoothest: the model would fit the training set
    as well and predict others worse. One where the orbital vanishes.

    Args:
        orbital: ``[N, lm, n]``.
        components: number of angular components of each degree l = 0..L.
    """
    growth = torch.arange(1.0, len(components) + 1, dtype=torch.float64, device=orbital.device)  # -> [L + 1]
    damped = orbital.double() / growth.repeat_interleave(torch.tensor(components, device=orbital.device)).unsqueeze(-1)
    size = damped.square().mean().sqrt()
    return (growth * size if size > 1e-12 else torch.ones_like(growth)).to(orbital)


class SoftLimit(torch.nn.Module):
    r"""Orbitals whose size levels off far out, :math:`\psi / \sqrt{1 + |\psi_l|^2 / (2l + 1) a^2}`, a = 5.

    The norm :math:`|\psi_l|` of a degree is invariant, so the direction stays. However compressed a structure, and however
    high the order of a product, no recursion can then run away.

    Args:
        components: number of angular components of each degree l = 0..L.

    Shapes:
        - input and output: ``[N, lm, n]``, of about unit variance
    """

    def __init__(self, components: tuple[int, ...]) -> None:
        super().__init__()
        self.square = DegreeDot(components)
        squares = LIMIT**2 * torch.tensor(components, dtype=torch.get_default_dtype()).unsqueeze(-1)
        self.register_buffer("_squares", squares, persistent=False)  # -> [L + 1, 1]
        self.register_buffer("_degree", degree_of(self.square.components), persistent=False)

    def reset_parameters(self) -> None:
        """Nothing to reset."""

    def forward(self, orbital: Tensor) -> Tensor:
        """Divide every degree and channel by a factor that grows with its size."""
        sizes = self.square(orbital, orbital).unflatten(1, (len(self.square.components), -1))  # -> [N, L + 1, n]
        factor = torch.rsqrt(1 + sizes / self._squares)
        return orbital * factor.index_select(1, self._degree)  # type: ignore[arg-type]
