"""What adapters of other packages share: elements, cutoff, arguments for a file, and indices of elements."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from ase.calculators.calculator import Calculator, all_changes
from torch import Tensor

from equireann_pyg.elements import SYMBOLS, atomic_numbers


class Adapter(torch.nn.Module):
    """A model of another package as one of atomic energies.

    A subclass makes the package's model in its constructor, and gives atomic energies in ``forward(z, edge_index, edge_vec)``.
    Where the package has a calculator of its own, ``own_calculator()`` gives one with the same weights; where the model wants
    to know the average number of neighbours, ``fit_statistics`` tells it.

    Args:
        elements: chemical symbols or atomic numbers.
        cutoff: in Angstrom.
        sizes: further arguments of the subclass, for its ``config``.
    """

    species: Tensor

    def __init__(self, elements: Sequence[str | int], cutoff: float, **sizes: Any) -> None:
        super().__init__()
        self.elements = sorted(atomic_numbers(elements))
        self.cutoff = cutoff
        self.config = {"elements": [SYMBOLS[number] for number in self.elements], "cutoff": cutoff, **sizes}
        table = torch.full((len(SYMBOLS),), -1)
        table[self.elements] = torch.arange(len(self.elements))
        self.register_buffer("species", table, persistent=False)  # index of each element, -> [Z]


def within(edge_index: Tensor, edge_vec: Tensor, cutoff: float) -> tuple[Tensor, Tensor]:
    """Edges that are shorter than the cutoff, since others may be among those of a graph."""
    inside = edge_vec.detach().norm(dim=-1) < cutoff
    return edge_index[:, inside], edge_vec[inside]


def one_graph(z: Tensor) -> Tensor:
    """Graph of each atom where all atoms may be one graph, since only edges connect them: ``[N]`` zeros."""
    return torch.zeros_like(z)


def mean_neighbours(z: Tensor, edge_index: Tensor) -> float:
    """Average number of neighbours of an atom."""
    return edge_index.size(1) / max(1, z.numel())


class OwnForward(Calculator):
    """Calculator of a package that has none: its own forward, with forces by differentiation.

    Args:
        energy: from atomic numbers ``[N]`` and positions ``[N, 3]`` of an open system.
        dtype: of the positions.
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "forces"]

    def __init__(self, energy: Callable[[Tensor, Tensor], Tensor], dtype: torch.dtype) -> None:
        super().__init__()
        self.energy, self.dtype = energy, dtype

    def calculate(self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = all_changes) -> None:
        """Energy in eV, forces in eV/Angstrom."""
        super().calculate(atoms, properties, system_changes)
        pos = torch.tensor(self.atoms.positions, dtype=self.dtype, requires_grad=True)
        energy = self.energy(torch.tensor(self.atoms.numbers), pos).sum()
        (gradient,) = torch.autograd.grad(energy, pos)
        self.results = {"energy": float(energy.detach()), "forces": -gradient.double().numpy()}
