r"""From atomic energies to energy, forces and stress, and from the features of the atoms to further properties."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, cast

import torch
from torch import Tensor
from torch_geometric.data import Data

from equireann_pyg.elements import SYMBOLS, atomic_number, check_known, describe
from equireann_pyg.graph.edges import check_cutoff
from equireann_pyg.graph.known import known
from equireann_pyg.nn.isolation import isolation
from equireann_pyg.ops import edge_order, more_atoms
from equireann_pyg.ops.values import readable
from equireann_pyg.potential.derivatives import has_volume, position_gradient, stress_tensor, variables
from equireann_pyg.potential.devices import refuse_tf32
from equireann_pyg.potential.model import atomic_energies, repulsive_energies, takes
from equireann_pyg.potential.record import TrainingRecord, present
from equireann_pyg.properties.base import Features, GraphTensors, Property, marked, per_graph

TINY = 1e-14
"""Isolation that changes no energy beyond rounding."""


class Potential(TrainingRecord):
    r"""Energy, forces and stress of any model of atomic energies, and properties of models that give features.

    .. math::
        E = \sum_i [ E^0_{z_i} + u_i - a_i\, u^0_{z_i} + V_i ], \qquad
        u_i = b_{z_i} + s\, \epsilon_i, \qquad
        F_i = \sum_j \Bigl( \frac{\partial E}{\partial \mathbf r_{ij}}
            - \frac{\partial E}{\partial \mathbf r_{ji}} \Bigr), \qquad
        \sigma = \frac 1 V \sum_{ij} \mathbf r_{ij} \otimes \frac{\partial E}{\partial \mathbf r_{ij}}

    with :math:`\mathbf r_{ij} = \mathbf r_j - \mathbf r_i`: positions and strain act through the edge vectors alone, so
    one derivative serves forces and stress. :math:`u^0` is u of an atom without neighbours, and the isolation a
    (:func:`~equireann_pyg.nn.isolation`) one for such an atom and next to zero in a molecule or crystal: the energy of an
    isolated atom is its reference :math:`E^0`, exactly. b is the mean binding energy where the references are of isolated
    atoms, else zero; V the repulsion. All but :math:`\epsilon` and a is float64 throughout.

    Args:
        model: a module that fulfils :class:`~equireann_pyg.potential.AtomicEnergyModel`.
        properties: further outputs (see :mod:`equireann_pyg.properties`); the model must then have ``embed``, which gives
            atomic energies, densities ``[N, k]``, orbitals ``[N, lm, n]`` and element indices ``[N]`` (or these by a method
            ``species(z)``), as :class:`~equireann_pyg.EquiREANN` does.
        repulsion: short-range repulsion, such as :class:`~equireann_pyg.nn.ZBL`: a module from ``z``, ``edge_index``,
            ``edge_vec`` and ``cutoff`` to atomic energies ``[N]`` in eV that are zero without neighbours.

    Raises:
        TypeError: if ``model`` lacks ``cutoff`` or ``elements``, or what its properties need.
        ValueError: if two properties have the same output.
    """

    exact = ("reference_energies", "binding_energies", "scale", "switch")
    earlier: ClassVar[Mapping[str, float]] = {**TrainingRecord.earlier, "binding_energies": 0.0, "switch": 0.0}
    reference_energies: Tensor
    binding_energies: Tensor
    scale: Tensor
    switch: Tensor

    def __init__(
        self,
        model: torch.nn.Module,
        properties: Sequence[Property] = (),
        repulsion: torch.nn.Module | None = None,
    ) -> None:
        super().__init__()
        for name in ("cutoff", "elements"):
            if not hasattr(model, name):
                raise TypeError(
                    f"{type(model).__name__} has no `{name}`: a model for Potential needs `cutoff` (Angstrom), "
                    "`elements` (atomic numbers) and forward(z, edge_index, edge_vec) -> [N]"
                )
        self.model = model
        self.properties = torch.nn.ModuleList(properties)
        for part in properties:
            part.attach(model)
        names = [name for part in properties for name in part.scales()]
        if len(set(names)) < len(names):
            raise ValueError(f"properties: the outputs {names} must differ; Dipole gives charges too")
        self.repulsion = repulsion
        self.register_buffer("reference_energies", torch.zeros(len(SYMBOLS), dtype=torch.float64))  # eV
        self.register_buffer("binding_energies", torch.zeros(len(SYMBOLS), dtype=torch.float64))  # eV
        self.register_buffer("scale", torch.ones((), dtype=torch.float64))  # eV
        self.register_buffer("switch", torch.ones((), dtype=torch.float64))  # of the isolation: off in earlier files
        self.register_buffer("_kinds", torch.tensor(self.elements), persistent=False)

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

    def set_references(
        self,
        energies: Mapping[int, float] | Mapping[str, float],
        scale: float = 1.0,
        binding: Mapping[int, float] | None = None,
    ) -> None:
        """Set reference energies (eV per atom of each element), the energy scale (eV) and mean binding energies.

        Args:
            energies: of isolated atoms.
            scale: unit of the model's energies.
            binding: mean energies per bound atom relative to ``energies``, in eV (negative); by default zero.

        Raises:
            ValueError: if an element of the model has no reference or a value is not finite.
        """
        table = {atomic_number(element): float(value) for element, value in energies.items()}
        missing = set(self.elements) - set(table)
        if missing:
            raise ValueError(f"reference energies lack {describe(missing)}: give one for every element")
        bound = {number: float((binding or {}).get(number, 0.0)) for number in self.elements}
        rows = [[part[number] for number in self.elements] for part in (table, bound)]
        values = torch.tensor(rows, dtype=torch.float64)
        if not (torch.isfinite(values).all() and 0 < scale < float("inf")):
            raise ValueError(f"reference energies and scale must be finite, scale positive; got {table}, {scale}")
        for buffer, row in zip((self.reference_energies, self.binding_energies), values, strict=True):
            buffer.zero_()
            buffer[self.elements] = row.to(buffer.device)
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
            ValueError: for elements the model does not know, a graph with too short a cutoff, stress asked for without a
                cell, or float32 on a GPU whose products are in TF32.
        """
        stress = self.check(data, stress)
        return self.evaluate(self.tensors(data), forces, stress)

    def check(self, data: Data, stress: bool | None = None) -> bool:
        """Refuse a graph that cannot be evaluated; tell whether to compute stress. Arguments as in :meth:`forward`.

        For a graph that was moved to a GPU by ``data.to`` its values are waited for once, and what they tell is kept
        (see :mod:`equireann_pyg.graph.known`); by :func:`~equireann_pyg.graph.to_device`, not at all.
        """
        refuse_tf32(self.scale.device, self.dtype)
        check_cutoff(data, self.cutoff)
        check_known(known(present, data.z), self.elements)
        self.check_trained(data.z)
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
            field=field if field is not None and any(known(marked, field)) else None,
        )

    def evaluate(self, tensors: Sequence[Any], forces: bool, stress: bool) -> dict[str, Tensor]:
        """:meth:`forward` on :meth:`tensors`, free of checks and of choices that depend on values."""
        graph = GraphTensors(*tensors)
        differentiate, order = forces or stress, edge_order(graph.edge_index, graph.z.numel())
        with torch.set_grad_enabled(differentiate or (self.training and torch.is_grad_enabled())):
            inputs = variables(graph, differentiate)
            output = self.energies(graph, *inputs, order=order)
            if differentiate:
                gradients = torch.autograd.grad(
                    output["energy"].sum(), inputs, create_graph=self.training, materialize_grads=True
                )
            if forces:
                output["forces"] = -position_gradient(gradients, graph, order)
            if stress:
                output["stress"] = stress_tensor(inputs[0], gradients[0], graph, order)
        return output if self.training else {key: value.detach() for key, value in output.items()}

    def features(self, data: Data) -> Features:
        """What the properties are computed from."""
        graph = self.tensors(data)
        (edge_vec,) = variables(graph._replace(field=None), differentiate=False)
        return self._embed(graph, graph.z, edge_vec.to(self.dtype), graph.pos)[1]

    def _embed(
        self, graph: GraphTensors, z: Tensor, edge_vec: Tensor, pos: Tensor, order: Tensor | None = None
    ) -> tuple[Tensor, Features]:
        """Energies of all atoms ``z``, and features of those of the graph, which come first."""
        num_nodes, model = graph.z.numel(), cast(Any, self.model)
        known = {"edge_order": order} if takes(type(model).embed, "edge_order") else {}
        energy, density, orbital, *rest = model.embed(z, graph.edge_index, edge_vec, **known)
        species = rest[0] if rest else model.species(z)
        return energy, Features(graph, pos, species[:num_nodes], density[:num_nodes], orbital[:num_nodes])

    def energies(
        self, graph: GraphTensors, edge_vec: Tensor, pos: Tensor | None = None, *, order: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Energies and properties as functions of the edge vectors and, in a field, of the positions.

        ``order`` is the :func:`~equireann_pyg.ops.edge_order` of the edges, for callers that know it already.
        """
        output: dict[str, Any] = {}
        vectors, num_nodes = edge_vec.to(self.dtype), graph.z.numel()
        order = edge_order(graph.edge_index, num_nodes) if order is None else order
        alone = self._isolation(graph, vectors, order)  # -> [N]
        kinds = graph.z[:0] if alone is None else self._kinds_of(graph.z)
        z = torch.cat([graph.z, kinds])  # one isolated atom of each element beside the graph
        among = order if alone is None else more_atoms(order, num_nodes, kinds.numel())
        if self.properties:
            energy, features = self._embed(graph, z, vectors, graph.pos if pos is None else pos, among)
            # Where nothing differentiates the outputs, nothing is kept for it.
            with torch.set_grad_enabled(torch.is_grad_enabled() and (self.training or graph.field is not None)):
                for part in self.properties:
                    output |= part(features)
        else:
            energy = atomic_energies(self.model, graph, z, vectors, among)
        u = self.binding_energies.index_select(0, z) + self.scale * energy.double()  # -> [N + kinds]
        if alone is not None:
            u, free = u.tensor_split([num_nodes])
            free = (graph.z.unsqueeze(1) == kinds).to(free) @ free  # of the own element, -> [N]
            u = torch.where(alone < 1, u - alone * free, 0.0)
        atomic = self.reference_energies.index_select(0, graph.z) + u  # -> [N]
        if self.repulsion is not None:
            atomic = atomic + repulsive_energies(self.repulsion, graph, edge_vec, self.cutoff, order)
        atomic = atomic + output.pop("field_energy", 0.0)
        return {"energy": per_graph(atomic, graph.batch, graph.cell.size(0)), "atomic_energy": atomic, **output}

    def _isolation(self, graph: GraphTensors, vectors: Tensor, order: Tensor) -> Tensor | None:
        """Isolation of each atom, ``[N]``; None where one sees that it is next to zero, in most molecules and crystals."""
        arguments = graph.edge_index, vectors, graph.z.numel(), self.cutoff, order
        if readable(vectors):
            with torch.no_grad():
                if bool((self.switch * isolation(*arguments) < TINY).all()):
                    return None
        return self.switch * isolation(*arguments)

    def _kinds_of(self, z: Tensor) -> Tensor:
        """Elements that occur; all of them where sizes must not depend on values."""
        return torch.unique(z) if readable(z) else cast(Tensor, self._kinds)

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
            inputs = variables(graph, differentiate=True)
            energy = self.energies(graph, *inputs)["energy"].sum()
            first = torch.autograd.grad(energy, inputs, create_graph=True, materialize_grads=True)
            along = (vector[j] - vector[i], vector)[: len(inputs)]
            second = torch.autograd.grad(first, inputs, along, materialize_grads=True)
        return position_gradient(second, graph).detach()
