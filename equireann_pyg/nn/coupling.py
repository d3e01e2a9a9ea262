r"""Products of orbitals of the same atom that are orbitals again: Clebsch-Gordan coupling."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

from equireann_pyg.nn.exact import ExactBuffers
from equireann_pyg.nn.scaling import degree_scale
from equireann_pyg.ops import coupled, self_coupled

Path = tuple[int, int, int]


def clebsch_gordan(l1: int, l2: int, l3: int) -> Tensor:
    r"""Real coupling coefficients of natural parity, for the component order of :func:`solid_harmonics`.

    .. math:: C_{m_1 m_2 m_3} \propto \int Y_{l_1 m_1} Y_{l_2 m_2} Y_{l_3 m_3}\, d\Omega > 0,\quad
        \sum_{m_1 m_2} C_{m_1 m_2 m_3} C_{m_1 m_2 m_3'} = \delta_{m_3 m_3'}

    They are the Wigner 3j symbols of the real harmonics, from e3nn, times :math:`\sqrt{2l_3+1}`: independent inputs of unit
    variance give components of unit variance. The harmonics of e3nn have another polar axis, which changes no coefficient.

    Args:
        l1: degree of the first factor.
        l2: degree of the second factor.
        l3: degree of the product.

    Returns:
        ``[2 l1 + 1, 2 l2 + 1, 2 l3 + 1]``, float64

    Raises:
        ValueError: if the three violate the triangle rule, or their sum is odd, where the integral vanishes.
    """
    if min(l1, l2) < 0 or not abs(l1 - l2) <= l3 <= l1 + l2 or (l1 + l2 + l3) % 2:
        raise ValueError(f"clebsch_gordan: expected |l1 - l2| <= l3 <= l1 + l2 with an even sum, got {(l1, l2, l3)}")
    return _coefficients(l1, l2, l3).clone()


@cache
def _coefficients(l1: int, l2: int, l3: int) -> Tensor:
    with warnings.catch_warnings():  # e3nn calls what newer versions of torch deprecate
        warnings.simplefilter("ignore", DeprecationWarning)
        from e3nn import o3  # here, since it takes seconds and only products of orbitals need it
    block = o3.wigner_3j(l1, l2, l3, dtype=torch.float64) * (2 * l3 + 1) ** 0.5
    return torch.where(block.abs() > 1e-12, block, torch.zeros_like(block))


def coupling_paths(max_degree_in: int, max_degree_out: int, symmetric: bool = False) -> list[Path]:
    """All (l1, l2, l3) of natural parity, l1 + l2 + l3 even, that obey the triangle rule; sorted by l3.

    Args:
        max_degree_in: largest l1 and l2.
        max_degree_out: largest l3.
        symmetric: only l1 <= l2, for products of an orbital with itself.
    """
    degrees = range(max_degree_in + 1)
    return [
        (l1, l2, l3)
        for l3 in range(max_degree_out + 1)
        for l1 in degrees
        for l2 in degrees
        if abs(l1 - l2) <= l3 <= l1 + l2 and (l1 + l2 + l3) % 2 == 0 and not (symmetric and l1 > l2)
    ]


def _entries(paths: Sequence[Path], symmetric: bool) -> tuple[Tensor, Tensor]:
    """Components and path of every coefficient that is not zero, ``[E, 4]``, and the coefficients ``[E]``."""
    entries, values = [], []
    for p, (l1, l2, l3) in enumerate(paths):
        block = clebsch_gordan(l1, l2, l3)
        if symmetric and l1 == l2:  # both orders of two components at once
            block = (block + block.transpose(0, 1)) * _upper(2 * l1 + 1)
        index = block.nonzero()
        entries.append(torch.cat([index + torch.tensor([l1**2, l2**2, l3**2]), torch.full((len(index), 1), p)], dim=1))
        values.append(block[block != 0])
    return torch.cat(entries).int(), torch.cat(values)


def _upper(size: int) -> Tensor:
    """One above the diagonal, a half on it."""
    ones = torch.ones(size, size, dtype=torch.float64)
    return (0.5 * (ones.triu() + ones.triu(1))).unsqueeze(-1)


class _Product(ExactBuffers):
    """What all products share: weights of the paths, and the table of what is multiplied."""

    exact = ("values",)
    _symmetric: bool
    entries: Tensor
    values: Tensor

    def __init__(
        self,
        max_degree: int,
        num_channels: int,
        num_species: int = 1,
        max_degree_out: int | None = None,
        max_degree_second: int | None = None,
    ) -> None:
        super().__init__()
        self.max_degree = max_degree
        self.max_degree_second = max_degree if max_degree_second is None else max_degree_second
        self.max_degree_out = max_degree if max_degree_out is None else max_degree_out
        if not 0 <= self.max_degree_out <= 2 * max_degree:
            raise ValueError(
                f"{type(self).__name__}: expected 0 <= max_degree_out <= {2 * max_degree}, twice max_degree, got "
                f"{self.max_degree_out}"
            )
        paths = coupling_paths(max_degree, self.max_degree_out, self._symmetric)
        self.paths = [path for path in paths if path[1] <= self.max_degree_second]
        self.weight = torch.nn.Parameter(torch.empty(num_species, len(self.paths), num_channels))
        entries, values = _entries(self.paths, self._symmetric)
        self.register_buffer("entries", entries, persistent=False)
        self.register_buffer("values", values, persistent=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Normal weights that keep the variance of the orbitals."""
        variance = [0.0] * (self.max_degree_out + 1)  # of the unweighted sum over the paths to each l3
        for l1, l2, l3 in self.paths:
            variance[l3] += 2.0 if self._symmetric and l1 == l2 else 1.0
        std = torch.tensor([variance[l3] ** -0.5 for _, _, l3 in self.paths]).to(self.weight)
        with torch.no_grad():
            self.weight.normal_().mul_(std.unsqueeze(-1))

    def weights(self) -> Tensor:
        """What the paths are multiplied by, ``[S, P, n]``."""
        return self.weight

    def table(self, species: Tensor | None) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
        """What operators need to multiply: weights ``[S, P, n]``, species ``[N]``, entries ``[E, 4]`` and values ``[E]``."""
        if species is None and self.weight.size(0) > 1:
            raise ValueError(f"{type(self).__name__}: weights of {self.weight.size(0)} elements need species [N]")
        return self.weights(), species, self.entries, self.values

    def extra_repr(self) -> str:
        num_species, _, num_channels = self.weight.shape
        return (
            f"max_degree={self.max_degree}, num_channels={num_channels}, num_species={num_species}, "
            f"max_degree_out={self.max_degree_out}"
        )


class Coupling(_Product):
    r"""Product of two orbitals of the same atom, channel by channel.

    .. math:: P_{i,l_3m_3,n} = \sum_{l_1 l_2} w_{s_i,l_1l_2l_3,n} \sum_{m_1 m_2} C^{l_3m_3}_{l_1m_1,l_2m_2}\,
        A_{i,l_1m_1,n} B_{i,l_2m_2,n}

    over all paths of natural parity, so that the product turns and reflects like the harmonics. Two orbitals that each
    sum over neighbours make correlations of three bodies, as in ACE (Drautz, Phys. Rev. B 2019, 99, 014104) and MACE
    (Batatia et al., NeurIPS 2022); the cost is that of atoms, not of edges, as in NEMP (arXiv:2508.16086). Independent
    orbitals of unit variance give unit variance at the start.

    Args:
        max_degree: largest l of both orbitals.
        num_channels: number of channels n.
        num_species: number of elements S; 1 shares the weights.
        max_degree_out: largest l of the product; default: ``max_degree``.

    Shapes:
        - input: orbital ``[N, (L+1)^2, n]``, other ``[N, (L+1)^2, n]``, species ``[N]`` or None where S = 1
        - output: ``[N, (L_out+1)^2, n]``

    Raises:
        ValueError: if ``max_degree_out`` is negative or exceeds twice ``max_degree``.
    """

    _symmetric = False

    def forward(self, orbital: Tensor, other: Tensor, species: Tensor | None = None) -> Tensor:
        """Sum over the paths."""
        return coupled(orbital, other, *self.table(species), (self.max_degree_out + 1) ** 2)


class SelfCoupling(_Product):
    r"""Product of an orbital with itself: :class:`Coupling` with A = B and the paths :math:`l_1 \le l_2` only.

    .. math:: P_{i,l_3m_3,n} = \sum_{l_1 \le l_2} w_{s_i,l_1l_2l_3,n} \sum_{m_1 m_2} C^{l_3m_3}_{l_1m_1,l_2m_2}\,
        A_{i,l_1m_1,n} A_{i,l_2m_2,n}

    Normal orbitals of unit variance give unit variance at the start; the scalars, sums of squares, do not average to
    zero.

    Arguments, errors and output as for :class:`Coupling`.
    """

    _symmetric = True

    def forward(self, orbital: Tensor, species: Tensor | None = None) -> Tensor:
        """Sum over the paths."""
        return self_coupled(orbital, *self.table(species), (self.max_degree_out + 1) ** 2)


class OuterCoupling(_Product):
    r"""Orbitals again of an outer product of components, channel by channel.

    .. math:: P_{i,l_3m_3,n} = \sum_{l_1 l_2} w_{l_1l_2l_3,n} \sum_{m_1 m_2} C^{l_3m_3}_{l_1m_1,l_2m_2}\, A_{i,l_1m_1,l_2m_2,n}

    over all paths of natural parity. :class:`Coupling` is the same of a product of two orbitals; here a sum of products may
    come in between, such as the one over neighbours.

    Args:
        max_degree: largest l of the first factor and of the result.
        max_degree_second: largest l of the second factor, at most ``max_degree``.
        num_channels: number of channels n.

    Shapes:
        - input: ``[N, (L+1)^2, (L_2+1)^2, n]``
        - output: ``[N, (L+1)^2, n]``
    """

    _symmetric = False

    def __init__(self, max_degree: int, max_degree_second: int, num_channels: int) -> None:
        super().__init__(max_degree, num_channels, max_degree_second=max_degree_second)
        first, second, *rest = self.entries.unbind(1)
        pair = first * (max_degree_second + 1) ** 2 + second
        self.entries = torch.stack([pair, torch.zeros_like(pair), *rest], dim=1)

    def forward(self, outer: Tensor) -> Tensor:
        """Sum over the paths."""
        ones = outer.new_ones(outer.size(0), 1, outer.size(3))
        return coupled(outer.flatten(1, 2), ones, *self.table(None), (self.max_degree + 1) ** 2)

    def extra_repr(self) -> str:
        return f"max_degree={self.max_degree}, max_degree_second={self.max_degree_second}, num_channels={self.weight.size(2)}"


class ScaledSelfCoupling(SelfCoupling):
    """Product of an orbital with itself, brought to unit variance as by :class:`ScaledLinear`.

    The scale of every degree is one until :meth:`fit`: a buffer, part of a checkpoint, not trained. Arguments and shapes as
    for :class:`SelfCoupling`.
    """

    scale: Tensor
    _degree: Tensor

    def __init__(
        self, max_degree: int, num_channels: int, num_species: int = 1, max_degree_out: int | None = None
    ) -> None:
        super().__init__(max_degree, num_channels, num_species, max_degree_out)
        self.register_buffer("scale", torch.ones(self.max_degree_out + 1))
        self.register_buffer("_degree", torch.tensor([l3 for _, _, l3 in self.paths]), persistent=False)

    def reset_parameters(self) -> None:
        """Normal weights that keep the variance of normal orbitals; no scale."""
        super().reset_parameters()
        if hasattr(self, "scale"):
            self.scale.fill_(1.0)

    @torch.no_grad()
    def fit(self, orbital: Tensor, species: Tensor | None = None) -> None:
        """Take the scale from the products of a training set's orbitals."""
        self.scale.fill_(1.0)
        components = tuple(2 * degree + 1 for degree in range(self.max_degree_out + 1))
        self.scale.copy_(degree_scale(self.forward(orbital, species), components))

    def weights(self) -> Tensor:
        """Weights over the scale of the degree that their path leads to, ``[S, P, n]``."""
        return self.weight / self.scale.index_select(0, self._degree).unsqueeze(-1)
