r"""Descriptor made of contractions of Cartesian moments."""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor

from equireann_pyg.nn.descriptor import Descriptor
from equireann_pyg.nn.layout import Layout
from equireann_pyg.nn.scaling import ScaledLinear

MAX_DEGREE = 3


class MomentContractions(Descriptor):
    r"""Contractions of Cartesian moments, as of moment tensor potentials.

    With the symmetric tensors :math:`M_0, M_1, M_2, M_3` of an atom, whose components are the orbitals, for every channel

    .. math::
        B = M_0,\ \operatorname{tr} M_2,\ M_1 \cdot M_1,\ M_2 : M_2,\ M_1 \cdot M_2 M_1,\ \operatorname{tr} M_2^3,\
        M_1 \cdot M_2^2 M_1

    and, where L >= 3, :math:`M_3 \,\vdots\, M_3` and :math:`M_1 \cdot (M_3 : M_2)`. Each is a sum over two to five atoms:
    the basis of Shapeev, Multiscale Model. Simul. 2016, 14, 1153 has these, and products of them, which the networks
    make; here the radial functions are learned and contracted to the channels.

    Args:
        num_channels: number of contracted channels k; there are 7 k features, or 9 k.

    Raises:
        ValueError: when built on spherical harmonics, or on moments of L < 2.
    """

    def __init__(self, num_channels: int = 16) -> None:
        super().__init__()
        self.num_channels = num_channels

    def build(self, layout: Layout) -> None:
        """Make the contraction of the channels, and the tables that give all components of the tensors."""
        if not layout.cartesian:
            raise ValueError(
                "MomentContractions needs Cartesian moments, got harmonics: use angular=CartesianMoments()"
            )
        if layout.max_degree < 2:
            raise ValueError(
                f"MomentContractions needs moments of l = 0..2, got max_degree={layout.max_degree}: use 2 or 3"
            )
        self.components = layout.components[: MAX_DEGREE + 1]
        self.mix = ScaledLinear(self.components, layout.num_channels, self.num_channels)
        for degree in range(2, len(self.components)):
            index, count = _all_components(degree)
            self.register_buffer(f"_index{degree}", index, persistent=False)
            self.register_buffer(f"_count{degree}", count, persistent=False)
        self.num_features = self.num_channels * (7 if len(self.components) == 3 else 9)

    def forward(self, orbital: Tensor, species: Tensor) -> Tensor:
        """All contractions of every channel."""
        used = orbital[:, : sum(self.components)]
        moments = self.mix(used).split(self.components, dim=1)  # -> (L + 1) x [N, lm, k]
        m0, m1, m2 = moments[0].squeeze(1), moments[1], self._tensor(2, moments[2])
        m2_m1 = _dot(m2, m1.unsqueeze(1), 2)  # -> [N, 3, k]
        squared = _dot(m2.unsqueeze(3), m2.unsqueeze(1), 2)  # -> [N, 3, 3, k]
        features = [
            m0,
            m2.diagonal(dim1=1, dim2=2).sum(-1),
            _dot(m1, m1, 1),
            _dot(m2, m2, (1, 2)),
            _dot(m1, m2_m1, 1),
            _dot(squared, m2, (1, 2)),
            _dot(m2_m1, m2_m1, 1),
        ]
        if len(moments) > 3:
            m3 = self._tensor(3, moments[3])
            features += [_dot(m3, m3, (1, 2, 3)), _dot(m1, _dot(m3, m2.unsqueeze(1), (2, 3)), 1)]
        return torch.cat(features, dim=1)

    def _tensor(self, degree: int, moment: Tensor) -> Tensor:
        """All :math:`3^l` components of a moment ``[N, lm, k]``: ``[N, 3, ..., 3, k]``."""
        every = moment.index_select(1, getattr(self, f"_index{degree}"))
        return (every * getattr(self, f"_count{degree}").to(every).rsqrt()).unflatten(1, (3,) * degree)


def _dot(a: Tensor, b: Tensor, dim: int | tuple[int, ...]) -> Tensor:
    return (a * b).sum(dim)


def _all_components(degree: int) -> tuple[Tensor, Tensor]:
    """For all components of a symmetric tensor: which moment it is ``[3^l]``, and its squared weight ``[3^l, 1]``, int64."""
    axes = ["".join(sorted(part)) for part in product("xyz", repeat=degree)]
    place = {name: number for number, name in enumerate(sorted(set(axes)))}  # in the order of the moments
    return torch.tensor([place[name] for name in axes]), torch.tensor([[axes.count(name)] for name in axes])
