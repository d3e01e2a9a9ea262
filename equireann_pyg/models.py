r"""EquiREANN, and REANN and EANN as its special cases.

From edges to atomic energies, for iterations t = 0..T (node-factored form of the published recursion):

.. math::
    \psi_i^t &= \sum_j [ c_j^t\, R(r_{ij}) \otimes Y(\mathbf r_{ij}) + f(r_{ij})\, M_j^t ] \\
    \rho_i^t &= \mathrm{density}(\psi_i^t) \\
    c_j^{t+1} &= c_j^t + \mathrm{Net}^t_{z_j}(\rho_j^t) \\
    M_j^{t+1} &= c_j^{t+1} \textstyle\sum_{s \le t} \psi_j^s \\
    E_i &= \mathrm{Out}_{z_i}(\rho_i^T)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch_geometric.utils import scatter

from equireann_pyg.elements import SYMBOLS, atomic_numbers, describe
from equireann_pyg.nn import (
    Angular,
    ElementGaussians,
    ElementMLP,
    Envelope,
    OrbitalConv,
    OrbitalDensity,
    PairGaussians,
    PolynomialCutoff,
    SoftStandardize,
    SphericalHarmonics,
)
from equireann_pyg.nn.blocks import by_rows
from equireann_pyg.ops import edge_order, kernels_for, tracing

GROWTH = 3.0
"""Growth of the orbitals from one iteration to the next in a prepared, untrained model."""


class EquiREANN(torch.nn.Module):
    r"""Equivariant recursively embedded atom neural network.

    Source: Wu, Xia, Zhang, Jiang, J. Phys. Chem. A 2024, 128, 11061.

    Args:
        elements: chemical symbols or atomic numbers the model knows.
        cutoff: :math:`r_c` in Angstrom.
        angular: angular part; default :class:`~equireann_pyg.nn.SphericalHarmonics` of degree 0..2.
        envelope: cutoff envelope; default :class:`~equireann_pyg.nn.PolynomialCutoff`, the paper's is
            :class:`~equireann_pyg.nn.CosineCutoff`.
        num_radial: number of radial channels n.
        num_density: number of contracted densities k.
        num_iterations: number of message-passing iterations T; the receptive field is (T + 1) cutoffs.
        hidden_channels: hidden widths of the coefficient and output networks.
        pair_radial: radial functions for each pair of elements (default) or for the neighbour's element.
        share_contraction: one contraction for all iterations instead of one for each.

    Shapes:
        - z: ``[N]`` atomic numbers
        - edge_index: ``[2, E]``, row 0 the neighbours j, row 1 the centres i
        - edge_vec: ``[E, 3]``, :math:`\mathbf r_j - \mathbf r_i` in Angstrom; longer than the cutoff is allowed
        - output: atomic energies ``[N]``, in units of the training set's scale

    Raises:
        ValueError: for unknown elements, a non-positive cutoff or negative ``num_iterations``.
    """

    def __init__(
        self,
        elements: Sequence[str | int],
        cutoff: float = 5.0,
        angular: Angular | None = None,
        envelope: Envelope | None = None,
        num_radial: int = 8,
        num_density: int = 64,
        num_iterations: int = 3,
        hidden_channels: Sequence[int] = (64, 64),
        pair_radial: bool = True,
        share_contraction: bool = False,
    ) -> None:
        super().__init__()
        if not cutoff > 0:
            raise ValueError(f"cutoff: expected a positive length in Angstrom, got {cutoff}")
        if num_iterations < 0:
            raise ValueError(f"num_iterations: expected 0 or more, got {num_iterations}")
        self.elements = atomic_numbers(elements)
        self.cutoff = float(cutoff)
        self.num_iterations = num_iterations
        self.num_density = num_density
        self.hidden_channels = list(hidden_channels)
        self.share_contraction = share_contraction
        self.angular = SphericalHarmonics() if angular is None else angular
        self.envelope = PolynomialCutoff() if envelope is None else envelope
        num_species = len(self.elements)
        radial = PairGaussians if pair_radial else ElementGaussians
        self.radial = radial(num_radial, num_species, self.cutoff)
        self.coefficient = torch.nn.Parameter(torch.empty(num_species, num_radial))  # c^0 of each element
        self.conv = OrbitalConv()
        self.densities = torch.nn.ModuleList(
            OrbitalDensity(self.angular.components, num_radial, num_density)
            for _ in range(1 if share_contraction else num_iterations + 1)
        )
        self.scalings = torch.nn.ModuleList(
            SoftStandardize(num_species, num_density) for _ in range(num_iterations + 1)
        )
        self.updates = torch.nn.ModuleList(
            ElementMLP(num_species, num_density, hidden_channels, num_radial) for _ in range(num_iterations)
        )
        self.readout = ElementMLP(num_species, num_density, hidden_channels, 1)
        self.register_buffer("_species", _species_table(self.elements), persistent=False)
        self.reset_parameters()

    @property
    def config(self) -> dict[str, Any]:
        """Constructor arguments that rebuild this model."""
        return {
            "elements": [SYMBOLS[number] for number in self.elements],
            "cutoff": self.cutoff,
            "angular": self.angular,
            "envelope": self.envelope,
            "num_radial": self.radial.num_radial,
            "num_density": self.num_density,
            "num_iterations": self.num_iterations,
            "hidden_channels": self.hidden_channels,
            "pair_radial": isinstance(self.radial, PairGaussians),
            "share_contraction": self.share_contraction,
        }

    def reset_parameters(self) -> None:
        """Draw new parameters and forget the statistics."""
        for part in (self.radial, *self.densities, *self.scalings, *self.updates, self.readout):
            part.reset_parameters()
        torch.nn.init.normal_(self.coefficient, std=self.coefficient.size(1) ** -0.5)

    def species(self, z: Tensor) -> Tensor:
        """Element index of each atom, ``[N]``.

        Raises:
            ValueError: if an atom's element is not one of ``elements``.
        """
        species = self._species[z]  # type: ignore[index]
        if not tracing() and species.numel() and int(species.min()) < 0:
            unknown = describe(set(z[species < 0].tolist()))
            known = describe(self.elements)
            raise ValueError(f"unknown element {unknown}: this model was made for {known}; add it to `elements`")
        return species

    def message(self, coefficient: Tensor, orbital: Tensor, orbital_sum: Tensor) -> Tensor | None:
        r"""What an atom passes on, :math:`M_j = c_j \sum_{s \le t} \psi_j^s`, ``[N, lm, n]``; other rules override it.

        Args:
            coefficient: new coefficient :math:`c_j^{t+1}`, ``[N, n]``.
            orbital: last orbital :math:`\psi_j^t`, ``[N, lm, n]``.
            orbital_sum: sum of all orbitals so far, ``[N, lm, n]``.
        """
        return coefficient.unsqueeze(-2) * orbital_sum

    def basis(self, edge_vec: Tensor, species_j: Tensor, species_i: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Radial functions with their envelope ``[E, n]``, angular part ``[E, lm]`` and envelope ``[E]`` of every edge."""
        r = edge_vec.norm(dim=-1)  # -> [E]
        envelope = self.envelope(r, self.cutoff)  # -> [E]
        radial = self.radial(r, species_j, species_i, envelope)  # -> [E, n]
        return radial, self.angular(edge_vec, r), envelope

    def iterate(self, z: Tensor, edge_index: Tensor, edge_vec: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield orbital ``[N, lm, n]`` and density ``[N, k]`` of every iteration t = 0..T."""
        species = self.species(z)
        radial, angular, envelope = by_rows(self.basis, edge_vec, species[edge_index[0]], species[edge_index[1]])
        order = edge_order(edge_index, z.numel()) if kernels_for(radial) else None
        edges = (edge_index, radial, angular, envelope, order)

        coefficient = self.coefficient.index_select(0, species)  # -> [N, n]
        orbital = self.conv(coefficient, None, *edges)  # -> [N, lm, n]
        orbital_sum = orbital
        for t in range(self.num_iterations + 1):
            (density,) = by_rows(partial(self._density, t), orbital)  # -> [N, k]
            yield orbital, density
            if t < self.num_iterations:
                (coefficient,) = by_rows(partial(self._update, t), coefficient, density, species)
                orbital = self.conv(coefficient, self.message(coefficient, orbital, orbital_sum), *edges)
                orbital_sum = orbital_sum + orbital

    def _density(self, t: int, orbital: Tensor) -> tuple[Tensor]:
        return (self.densities[0 if self.share_contraction else t](orbital),)

    def _update(self, t: int, coefficient: Tensor, density: Tensor, species: Tensor) -> tuple[Tensor]:
        return (coefficient + self.updates[t](self.scalings[t](density, species), species),)

    def _energy(self, density: Tensor, species: Tensor) -> tuple[Tensor]:
        return (self.readout(self.scalings[-1](density, species), species).squeeze(-1),)

    def encode(self, z: Tensor, edge_index: Tensor, edge_vec: Tensor) -> tuple[Tensor, Tensor]:
        """Last density ``[N, k]`` (invariant) and last orbital ``[N, lm, n]`` (equivariant)."""
        *_, (orbital, density) = self.iterate(z, edge_index, edge_vec)
        return density, orbital

    def forward(self, z: Tensor, edge_index: Tensor, edge_vec: Tensor) -> Tensor:
        """Atomic energies ``[N]``."""
        density, _ = self.encode(z, edge_index, edge_vec)
        (energy,) = by_rows(self._energy, density, self.species(z))
        return energy

    @torch.no_grad()
    def fit_statistics(self, z: Tensor, edge_index: Tensor, edge_vec: Tensor) -> None:
        r"""Prepare an untrained model for a training set, given one graph that holds (a sample of) it.

        Scales the orbital coefficients to :math:`3 / \langle \sum_j f(r_{ij}) \rangle`, at which orbitals grow about threefold
        from one iteration to the next: what has come from far is then not drowned by what is near. Standardises every
        density, so that the networks see none of that growth.
        """
        envelope = self.envelope(edge_vec.norm(dim=-1), self.cutoff)
        per_atom = scatter(envelope, edge_index[1], dim_size=z.numel()).mean()
        rms = self.coefficient.square().mean().sqrt()
        self.coefficient.mul_(GROWTH / (rms * per_atom.clamp(min=1.0)))
        for scaling, (_, density) in zip(self.scalings, self.iterate(z, edge_index, edge_vec), strict=True):
            scaling.fit(density, self.species(z))  # type: ignore[operator]


class REANN(EquiREANN):
    """Invariant message passing: atoms tell their neighbours coefficients, but no orbitals.

    Source: Zhang, Xia, Jiang, Phys. Rev. Lett. 2021, 127, 156002. Arguments as for :class:`EquiREANN`.
    """

    def message(self, coefficient: Tensor, orbital: Tensor, orbital_sum: Tensor) -> None:
        """Nothing equivariant is passed on."""
        return None


class EANN(REANN):
    """Strictly local embedded atom neural network: :class:`REANN` without iterations.

    Source: Zhang, Hu, Jiang, J. Phys. Chem. Lett. 2019, 10, 4962. Arguments as for :class:`EquiREANN`, without
    ``num_iterations``.
    """

    def __init__(
        self,
        elements: Sequence[str | int],
        cutoff: float = 5.0,
        angular: Angular | None = None,
        envelope: Envelope | None = None,
        num_radial: int = 8,
        num_density: int = 64,
        hidden_channels: Sequence[int] = (64, 64),
        pair_radial: bool = True,
    ) -> None:
        super().__init__(elements, cutoff, angular, envelope, num_radial, num_density, 0, hidden_channels, pair_radial)

    @property
    def config(self) -> dict[str, Any]:
        """Constructor arguments that rebuild this model."""
        config = super().config
        del config["num_iterations"], config["share_contraction"]
        return config


def _species_table(elements: Iterable[int]) -> Tensor:
    """Element index of every atomic number, -1 where unknown, ``[119]``."""
    table = torch.full((len(SYMBOLS),), -1)
    for index, number in enumerate(elements):
        table[number] = index
    return table
