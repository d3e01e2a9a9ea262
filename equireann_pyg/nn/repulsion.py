r"""Repulsion of nuclei at short range, where a training set has no data."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor

from equireann_pyg.elements import COVALENT_RADII
from equireann_pyg.nn.cutoff import polynomial_cutoff
from equireann_pyg.nn.plan import Plan
from equireann_pyg.ops import row_sum
from equireann_pyg.ops.values import readable

COULOMB = 14.399645
r""":math:`e^2 / 4 \pi \epsilon_0` in eV Angstrom."""

SCREENING = ((0.18175, 3.1998), (0.50986, 0.94229), (0.28022, 0.4029), (0.02817, 0.20162))
"""Amplitude and decay of each term of the universal screening function."""

SCREENING_LENGTH = 0.46850
"""0.8854 Bohr radii in Angstrom."""


class ZBL(Plan):
    r"""Screened nuclear repulsion of Ziegler, Biersack and Littmark, for pairs that are closer than any covalent bond.

    .. math::
        V_{ij}(r) &= \frac{e^2}{4 \pi \epsilon_0} \frac{Z_i Z_j}{r}\, \phi\Bigl(\frac{r}{a_{ij}}\Bigr)
            f\Bigl(\frac{r}{\rho\,(R_i + R_j)}\Bigr), \qquad
        a_{ij} = \frac{0.4685\ \mathrm{Å}}{Z_i^{0.23} + Z_j^{0.23}} \\
        \phi(x) &= 0.18175\, e^{-3.1998 x} + 0.50986\, e^{-0.94229 x} + 0.28022\, e^{-0.4029 x} + 0.02817\, e^{-0.20162 x}

    f is :func:`~equireann_pyg.nn.polynomial_cutoff` with p = 6: the repulsion ends, with two continuous derivatives, at a
    fraction :math:`\rho` of the sum of the covalent radii R, below all bonds of the elements. A bond that feels its tail is
    learnt with 30 % larger errors, for the model has to take away again what is steep. It has no parameters to train.

    Args:
        reach: fraction :math:`\rho` of the sum of the covalent radii. Earlier versions had 1, and files keep theirs.

    Raises:
        ValueError: if ``reach`` is not positive.

    Source: Ziegler, Biersack, Littmark, The Stopping and Range of Ions in Solids, Pergamon, New York 1985.

    Shapes:
        - z: ``[N]`` atomic numbers
        - edge_index: ``[2, E]``, both directions of every pair; ``edge_order`` is theirs, where it is known
        - edge_vec: ``[E, 3]`` in Angstrom
        - output: ``[N]`` in eV, half of the energy of each pair on either atom
    """

    unstored: ClassVar[dict[str, Any]] = {"reach": 1.0}
    radii: Tensor

    def __init__(self, reach: float = 0.75) -> None:
        super().__init__()
        if not reach > 0:
            raise ValueError(f"reach is a positive fraction of the sum of two covalent radii, got {reach}")
        self.reach = reach
        self.register_buffer(
            "radii", torch.tensor(COVALENT_RADII), persistent=False
        )  # integers: no conversion rounds them

    def forward(
        self,
        z: Tensor,
        edge_index: Tensor,
        edge_vec: Tensor,
        cutoff: float = math.inf,
        edge_order: Tensor | None = None,
    ) -> Tensor:
        """Atomic energies; no pair reaches farther than ``cutoff`` in Angstrom, that of the graph."""
        radius = self.reach / 100 * self.radii[z].to(edge_vec.dtype)  # -> [N]
        if readable(z) and z.numel():  # only pairs in reach cost anything
            near = (edge_vec.detach().norm(dim=-1) < 2 * radius.max()).nonzero().squeeze(1)
            edge_index, edge_vec, edge_order = edge_index.index_select(1, near), edge_vec.index_select(0, near), None
        j, i = edge_index
        reach = (radius[j] + radius[i]).clamp(max=cutoff)  # -> [E]
        charge, power = z.to(edge_vec.dtype), z.to(edge_vec.dtype).pow(0.23)
        r = edge_vec.norm(dim=-1)
        x = r * (power[j] + power[i]) / SCREENING_LENGTH
        screening = sum(amplitude * torch.exp(-decay * x) for amplitude, decay in SCREENING)
        pair = COULOMB * charge[j] * charge[i] / r * screening * polynomial_cutoff(r / reach, 1.0)  # -> [E]
        return row_sum(0.5 * pair, i, None if edge_order is None else edge_order[1], z.numel())
