r"""From atomic energies to energy, forces and stress, and from the features of the atoms to further properties."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, cast

import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.utils import scatter

from equireann_pyg.elements import SYMBOLS, atomic_number, check_trained, describe
from equireann_pyg.graph import edge_differences
from equireann_pyg.properties import Features, GraphTensors, Property, per_graph


class AtomicEnergyModel(Protocol):
    """What :class:`Potential` asks of a model; any :class:`torch.nn.Module` with these members will do."""

    cutoff: float
    elements: list[int]

    def __call__(self, z: Tensor, edge_index: Tensor, edge_vec: Tensor) -> Tensor:
        """Atomic energies ``[N]`` from atomic numbers ``[N]``, edges ``[2, E]`` and vectors r_j - r_i ``[E, 3]``."""
        ...


class Potential(torch.nn.Module):
    r"""Energy, forces and stress of any model of atomic energies, and properties of models that give features.

    .. math::
        E = \sum_i [ E^0_{z_i} + s\, \epsilon_i ], \qquad
        F_i = \sum_j \Bigl( \frac{\partial E}{\partial \mathbf r_{ij}}
            - \frac{\partial E}{\partial \mathbf r_{ji}} \Bigr), \qquad
        \sigma = \frac 1 V \sum_{ij} \mathbf r_{ij} \otimes \frac{\partial E}{\partial \mathbf r_{ij}}

    with :math:`\mathbf r_{ij} = \mathbf r_j - \mathbf r_i`: positions and strain act through the edge vectors alone, so
    one derivative serves forces and stress. Reference energies and the sum over atoms are float64 throughout.

    Args:
        model: a module that fulfils :class:`AtomicEnergyModel`.
        properties: further outputs (see :mod:`equireann_pyg.properties`); the model must then have ``embed``, which gives
            atomic energies, densities ``[N, k]`` and orbitals ``[N, lm, n]``, as :class:`~equireann_pyg.EquiREANN` does.

    Raises:
        TypeError: if ``model`` lacks ``cutoff`` or ``elements``, or what its properties need.
        ValueError: if two properties have the same output.

    Attributes:
        prepared: whether references, scale and statistics of a training set are there (a buffer: part of every file).
        training_atoms: number of atoms of each element ``[119]`` that the potential was trained on (likewise).
        allow_untrained: evaluate atoms of elements that it was not trained on, too.
    """

    reference_energies: Tensor
    scale: Tensor
    prepared: Tensor
    training_atoms: Tensor
    allow_untrained = False

    def __init__(self, model: torch.nn.Module, properties: Sequence[Property] = ()) -> None:
        super().__init__()
        for name in ("cutoff", "elements"):
            if not hasattr(model, name):
                raise TypeError(
                    f"{type(model).__name__} has no `{name}`: a model for Potential needs `cutoff` (Angstrom), "
                    "`elements` (atomic numbers) and forward(z, edge_index, edge_vec) -> [N]"
                )
        self.model = model
        self._untrained: list[int] = []
        self.properties = torch.nn.ModuleList(properties)
        for part in properties:
            part.attach(model)
        names = [name for part in properties for name in part.scales()]
        if len(set(names)) < len(names):
            raise ValueError(f"properties: the outputs {names} must differ; Dipole gives charges too")
        self.register_buffer("reference_energies", torch.zeros(len(SYMBOLS), dtype=torch.float64))  # eV
        self.register_buffer("scale", torch.ones((), dtype=torch.float64))  # eV
        self.register_buffer("prepared", torch.tensor(False))
        self.register_buffer("training_atoms", torch.zeros(len(SYMBOLS), dtype=torch.int64))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Files from before ``prepared`` and ``training_atoms`` hold trained potentials of all their elements."""
        state_dict.setdefault(f"{prefix}prepared", torch.tensor(True))
        atoms = torch.zeros_like(self.training_atoms)
        atoms[self.elements] = 1
        state_dict.setdefault(f"{prefix}training_atoms", atoms)
        super()._load_from_state_dict(state_dict, prefix, *args)
        self.train(self.training)

    def untrained_elements(self) -> list[int]:
        """Atomic numbers the model knows but, prepared for a training set, has not met there."""
        if not bool(self.prepared):
            return []
        counts = self.training_atoms.tolist()
        return [number for number in self.elements if counts[number] == 0]

    def record_training(self, dataset: Iterable[Data]) -> None:
        """Note that the potential has been prepared for, and is trained on, a set of graphs."""
        counts = sum((torch.bincount(data.z, minlength=len(SYMBOLS)) for data in dataset), torch.zeros(len(SYMBOLS)))
        self.prepared.fill_(True)
        self.training_atoms.copy_(torch.maximum(self.training_atoms, counts.to(self.training_atoms)))
        self.train(self.training)

    def train(self, mode: bool = True) -> Potential:
        """Set training or evaluation mode; the latter looks up which elements are refused."""
        super().train(mode)
        self._untrained = [] if mode else self.untrained_elements()
        return self

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

    def scales(self) -> dict[str, Tensor]:
        """Units of energy, forces, stress (as virial) and every property in the loss."""
        units = dict.fromkeys(("energy", "forces", "stress"), self.scale)
        return units | {name: unit for part in self.properties for name, unit in part.scales().items()}  # type: ignore[operator]

    def forward(self, data: Data, forces: bool = True, stress: bool | None = None) -> dict[str, Tensor]:
        """Evaluate a graph or a batch of graphs; the input is left untouched.

        In training mode the outputs carry a graph for the force loss, in evaluation mode they are detached.

        Args:
            data: graph with the fields of :mod:`equireann_pyg.graph`.
            forces: compute forces.
            stress: compute stress; by default when a graph has a cell with a volume.

        Returns:
            ``energy [G]`` in eV, ``atomic_energy [N]`` in eV, ``forces [N, 3]`` in eV/Angstrom, ``stress [G, 3, 3]`` in
            eV/Angstrom^3 (ASE's sign: positive under tension; NaN for graphs without volume) and the outputs of the
            properties, all float64.

        Raises:
            ValueError: for elements the model does not know, a graph with too short a cutoff, or stress asked for
                without a cell.
        """
        stress = self.check(data, stress)
        return self.evaluate(self.tensors(data), forces, stress)

    def check(self, data: Data, stress: bool | None = None) -> bool:
        """Refuse a graph that cannot be evaluated; tell whether to compute stress. Arguments as in :meth:`forward`."""
        check_cutoff(data, self.cutoff)
        if self._untrained and not self.allow_untrained:
            check_trained(data.z, self._untrained)
        for part in self.properties:
            part.check(data)  # type: ignore[operator]
        return has_volume(data, stress)

    def tensors(self, data: Data) -> GraphTensors:
        """What :meth:`evaluate` reads of a graph or batch."""
        graph = GraphTensors(data.z, data.pos, data.cell, data.edge_index, data.edge_shift, data.batch)
        if not self.properties:
            return graph
        charge = data.get("total_charge")
        field = data.get("field") if any(part.uses_field for part in self.properties) else None
        return graph._replace(
            pbc=data.pbc,
            total_charge=data.pos.new_zeros(data.cell.size(0)) if charge is None else charge,
            field=field if field is not None and bool(field.any()) else None,
        )

    def evaluate(self, tensors: Sequence[Any], forces: bool, stress: bool) -> dict[str, Tensor]:
        """:meth:`forward` on :meth:`tensors`, free of checks and of choices that depend on values."""
        graph = GraphTensors(*tensors)
        differentiate = forces or stress
        with torch.set_grad_enabled(differentiate or (self.training and torch.is_grad_enabled())):
            variables = _variables(graph, differentiate)
            output = self._energies(graph, *variables)
            if differentiate:
                gradients = torch.autograd.grad(
                    output["energy"].sum(), variables, create_graph=self.training, materialize_grads=True
                )
            if forces:
                output["forces"] = -_position_gradient(gradients, graph)
            if stress:
                virial = _virial(variables[0], gradients[0], graph.edge_index, graph.batch, graph.cell.size(0))
                output["stress"] = _stress(virial, graph.cell)
        return output if self.training else {key: value.detach() for key, value in output.items()}

    def features(self, data: Data) -> Features:
        """What the properties are computed from."""
        graph = self.tensors(data)
        (edge_vec,) = _variables(graph._replace(field=None), differentiate=False)
        return self._embed(graph, edge_vec, graph.pos)[1]

    def _embed(self, graph: GraphTensors, edge_vec: Tensor, pos: Tensor) -> tuple[Tensor, Features]:
        model = cast(Any, self.model)
        energy, density, orbital = model.embed(graph.z, graph.edge_index, edge_vec.to(self.dtype))
        return energy, Features(graph, pos, model.species(graph.z), density, orbital)

    def _energies(self, graph: GraphTensors, edge_vec: Tensor, pos: Tensor | None = None) -> dict[str, Tensor]:
        """Energies and properties as functions of the edge vectors and, in a field, of the positions."""
        output: dict[str, Any] = {}
        if self.properties:
            energy, features = self._embed(graph, edge_vec, graph.pos if pos is None else pos)
            # Where nothing differentiates the outputs, nothing is kept for it.
            with torch.set_grad_enabled(torch.is_grad_enabled() and (self.training or graph.field is not None)):
                for part in self.properties:
                    output |= part(features)
        else:
            energy = self.model(graph.z, graph.edge_index, edge_vec.to(self.dtype))
        atomic = self.scale * energy.double() + self.reference_energies.index_select(0, graph.z)  # -> [N]
        atomic = atomic + output.pop("field_energy", 0.0)
        return {"energy": per_graph(atomic, graph.batch, graph.cell.size(0)), "atomic_energy": atomic, **output}

    def hessian_vector_product(self, data: Data, vector: Tensor) -> Tensor:
        r"""Second derivatives of the energy along v, :math:`\sum_j v_j\, \partial^2 E / \partial x_j\partial x_i`.

        Costs about as much as a training step; the Hessian itself, 3N times that, is never formed.

        Args:
            data: graph or batch.
            vector: displacements v ``[N, 3]``.

        Returns:
            ``[N, 3]`` in eV/Angstrom^2 times the unit of ``vector``, float64, detached.

        Raises:
            ValueError: see :meth:`forward`; also if ``vector`` has another shape than the positions.
        """
        self.check(data, stress=False)
        if vector.shape != data.pos.shape:
            raise ValueError(f"vector: expected the shape {list(data.pos.shape)}, got {list(vector.shape)}")
        graph = self.tensors(data)
        j, i = graph.edge_index
        with torch.enable_grad():
            variables = _variables(graph, differentiate=True)
            energy = self._energies(graph, *variables)["energy"].sum()
            first = torch.autograd.grad(energy, variables, create_graph=True, materialize_grads=True)
            along = (vector[j] - vector[i], vector)[: len(variables)]
            second = torch.autograd.grad(first, variables, along, materialize_grads=True)
        return _position_gradient(second, graph).detach()


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


def _variables(graph: GraphTensors, differentiate: bool) -> tuple[Tensor, ...]:
    """Edge vectors ``[E, 3]`` and, in a field, positions that the edge vectors do not depend on, ``[N, 3]``."""
    edge_vec = edge_differences(graph.pos, graph.cell, graph.edge_index, graph.edge_shift, graph.batch)
    variables = (edge_vec,) if graph.field is None else (edge_vec, graph.pos.clone())
    for variable in variables:
        if differentiate and not variable.requires_grad:
            variable.requires_grad_()
    return variables


def _position_gradient(gradients: Sequence[Tensor], graph: GraphTensors) -> Tensor:
    """Gradient with respect to the positions ``[N, 3]`` from those with respect to :func:`_variables`."""
    source, target = graph.edge_index
    num_nodes = graph.z.numel()
    through_edges = scatter(gradients[0], source, dim_size=num_nodes) - scatter(
        gradients[0], target, dim_size=num_nodes
    )
    return through_edges if len(gradients) == 1 else through_edges + gradients[1]


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
