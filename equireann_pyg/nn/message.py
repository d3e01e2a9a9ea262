r"""Message rules: what travels from atom to atom between two iterations.

All of them fill the same sum over neighbours (:class:`~equireann_pyg.nn.OrbitalConv`), whose terms share their channels or have
channels of their own,

.. math:: \psi_i^{t+1} = \sum_j [ c_j^{t+1}\, R(r_{ij}) \otimes Y(\mathbf r_{ij}) + f(r_{ij})\, M_j^{t+1} ],

and differ in the coefficients c, the message M and the filter f.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from equireann_pyg.nn.conv import Edges, OrbitalConv
from equireann_pyg.nn.coupling import ScaledSelfCoupling
from equireann_pyg.nn.exact import ExactBuffers
from equireann_pyg.nn.layout import Layout, degree_of
from equireann_pyg.nn.linear import DegreeLinear
from equireann_pyg.nn.mlp import ElementMLP
from equireann_pyg.nn.plan import Plan
from equireann_pyg.nn.scaling import ScaledLinear, SoftLimit
from equireann_pyg.ops import rows_of

GRADING = 3
"""Power with which the reach of the channels of :class:`Coupled` grows from the first to the last."""


class MessageRule(Plan):
    r"""Base class of the rules. As with descriptors, the user makes a plan, the network builds a copy per iteration.

    Args:
        hidden_channels: hidden widths of the coefficient network.

    Shapes:
        - input: features ``[N, k]``, coefficient ``[N, n]``, orbital ``[N, lm, n]`` (the last one), orbital_sum ``[N, lm, n]``
          (of all so far, see :meth:`gathered`), species ``[N]``
        - output: coefficient ``[N, n]`` and, if there is one, message ``[N, lm, n]``

    Attributes:
        num_messages: number of channels m that messages have for themselves, behind the n local ones: orbitals are then
            ``[N, lm, n + m]`` from the first iteration on, and messages ``[N, lm, m]``. Zero where messages are added to the
            local orbitals.
    """

    num_messages: int = 0

    def __init__(self, hidden_channels: Sequence[int] = (64, 64)) -> None:
        super().__init__()
        self.hidden_channels = list(hidden_channels)

    def build(self, layout: Layout, num_features: int) -> None:
        r"""Make the coefficient network of :math:`c_j^{t+1} = c_j^t + \mathrm{Net}_{z_j}(B_j^t)`."""
        self.update = ElementMLP(layout.num_species, num_features, self.hidden_channels, layout.num_radial)

    def forward(
        self, features: Tensor, coefficient: Tensor, orbital: Tensor, orbital_sum: Tensor, species: Tensor
    ) -> tuple[Tensor, ...]:
        """What every atom passes on."""
        raise TypeError(f"{type(self).__name__} must define forward(...)")

    def fit_neighbours(self, number: Tensor) -> None:
        r"""Take the mean neighbour sum :math:`\langle\sum_j f(r_{ij})\rangle` of a training set; most rules need none.

        Args:
            number: scalar, f being the envelope of the messages.
        """

    def gathered(self, before: Tensor, orbital: Tensor) -> Tensor:
        """What this rule is given as ``orbital_sum``, from that of the iteration before and the last orbital: their sum."""
        return before + orbital

    def neighbour_sum(self, conv: OrbitalConv, coefficient: Tensor, message: Tensor | None, edges: Edges) -> Tensor:
        """The sum over neighbours of the centres that :class:`~equireann_pyg.nn.OrbitalConv` makes, ``[C, lm, n]`` or more."""
        (weight,) = self.edge_filter(edges.radial, edges.envelope, edges.radial_envelope)
        return conv.over(edges, coefficient, message, weight)

    def normalized(self, orbital: Tensor) -> Tensor:
        """The orbital that the next iteration sees, from the sum over neighbours that this rule has filled: the same."""
        return orbital

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Let rules that call their ``edge_filter`` by its earlier name, ``filter``, work for one version."""
        super().__init_subclass__(**kwargs)
        nearest = next(vars(kind) for kind in cls.__mro__ if {"filter", "edge_filter"} & vars(kind).keys())
        if "edge_filter" not in nearest:
            text = f"{cls.__name__}.filter: rename it to edge_filter; the earlier name will go with version 0.3"
            warnings.warn(text, FutureWarning, stacklevel=2)
            cls.edge_filter = nearest["filter"]  # type: ignore[method-assign]
        if "edge_filter" in vars(cls):
            cls.filter = cls.edge_filter

    def edge_filter(self, radial: Tensor, envelope: Tensor, radial_envelope: Tensor) -> tuple[Tensor]:
        r"""Weight f of the message on every edge, ``[E]`` or ``[E, n]``; vanishes at the cutoff as the envelopes do.

        Args:
            radial: radial functions under their envelope ``[E, n]``.
            envelope: ``[E]``.
            radial_envelope: that of the radial functions, ``[E]``.
        """
        return (envelope,)

    filter = edge_filter  # so that such rules may call super().filter(...)


class Local(MessageRule):
    """Nothing travels: the local model. A network with this rule has no iterations.

    Raises:
        ValueError: when built for a network with iterations.
    """

    def copies(self, *arguments: Any) -> list[Any]:
        """None: there is no iteration to make one for."""
        if count := arguments[-1]:
            raise ValueError(f"Local: nothing travels, so expected num_iterations=0, got {count}")
        return []


class Invariant(MessageRule):
    """REANN's rule: atoms tell their neighbours new coefficients, no orbitals.

    Source: Zhang, Xia, Jiang, Phys. Rev. Lett. 2021, 127, 156002. Arguments and shapes as for :class:`MessageRule`.
    """

    def forward(
        self, features: Tensor, coefficient: Tensor, orbital: Tensor, orbital_sum: Tensor, species: Tensor
    ) -> tuple[Tensor, ...]:
        """New coefficients."""
        return (coefficient + self.change(features, species),)

    def change(self, features: Tensor, species: Tensor) -> Tensor:
        """What is added to the coefficients, ``[N, n]``."""
        return self.update(features, species)


class Equivariant(ExactBuffers, Invariant):
    r"""EquiREANN's rule: besides, the orbitals gathered so far are passed on, :math:`M_j = g\, c_j \sum_{s \le t} \psi_j^s`.

    Source: Wu, Xia, Zhang, Jiang, J. Phys. Chem. A 2024, 128, 11061. There g = 1, with small coefficients; another g is the
    same recursion with coefficients and orbitals g times as large. With coefficients and local orbitals of unit size, g says
    how much of an orbital has travelled: nothing at g = 0, where the rule is REANN's. It is one before
    :meth:`fit_neighbours`, and graded afterwards: the first channels, which tell of bonds, are hardly touched; the last,
    whose radial function peaks farthest out and tells of little by itself, grows ``growth``-fold from one iteration to the
    next. So a few channels carry far, and what is near, which energies mostly depend on, is not drowned.

    Args:
        hidden_channels: hidden widths of the coefficient network.
        growth: growth of the last channel, zero or more.
        grading: power with which the strength rises from the first channel to the last; zero makes all alike.
    """

    earlier: ClassVar[Mapping[str, float]] = {"strength": 1.0}
    strength: Tensor

    def __init__(self, hidden_channels: Sequence[int] = (64, 64), growth: float = 3.0, grading: float = 4.0) -> None:
        super().__init__(hidden_channels)
        self.growth, self.grading = float(growth), float(grading)

    def build(self, layout: Layout, num_features: int) -> None:
        """Make the coefficient network."""
        super().build(layout, num_features)
        self.register_buffer("strength", torch.ones(layout.num_radial))  # g

    def reset_parameters(self) -> None:
        """Draw a new coefficient network and forget the number of neighbours."""
        super().reset_parameters()
        self.strength.fill_(1.0)

    @torch.no_grad()
    def fit_neighbours(self, number: Tensor) -> None:
        """Set the strength of the messages of every channel, for coefficients of the size they are drawn with."""
        n = self.strength.numel()
        graded = torch.linspace(1 / n, 1, n).to(number) ** self.grading
        self.strength.copy_(graded * self.growth * n**0.5 / number.clamp(min=1.0))

    def forward(
        self, features: Tensor, coefficient: Tensor, orbital: Tensor, orbital_sum: Tensor, species: Tensor
    ) -> tuple[Tensor, ...]:
        """New coefficients, and the orbitals times these."""
        (coefficient,) = super().forward(features, coefficient, orbital, orbital_sum, species)
        return coefficient, coefficient.unsqueeze(-2) * self.carried(orbital, orbital_sum, species)

    def carried(self, orbital: Tensor, orbital_sum: Tensor, species: Tensor) -> Tensor:
        """The orbital that is passed on, before its coefficient, ``[N, lm, n]``."""
        return self.strength * orbital_sum


class Filtered(Equivariant):
    r"""The equivariant rule with learned filters: of the distance on the edge, of degree and channel at the atom.

    .. math:: M_{j,lm,n} = g_n\, c_{j,n}\, \Gamma_{ln} \sum_{s \le t} \psi_{j,lm,n}^s, \qquad
        f_n(r) = f(r) + n^{-1/2} \sum_{n'} R_{n'}(r)\, V_{n'n}

    It starts as the paper's rule: :math:`\Gamma = 1`, V = 0. Arguments and shapes as for :class:`Equivariant`.
    """

    def build(self, layout: Layout, num_features: int) -> None:
        """Make the coefficient network, gains and filter."""
        super().build(layout, num_features)
        self.gain = torch.nn.Parameter(torch.empty(len(layout.components), layout.num_radial))
        self.radial_filter = torch.nn.Parameter(torch.empty(layout.num_radial, layout.num_radial))
        self.register_buffer("_degree", degree_of(layout.components), persistent=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Back to the paper's rule; draw a new coefficient network."""
        super().reset_parameters()
        torch.nn.init.ones_(self.gain)
        torch.nn.init.zeros_(self.radial_filter)

    def carried(self, orbital: Tensor, orbital_sum: Tensor, species: Tensor) -> Tensor:
        """All orbitals so far, each degree and channel with its gain."""
        return rows_of(self.gain, self._degree) * super().carried(orbital, orbital_sum, species)  # type: ignore[arg-type]

    def edge_filter(self, radial: Tensor, envelope: Tensor, radial_envelope: Tensor) -> tuple[Tensor]:
        """Envelope and learned part, ``[E, n]``."""
        return (envelope.unsqueeze(-1) + learned(radial, self.radial_filter),)


class Coupled(Equivariant):
    r"""The equivariant rule with mixed channels, degrees coupled at the atom, and learned filters.

    .. math::
        \phi &= U \psi_j^t, \qquad \Pi = w\, [\phi \times \phi] \\
        M_{j,lm,n} &= g\, c_{j,n} \bigl( V {\textstyle\sum_{s \le t}} \psi_j^s + W \Pi \bigr)_{lm,n} \\
        f_n(r) &= f_R(r) + q_n [f(r) - f_R(r)] + n^{-1/2} {\textstyle\sum_{n'}} R_{n'}(r)\, F_{n'n}

    with linear maps U, V, W of the channels of each degree, and all orbitals scaled to unit variance; the size of the bracket
    levels off far out (:class:`~equireann_pyg.nn.SoftLimit`), so that no recursion runs away. The product mixes the
    degrees once for each atom, not for each edge, and so carries angles between neighbours on to the next atom.
    The filters are graded: the first channel falls off like the radial functions, under :math:`f_R`, the last like the
    envelope f, with :math:`q_n` from zero to one. Where :math:`f_R` decays, most channels so tell of what is
    near, which is what energies mostly depend on, and a few carry far.
    The idea of coupling at the atom is that of NEMP (Zhang et al., Chem. Sci. 2026).

    Args:
        hidden_channels: hidden widths of the coefficient network.
        num_channels: number of channels of the product.

    Raises:
        ValueError: when built on Cartesian moments.
    """

    def __init__(self, hidden_channels: Sequence[int] = (64, 64), num_channels: int = 16) -> None:
        super().__init__(hidden_channels, grading=0.0)
        self.num_channels = num_channels

    def build(self, layout: Layout, num_features: int) -> None:
        """Make the coefficient network, maps of the channels, product and filter."""
        layout.require_harmonics("Coupled")
        super().build(layout, num_features)
        components, n, k = layout.components, layout.num_radial, self.num_channels
        self.narrow = ScaledLinear(components, n, k)
        self.coupling = ScaledSelfCoupling(layout.max_degree, k, layout.num_species)
        self.of_sum = ScaledLinear(components, n, n)
        self.of_product = DegreeLinear(components, k, n)
        self.limit = SoftLimit(components)
        self.register_buffer("_reach", torch.linspace(0, 1, n) ** GRADING, persistent=False)
        self.radial_filter = torch.nn.Parameter(torch.empty(n, n))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new parameters; graded filters."""
        super().reset_parameters()
        torch.nn.init.zeros_(self.radial_filter)

    def change(self, features: Tensor, species: Tensor) -> Tensor:
        """What is added to the coefficients: at most one, several times their size, so that no outlier makes them run away."""
        return bounded(super().change(features, species))

    def carried(self, orbital: Tensor, orbital_sum: Tensor, species: Tensor) -> Tensor:
        """All orbitals and the product of the last one, mixed."""
        product = self.coupling(self.narrow(orbital), species)  # -> [N, lm, k]
        return self.strength * self.limit(self.of_sum(orbital_sum) + self.of_product(product))

    def edge_filter(self, radial: Tensor, envelope: Tensor, radial_envelope: Tensor) -> tuple[Tensor]:
        """Between both envelopes, and learned part, ``[E, n]``."""
        near = radial_envelope.unsqueeze(-1)  # -> [E, 1]
        graded = near + (envelope.unsqueeze(-1) - near) * self._reach  # type: ignore[operator]  # -> [E, n]
        return (graded + learned(radial, self.radial_filter),)


def bounded(x: Tensor) -> Tensor:
    r""":math:`s(x) = x / \sqrt{1 + x^2}`, between -1 and 1, of any shape."""
    return x * torch.rsqrt(1 + x.square())


def learned(radial: Tensor, weight: Tensor) -> Tensor:
    r"""Learned part of a filter, :math:`n^{-1/2} \sum_{n'} R_{n'} V_{n'n}`, ``[E, n]``."""
    return radial @ (weight * weight.size(0) ** -0.5)
