"""How large: features and orbitals of about unit variance, from the statistics of a training set, that level off far out."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from equireann_pyg.nn.layout import Layout, degree_of
from equireann_pyg.nn.linear import DegreeDot, DegreeLinear
from equireann_pyg.ops import soft_standardize

LIMIT = 10.0
"""Features beyond this many times their size grow only logarithmically."""

ORBITAL_LIMIT = 5.0
"""Root mean square, per component, at which the size of an orbital levels off."""


NOTHING = 1e-6
"""Size of an orbital relative to the largest below which it is rounding noise."""

RATTLE = 0.05
"""Displacement in Angstrom under which features are measured, so that stiff directions a training set leaves out count."""


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
            floor: smallest standard deviation relative to the mean size of a feature, so that rounding noise of
                a constant feature is never blown up.
            only: element indices to do it for; all by default.
        """
        for s in set(species.tolist()) if only is None else set(species.tolist()) & set(only):
            rows = x[species == s].double()  # -> [N_s, k]
            mean, size = rows.mean(0), rows.square().mean(0).sqrt()
            deviation = (rows - mean).square().mean(0).sqrt()
            self.mean[s] = mean.to(self.mean.dtype)
            self.scale[s] = self.scale_of(torch.maximum(deviation, floor * size + 1e-12).to(self.scale.dtype))

    def scale_of(self, deviation: Tensor) -> Tensor:
        """What the features of an element are divided by, from their standard deviations ``[k]``: these."""
        return deviation

    def forward(self, x: Tensor, species: Tensor) -> Tensor:
        """Subtract the mean of the atom's element and divide by its standard deviation."""
        return (x - self.mean.index_select(0, species)) / self.scale.index_select(0, species)

    def extra_repr(self) -> str:
        return f"num_species={self.mean.size(0)}, num_features={self.mean.size(1)}"


class SoftStandardize(ElementStandardize):
    r"""Standardised features that grow only logarithmically far out, :math:`y = a \operatorname{asinh}(u / a)`, a = 10.

    No structure, however compressed, then makes a recursion run away. Arguments and shapes as for
    :class:`ElementStandardize`.
    """

    def forward(self, x: Tensor, species: Tensor) -> Tensor:
        """Standardise; beyond ten times their size features grow logarithmically."""
        return soft_standardize(x, species, self.mean, self.scale, LIMIT)


class HalfStandardize(SoftStandardize):
    r"""The same half-way: features keep half of their order.

    .. math:: u = (x - \mu_s) / \tau_s, \qquad
        \tau_{sk} = \sigma_{sk}^{1/2} \, \bigl\langle \sigma_{sk} \bigr\rangle_k^{1/2}

    Products of many orbitals vary by factors of a thousand. As they come, the few largest are all that is learned from; with
    unit variance each, what hardly varies in the training set counts as much as what varies most, and far from the set it
    runs away. With the root of their deviations, and unit variance on the average, half of their order is kept.
    """

    def scale_of(self, deviation: Tensor) -> Tensor:
        """The geometric mean of the deviation of a feature and the mean of all."""
        exact = deviation.double()
        return (exact * exact.mean()).sqrt().to(deviation.dtype)


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
        """What the channels of each degree are multiplied by, over their scale, ``[L + 1, n, k]``."""
        return self.weight * (self.weight.size(1) ** -0.5 / self.scale).view(-1, 1, 1)


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


class OrbitalNorm(torch.nn.Module):
    r"""Orbitals over their size in a training set, :math:`\psi_{lm,n} / \sigma_{ln}`.

    :math:`\sigma_{ln}` is the root mean square of a degree: for local orbitals that of all their channels, for messages that of
    each, since one whose filter carries far is many times as large as one whose filter decays. It is one until :meth:`fit`, and
    where there is nothing to measure: a buffer, part of a checkpoint, not trained.

    Args:
        layout: shape of the orbitals.

    Shapes:
        - input and output: ``[N, lm, n + m]``
    """

    scale: Tensor
    _degree: Tensor

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.components, self.num_radial = layout.components, layout.num_radial
        self.register_buffer("scale", torch.ones(len(layout.components), layout.num_channels))
        self.register_buffer("_degree", degree_of(layout.components), persistent=False)

    def reset_parameters(self) -> None:
        """Back to the identity."""
        self.scale.fill_(1.0)

    @torch.no_grad()
    def fit(self, orbital: Tensor) -> None:
        """Take the sizes from the orbitals of a training set."""
        parts = orbital.double().split(self.components, dim=1)
        square = torch.stack([part.square().mean((0, 1)) for part in parts])  # -> [L + 1, n + m]
        local = square[:, : self.num_radial]
        local.copy_(local.mean(1, keepdim=True).expand_as(local))
        size = square.sqrt()
        self.scale.copy_(torch.where(size > NOTHING * size.max(), size, torch.ones_like(size)))

    def forward(self, orbital: Tensor) -> Tensor:
        """Divide every degree and channel by its size."""
        return orbital / self.scale.index_select(0, self._degree)

    def extra_repr(self) -> str:
        return f"{list(self.components)}, {self.num_radial}, num_messages={self.scale.size(1) - self.num_radial}"


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
        squares = ORBITAL_LIMIT**2 * torch.tensor(components, dtype=torch.get_default_dtype()).unsqueeze(-1)
        self.register_buffer("_squares", squares, persistent=False)  # -> [L + 1, 1]
        self.register_buffer("_degree", degree_of(self.square.components), persistent=False)

    def forward(self, orbital: Tensor) -> Tensor:
        """Shrink each orbital by a factor that depends on its size alone."""
        sizes = self.square(orbital, orbital).unflatten(1, (len(self.square.components), -1))  # -> [N, L + 1, n]
        factor = torch.rsqrt(1 + sizes / self._squares)
        return orbital * factor.index_select(1, self._degree)  # type: ignore[arg-type]


def rattled(edge_vec: Tensor) -> Tensor:
    """Edge vectors ``[E, 3]`` moved at random, the same for the same number of edges."""
    noise = torch.randn(edge_vec.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return edge_vec + RATTLE * noise.to(edge_vec)


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
