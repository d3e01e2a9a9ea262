r"""Radial functions :math:`G_n(r; z_i, z_j)` of the atomic orbitals."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus

from equireann_pyg.nn.cutoff import Envelope
from equireann_pyg.nn.plan import Plan
from equireann_pyg.ops import gaussians


class GaussianRadial(torch.nn.Module):
    r"""Gaussian orbitals :math:`G_n(r) = \exp[-a_n (r - s_n)^2]` with trainable centres and exponents.

    One set of functions per row of a table; subclasses say which row an edge uses. The exponents are kept
    positive by a softplus, so an orbital can never grow with distance.

    Source: Zhang, Xia, Jiang, Phys. Rev. Lett. 2021, 127, 156002 (REANN), eq. 2.

    Args:
        num_radial: number of radial functions n.
        num_species: number of elements.
        cutoff: cutoff in Angstrom; centres start evenly spread over it.
        num_rows: number of rows of the table.
        width: standard deviation at the start, in units of the distance between centres.

    Shapes:
        - input: ``r [E]`` in Angstrom, ``species_j [E]``, ``species_i [E]`` (element index of neighbour, centre)
        - output: ``[E, n]``
    """

    def __init__(self, num_radial: int, num_species: int, cutoff: float, num_rows: int, width: float = 1.0) -> None:
        super().__init__()
        if not width > 0:
            raise ValueError(f"width: expected a positive number, got {width}")
        self.width = float(width)
        self.num_radial = num_radial
        self.num_species = num_species
        self.cutoff = cutoff
        self.centre = torch.nn.Parameter(torch.empty(num_rows, num_radial))  # Angstrom
        self.raw_exponent = torch.nn.Parameter(torch.empty(num_rows, num_radial))  # softplus -> 1/Angstrom^2
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Spread the centres over [0, cutoff]; widths such that neighbouring functions overlap."""
        with torch.no_grad():
            spacing = self.cutoff / self.num_radial
            grid = (torch.arange(self.num_radial) + 0.5) * spacing
            self.centre.copy_(grid + 0.25 * spacing * (2 * torch.rand_like(self.centre) - 1))
            self.set_exponents(torch.full_like(self.centre, 0.5 / (self.width * spacing) ** 2))

    @torch.no_grad()
    def set_exponents(self, exponents: Tensor) -> None:
        """Set :math:`a_n` in 1/Angstrom^2, broadcast over the rows."""
        exponents = exponents.expand_as(self.raw_exponent)
        self.raw_exponent.copy_(exponents + torch.log(-torch.expm1(-exponents)))  # inverse softplus

    def row(self, species_j: Tensor, species_i: Tensor) -> Tensor:
        """Table row of every edge, ``[E]``."""
        raise TypeError(f"{type(self).__name__} must define row(species_j, species_i)")

    def forward(self, r: Tensor, species_j: Tensor, species_i: Tensor, envelope: Tensor | None = None) -> Tensor:
        """Evaluate all functions on all edges, under an envelope ``[E]`` if there is one."""
        envelope = torch.ones_like(r) if envelope is None else envelope
        return gaussians(r, envelope, self.row(species_j, species_i), self.centre, softplus(self.raw_exponent))

    def extra_repr(self) -> str:
        return f"{self.num_radial}, num_species={self.num_species}, cutoff={self.cutoff}"


class ElementGaussians(GaussianRadial):
    """Radial functions that depend on the element of the neighbour only (REANN); the layer of :class:`ElementRadial`."""

    def __init__(self, num_radial: int, num_species: int, cutoff: float, width: float = 1.0) -> None:
        super().__init__(num_radial, num_species, cutoff, num_species, width)

    def row(self, species_j: Tensor, species_i: Tensor) -> Tensor:
        """That of the neighbour's element, ``[E]``."""
        return species_j


class PairGaussians(GaussianRadial):
    """Radial functions that depend on the elements of neighbour and centre; the layer of :class:`PairRadial`."""

    def __init__(self, num_radial: int, num_species: int, cutoff: float, width: float = 1.0) -> None:
        super().__init__(num_radial, num_species, cutoff, num_species**2, width)

    def row(self, species_j: Tensor, species_i: Tensor) -> Tensor:
        """That of the pair, all of a centre's element together, ``[E]``."""
        return species_i * self.num_species + species_j


class Radial(Plan):
    """Base class of plans of radial functions; the network makes a layer of one.

    Args:
        num_radial: number of radial channels n.
        width: standard deviation at the start, in units of the distance between centres.
        envelope: envelope of the radial functions, where it differs from that of the messages; default: the same.
    """

    def __init__(self, num_radial: int = 8, width: float = 1.0, envelope: Envelope | None = None) -> None:
        super().__init__()
        self.num_radial, self.width, self.envelope = num_radial, float(width), envelope

    layer: type[ElementGaussians] | type[PairGaussians]

    def build(self, num_species: int, cutoff: float) -> torch.nn.Module:
        """Layer with ``forward(r [E], species_j [E], species_i [E], envelope [E]) -> [E, n]`` and ``reset_parameters()``."""
        return self.layer(self.num_radial, num_species, cutoff, self.width)


class PairRadial(Radial):
    """Radial functions for each pair of elements, neighbour and centre. Arguments as for :class:`Radial`."""

    layer = PairGaussians


class ElementRadial(Radial):
    """Radial functions for the neighbour's element (REANN). Arguments as for :class:`Radial`."""

    layer = ElementGaussians
