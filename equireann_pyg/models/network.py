r"""The generic message-passing model: any descriptor with any message rule.

From edges to atomic energies, for iterations t = 0..T (node-factored form of the published recursion):

.. math::
    \psi_i^t &= \sum_j [ c_j^t\, R(r_{ij}) \otimes Y(\mathbf r_{ij}) + f(r_{ij})\, M_j^t ] \\
    B_i^t &= D(\psi_i^t; z_i) \\
    c_j^{t+1}, M_j^{t+1} &= \mathrm{Rule}^t(B_j^t, c_j^t, \psi_j^t) \\
    E_i &= \mathrm{Out}_{z_i}(B_i^0, \ldots, B_i^T)

Rules that keep local orbitals and messages apart have :math:`\oplus` in place of the plus: channels side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import deepcopy
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from equireann_pyg.elements import SYMBOLS, atomic_numbers, check_known
from equireann_pyg.models.blocks import RowFunction, in_blocks
from equireann_pyg.models.copies import common_count, copies, layouts_of
from equireann_pyg.models.domain import Domain, Whole
from equireann_pyg.models.earlier import Recipe, present_network
from equireann_pyg.models.neighbourhoods import EDGES, Block, Neighbourhoods
from equireann_pyg.nn import (
    Angular,
    CartesianMoments,
    Density,
    Descriptor,
    Edges,
    EnergyReadout,
    Envelope,
    Equivariant,
    LastReadout,
    Layout,
    MessageRule,
    OrbitalConv,
    PairRadial,
    Plan,
    PolynomialCutoff,
    Radial,
    SphericalHarmonics,
)
from equireann_pyg.nn.scaling import calibrate, rattled
from equireann_pyg.ops import edge_order, row_sum, rows_of
from equireann_pyg.ops.values import readable


class Embedding(NamedTuple):
    """What a network makes of a graph."""

    energy: Tensor
    """Atomic energies ``[N]``."""

    features: Tensor
    """Last features ``[N, k]``, invariant."""

    orbital: Tensor
    """Last orbital ``[N, lm, n + m]``, equivariant."""

    species: Tensor
    """Element index of each atom ``[N]``."""


class OrbitalNetwork(Plan):
    r"""A message-passing model made of a local descriptor and a message rule.

    The descriptor knows nothing of messages. Without iterations the network is the local model; a rule makes it see
    (T + 1) cutoffs far. EquiREANN, REANN and EANN in these terms::

        OrbitalNetwork(elements, cutoff, Density(64), Equivariant(), num_iterations=3)
        OrbitalNetwork(elements, cutoff, Density(64), Invariant(), num_iterations=3)
        OrbitalNetwork(elements, cutoff, Density(64), Local(), num_iterations=0)

    Source of the scheme: Wu, Xia, Zhang, Jiang, J. Phys. Chem. A 2024, 128, 11061.

    Args:
        elements: chemical symbols or atomic numbers the model knows; the command line takes those of the training set.
        cutoff: :math:`r_c` in Angstrom.
        descriptor: plan of the descriptor; default :class:`~equireann_pyg.nn.Density`.
        rule: plan of the message rule; default :class:`~equireann_pyg.nn.Equivariant`.
        readout: plan of the energy readout; default :class:`~equireann_pyg.nn.LastReadout`.
        angular: angular part; default :class:`~equireann_pyg.nn.SphericalHarmonics` of degree 0..2.
        envelope: cutoff envelope; default :class:`~equireann_pyg.nn.PolynomialCutoff`, the paper's is
            :class:`~equireann_pyg.nn.CosineCutoff`.
        radial: plan of the radial functions; default :class:`~equireann_pyg.nn.PairRadial` of 8 channels.
        num_iterations: number of message-passing iterations T; the receptive field is (T + 1) cutoffs.

    Shapes:
        - z: ``[N]`` atomic numbers
        - edge_index: ``[2, E]``, row 0 the neighbours j, row 1 the centres i; ``edge_order`` is theirs, where it is known
        - edge_vec: ``[E, 3]``, :math:`\mathbf r_j - \mathbf r_i` in Angstrom; longer than the cutoff is allowed
        - output: atomic energies ``[N]``, in units of the training set's scale

    Attributes:
        block_size: rows of 64 numbers that are worked through at a time, for inference; None for all at once.
        domain: part of a divided system that the graph is; results are then of its own atoms. By default a whole one.

    Raises:
        ValueError: for unknown elements, a non-positive cutoff, negative ``num_iterations``, or a descriptor or rule that
            cannot work on these orbitals.
    """

    block_size: int | None = None
    domain: Whole | Domain = Whole()

    def __init__(
        self,
        elements: Sequence[str | int] = (),
        cutoff: float = 5.0,
        descriptor: Descriptor | None = None,
        rule: MessageRule | None = None,
        readout: EnergyReadout | None = None,
        angular: Angular | None = None,
        envelope: Envelope | None = None,
        radial: Radial | None = None,
        num_iterations: int = 3,
    ) -> None:
        super().__init__()
        if not cutoff > 0:
            raise ValueError(f"cutoff: expected a positive length in Angstrom, got {cutoff}")
        if num_iterations < 0:
            raise ValueError(f"num_iterations: expected 0 or more, got {num_iterations}")
        self.elements = atomic_numbers(elements)
        self.cutoff = float(cutoff)
        self.num_iterations = num_iterations
        self.angular = SphericalHarmonics() if angular is None else angular
        self.envelope = PolynomialCutoff() if envelope is None else envelope
        descriptor = Density() if descriptor is None else descriptor
        rule = Equivariant() if rule is None else rule
        readout = LastReadout() if readout is None else readout
        radial = PairRadial() if radial is None else radial
        if not isinstance(radial, Radial):
            raise TypeError(
                f"radial: expected a plan of radial functions, such as PairRadial({radial}), got {radial!r}"
            )
        self.given = deepcopy({"descriptor": descriptor, "rule": rule, "readout": readout})
        self.given["radial"], self.given["elements"] = radial, [SYMBOLS[number] for number in self.elements]
        self.radial_envelope = self.envelope if radial.envelope is None else radial.envelope
        self._build(descriptor, rule, readout, radial)
        self.reset_parameters()

    def _build(self, descriptor: Descriptor, rule: MessageRule, readout: EnergyReadout, radial: Radial) -> None:
        num_species = len(self.elements)
        cartesian = isinstance(self.angular, CartesianMoments)
        local = Layout(tuple(self.angular.components), radial.num_radial, num_species, cartesian)
        layouts = layouts_of(local, rule, self.num_iterations)
        self.layout = layouts[-1]
        self.radial = radial.build(num_species, self.cutoff)
        self.coefficient = torch.nn.Parameter(torch.empty(num_species, radial.num_radial))  # c^0 of each element
        self.conv = OrbitalConv(concat=rule.num_messages > 0)
        self.descriptors = torch.nn.ModuleList(copies(descriptor, layouts))
        self.num_features = common_count(self.descriptors)
        scalings = (part.scaling(num_species, self.num_features) for part in self.descriptors)  # type: ignore[operator]
        self.scalings = torch.nn.ModuleList(scalings)
        self.rules = torch.nn.ModuleList(copies(rule, layouts[:-1], self.num_features))
        (self.readout,) = readout.copies(num_species, self.num_features, self.num_iterations, 1)
        self.register_buffer("_species", _species_table(self.elements), persistent=False)

    @classmethod
    def upgraded(cls, recipe: Recipe) -> Recipe:
        """Recipe in present terms of one that an earlier version has stored for this class."""
        return present_network(recipe)

    def reset_parameters(self) -> None:
        """Draw new parameters and forget the statistics."""
        for part in (self.radial, *self.descriptors, *self.scalings, *self.rules, self.readout):
            part.reset_parameters()
        torch.nn.init.normal_(self.coefficient, std=self.coefficient.size(1) ** -0.5)

    def species(self, z: Tensor) -> Tensor:
        """Element index of each atom, ``[N]``.

        Raises:
            ValueError: if an atom's element is not one of ``elements``. On other devices than the CPU nobody looks:
                :meth:`equireann_pyg.Potential.check` does it before, and without it torch stops at an index out of range.
        """
        species = self._species[z]  # type: ignore[index]
        if readable(species) and species.numel() and int(species.min()) < 0:
            check_known(z, self.elements)
        return species

    def basis(self, edge_vec: Tensor, species_j: Tensor, species_i: Tensor) -> tuple[Tensor, ...]:
        """Radial functions ``[E, n]``, angular part ``[E, lm]``, and both envelopes ``[E]`` of every edge."""
        r = edge_vec.norm(dim=-1)  # -> [E]
        envelope = self.envelope(r, self.cutoff)  # -> [E]
        near = envelope if self.radial_envelope is self.envelope else self.radial_envelope(r, self.cutoff)
        return self.radial(r, species_j, species_i, near), self.angular(edge_vec, r), envelope, near

    def by_rows(self, function: RowFunction, *rows: Tensor) -> tuple[Tensor, ...]:
        """Evaluate a function whose outputs depend row by row on its inputs, in blocks where there is a ``block_size``.

        Raises:
            RuntimeError: for blocks in training, where they would lose the gradients of the parameters.
        """
        if self.block_size is None:
            return function(*rows)
        if self.training:
            raise RuntimeError("blocks of rows have no gradients of parameters: train without block_size")
        return in_blocks(self.block_size, function, *rows)

    def iterate(self, z: Tensor, edge_index: Tensor, edge_vec: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield orbital ``[N, lm, n]``, later ``[N, lm, n + m]``, and standardised features ``[N, k]`` of every t = 0..T."""
        return self._iterate(self.species(z), edge_index, edge_vec, None)

    def _iterate(self, species: Tensor, *edges: Any) -> Iterator[tuple[Tensor, Tensor]]:
        gather, own = self._gathering(species, *edges), self.domain.own
        coefficient = rows_of(self.coefficient, species)  # -> [N, n]
        orbital = gather(None, coefficient, None)  # -> [N, lm, n]
        coefficient, species, orbital_sum = own(coefficient), own(species), orbital
        for t, rule in enumerate([*self.rules, None]):
            (features,) = self.by_rows(partial(self._features, t), orbital, species)  # -> [N, k]
            yield orbital, features
            if rule is not None:
                orbital_sum = rule.gathered(orbital_sum, orbital) if t else orbital
                coefficient, *carried = self.by_rows(rule, features, coefficient, orbital, orbital_sum, species)
                known, *messages = self.domain.everywhere(coefficient, *carried)
                orbital = gather(rule, known, messages[0] if messages else None)  # -> [N, lm, n] or [N, lm, n + m]

    def _gathering(
        self, species: Tensor, edge_index: Tensor, edge_vec: Tensor, order: Tensor | None
    ) -> Callable[..., Tensor]:
        """What makes orbitals of a rule, or None at first, coefficients, and messages or None: at once or in blocks."""
        size, atoms, own = self.block_size, species.numel(), self.domain.own
        if size is None or max(atoms, edge_index.size(1) / EDGES) <= size:
            order = edge_order(edge_index, atoms) if order is None else order
            return self._gathering_at_once(edge_index, order, edge_vec, species, own)
        graph = Neighbourhoods(edge_index, edge_vec, atoms, size)

        def of_block(rule: MessageRule | None, block: Block, vec: Tensor, species: Tensor, *fields: Tensor) -> Tensor:
            gather = self._gathering_at_once(block.edge_index, block.order, vec, species, block.own)
            return gather(rule, *fields)

        return lambda rule, *fields: own(graph.evaluate(partial(of_block, rule), species, *fields))

    def _gathering_at_once(
        self, edge_index: Tensor, order: Tensor, edge_vec: Tensor, species: Tensor, own: Callable[[Tensor], Tensor]
    ) -> Callable[..., Tensor]:
        ends = species[edge_index[0]], species[edge_index[1]]
        radial, angular, envelope, radial_envelope = self.basis(edge_vec, *ends)
        edges = Edges(edge_index, order, radial, angular, envelope, radial_envelope, own)  # once for all iterations

        def gather(rule: MessageRule | None, coefficient: Tensor, message: Tensor | None) -> Tensor:
            if rule is None:
                return self.conv.over(edges, coefficient, None, edges.envelope)
            return rule.normalized(rule.neighbour_sum(self.conv, coefficient, message, edges))

        return gather

    def _features(self, t: int, orbital: Tensor, species: Tensor) -> tuple[Tensor]:
        return (self.scalings[t](self.descriptors[t](orbital, species), species),)

    def encode(self, z: Tensor, edge_index: Tensor, edge_vec: Tensor) -> tuple[Tensor, Tensor]:
        """Last features ``[N, k]`` (invariant) and last orbital ``[N, lm, n]`` (equivariant)."""
        *_, (orbital, features) = self.iterate(z, edge_index, edge_vec)
        return features, orbital

    def embed(self, z: Tensor, edge_index: Tensor, edge_vec: Tensor, edge_order: Tensor | None = None) -> Embedding:
        """Atomic energies ``[N]``, last features ``[N, k]``, last orbital ``[N, lm, n]`` and element index ``[N]``."""
        species = self.species(z)
        orbitals, features = zip(*self._iterate(species, edge_index, edge_vec, edge_order), strict=True)
        species = self.domain.own(species)
        (energy,) = self.by_rows(lambda species, *features: (self.readout(features, species),), species, *features)
        return Embedding(energy, features[-1], orbitals[-1], species)

    def forward(self, z: Tensor, edge_index: Tensor, edge_vec: Tensor, edge_order: Tensor | None = None) -> Tensor:
        """Atomic energies ``[N]``."""
        return self.embed(z, edge_index, edge_vec, edge_order).energy

    @torch.no_grad()
    def fit_statistics(self, z: Tensor, edge_index: Tensor, edge_vec: Tensor) -> None:
        """Prepare an untrained model for a training set, given one graph that holds (a sample of) it.

        Tells the rule how many neighbours an atom has. Then every part with statistics takes them from what reaches it. They
        are taken on rattled vectors: a feature that hardly varies in the set, as in a rigid scan, may still have large
        derivatives, and scaled by its variance alone would make the forces run away.
        """
        envelope = self.envelope(edge_vec.norm(dim=-1), self.cutoff)  # -> [E]
        neighbours = row_sum(envelope, edge_index[1], None, z.numel()).mean()
        for rule in self.rules:
            rule.fit_neighbours(neighbours)  # type: ignore[operator]
        calibrate(self, z, edge_index, rattled(edge_vec))


def _species_table(elements: Iterable[int]) -> Tensor:
    """Element index of every atomic number, -1 where unknown, ``[119]``."""
    table = torch.full((len(SYMBOLS),), -1)
    for index, number in enumerate(elements):
        table[number] = index
    return table
