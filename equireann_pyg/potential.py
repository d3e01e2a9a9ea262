r"""From atomic energies to energy, forces and stress."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.utils import scatter

from equireann_pyg.elements import SYMBOLS, atomic_number, describe
from equireann_pyg.graph import edge_differences

GraphTensors = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor | None]
"""z, pos, cell, edge_index, edge_shift and batch of a graph or a batch of graphs."""


class AtomicEnergyModel(Protocol):
    """What :class:`Potential` asks of a model; any :class:`torch.nn.Module` with these members will do."""

    cutoff: float
    elements: list[int]

    def __call__(self, z: Tensor, edge_index: Tensor, edge_vec: Tensor) -> Tensor:
        """Atomic energies ``[N]`` from atomic numbers ``[N]``, edges ``[2, E]`` and vectors r_j - r_i ``[E, 3]``."""
        ...


class Potential(torch.nn.Module):
    r"""Energy, forces and stress of any model of atomic energies.

    .. math::
        E = \sum_i [ E^0_{z_i} + s\, \epsilon_i ], \qquad
        F_i = \sum_j \Bigl( \frac{\partial E}{\partial \mathbf r_{ij}}
            - \frac{\partial E}{\partial \mathbf r_{ji}} \Bigr), \qquad
        \sigma = \frac 1 V \sum_{ij} \mathbf r_{ij} \otimes \frac{\partial E}{\partial \mathbf r_{ij}}

    with :math:`\mathbf r_{ij} = \mathbf r_j - \mathbf r_i`: positions and strain act through the edge vectors alone, so
    one derivative serves forces and stress. Reference energies and the sum over atoms are float64 throughout.

    Args:
        model: a module that fulfils :class:`AtomicEnergyModel`.

    Raises:
        TypeError: if ``model`` lacks ``cutoff`` or ``elements``.
    """

    reference_energies: Tensor
    scale: Tensor

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        for name in ("cutoff", "elements"):
            if not hasattr(model, name):
                raise TypeError(
                    f"{type(model).__name__} has no `{name}`: a model for Potential needs `cutoff` (Angstrom), "
                    "`elements` (atomic numbers) and forward(z, edge_index, edge_vec) -> [N]"
                )
        self.model = model
        self.register_buffer("reference_energies", torch.zeros(len(SYMBOLS), dtype=torch.float64))  # eV
        self.register_buffer("scale", torch.ones((), dtype=torch.float64))  # eV

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Potential:
        """Move or convert the model; reference energies and scale move along, but stay float64."""
        exact = {name: getattr(self, name) for name in ("reference_energies", "scale")}
        super()._apply(fn, recurse)
        for name, value in exact.items():
            setattr(self, name, value.to(getattr(self, name).device))
        return self

    @property
    def cutoff(self) -> float:
        """Cutoff of the model in Angstrom."""
        return float(self.model.cutoff)  # type: ignore[arg-type]

    @property
    def elements(self) -> list[int]:
        """Atomic numbers the model knows."""
        return list(self.model.elements)  # type: ignore[arg-type]

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of the model's arithmetic."""
        return next(self.model.parameters()).dtype

    def set_references(self, energies: Mapping[int, float] | Mapping[str, float], scale: float = 1.0) -> None:
        """Set reference energies (eV per atom of each element) and the energy scale (eV).

        Raises:
            ValueError: if an element of the model has no reference or a value is not finite.
        """
        table = {atomic_number(element): float(value) for element, value in energies.items()}
        missing = set(self.elements) - set(table)
        if missing:
            raise ValueError(f"reference energies lack {describe(missing)}: give one for every element")
        values = torch.tensor([table[number] for number in self.elements], dtype=torch.float64)
        if not (torch.isfinite(values).all() and 0 < scale < float("inf")):
            raise ValueError(f"reference energies and scale must be finite, scale positive; got {table}, {scale}")
        self.reference_energies.zero_()
        self.reference_energies[self.elements] = values.to(self.reference_energies.device)
        self.scale.fill_(scale)

    def forward(self, data: Data, forces: bool = True, stress: bool | None = None) -> dict[str, Tensor]:
        """Evaluate a graph or a batch of graphs; the input is left untouched.

        In training mode the outputs carry a graph for the force loss, in evaluation mode they are detached.

        Args:
            data: graph with the fields of :mod:`equireann_pyg.graph`.
            forces: compute forces.
            stress: compute stress; by default when a graph has a cell with a volume.

        Returns:
            ``energy [G]`` in eV, ``atomic_energy [N]`` in eV, ``forces [N, 3]`` in eV/Angstrom and ``stress [G, 3, 3]`` in
            eV/Angstrom^3 (ASE's sign: positive under tension; NaN for graphs without volume), all float64.

        Raises:
            ValueError: for elements the model does not know, a graph with too short a cutoff, or stress asked for
                without a cell.
        """
        stress = self.check(data, stress)
        return self.evaluate(graph_tensors(data), forces, stress)

    def check(self, data: Data, stress: bool | None = None) -> bool:
        """Refuse a graph that cannot be evaluated; tell whether to compute stress. Arguments as in :meth:`forward`."""
        check_cutoff(data, self.cutoff)
        return has_volume(data, stress)

    def evaluate(self, tensors: GraphTensors, forces: bool, stress: bool) -> dict[str, Tensor]:
        """:meth:`forward` on :func:`graph_tensors`, free of checks and of choices that depend on values."""
        z, pos, cell, edge_index, edge_shift, batch = tensors
        differentiate = forces or stress
        with torch.set_grad_enabled(differentiate or (self.training and torch.is_grad_enabled())):
            edge_vec = edge_differences(pos, cell, edge_index, edge_shift, batch)  # -> [E, 3]
            if differentiate and not edge_vec.requires_grad:
                edge_vec.requires_grad_()
            atomic = self.scale * self.model(z, edge_index, edge_vec.to(self.dtype)).double()
            atomic = atomic + self.reference_energies.index_select(0, z)  # -> [N]
            energy = _per_graph(atomic, batch, cell.size(0))  # -> [G]
            output = {"energy": energy, "atomic_energy": atomic}
            if differentiate:
                (gradient,) = torch.autograd.grad(
                    energy.sum(), edge_vec, create_graph=self.training, materialize_grads=True
                )  # -> [E, 3]
            if forces:
                output["forces"] = _forces(gradient, edge_index, z.numel())
            if stress:
                output["stress"] = _stress(_virial(edge_vec, gradient, edge_index, batch, cell.size(0)), cell)
        return output if self.training else {key: value.detach() for key, value in output.items()}


def check_cutoff(data: Data, cutoff: float) -> None:
    """Refuse a graph that was built with a shorter cutoff than ``cutoff`` (Angstrom).

    Raises:
        ValueError: with both cutoffs.
    """
    built = data.get("cutoff") if hasattr(data, "get") else None
    if built is not None and bool((built < cutoff - 1e-6).any()):
        raise ValueError(
            f"cutoff mismatch: the graph was built with {float(built.min()):g} Angstrom, the model needs "
            f"{cutoff:g}; build it with from_ase(atoms, cutoff={cutoff:g})"
        )


def has_volume(data: Data, stress: bool | None = None) -> bool:
    """Whether to compute stress: as asked for, or else if any graph has a cell with a volume.

    Raises:
        ValueError: if it was asked for and a graph has no volume.
    """
    if stress is False:
        return False
    volume = _volume(data.cell)
    if stress is None:
        return bool((volume > 0).any())
    if not bool((volume > 0).all()):
        raise ValueError("stress: the graph has no cell volume; set a cell or leave out stress")
    return True


def graph_tensors(data: Data) -> GraphTensors:
    """Fields of a graph or batch that a potential reads: z, pos, cell, edge_index, edge_shift, batch."""
    return data.z, data.pos, data.cell, data.edge_index, data.edge_shift, data.batch


def _per_graph(values: Tensor, batch: Tensor | None, num_graphs: int) -> Tensor:
    return values.sum(0, keepdim=True) if batch is None else scatter(values, batch, dim_size=num_graphs)


def _forces(gradient: Tensor, edge_index: Tensor, num_nodes: int) -> Tensor:
    """Forces ``[N, 3]`` from the gradient with respect to the edge vectors."""
    source, target = edge_index
    return scatter(gradient, target, dim_size=num_nodes) - scatter(gradient, source, dim_size=num_nodes)


def _virial(edge_vec: Tensor, gradient: Tensor, edge_index: Tensor, batch: Tensor | None, num_graphs: int) -> Tensor:
    r""":math:`\sum_{ij} \mathbf r_{ij} \otimes \partial E / \partial \mathbf r_{ij}` of every graph, ``[G, 3, 3]``."""
    if batch is None:
        return (edge_vec.T @ gradient).unsqueeze(0)
    outer = edge_vec.unsqueeze(2) * gradient.unsqueeze(1)  # -> [E, 3, 3]
    return scatter(outer, batch[edge_index[1]], dim_size=num_graphs)


def _volume(cell: Tensor) -> Tensor:
    """Volumes ``[G]`` of the cells ``[G, 3, 3]``, zero for open systems."""
    a, b, c = cell.unbind(1)
    return (torch.linalg.cross(a, b) * c).sum(-1).abs()


def _stress(virial: Tensor, cell: Tensor) -> Tensor:
    """Symmetric virial per volume, NaN where there is no volume; the double ``where`` keeps gradients finite."""
    volume = _volume(cell).view(-1, 1, 1)
    stress = 0.5 * (virial + virial.transpose(1, 2)) / torch.where(volume > 0, volume, torch.ones_like(volume))
    return torch.where(volume > 0, stress, torch.full_like(stress, torch.nan))
