"""What a property is computed from, and the base class of properties."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor
from torch_geometric.data import Data

from equireann_pyg.graph.convert import label_of
from equireann_pyg.graph.known import question
from equireann_pyg.nn.exact import ExactBuffers
from equireann_pyg.nn.layout import Layout
from equireann_pyg.nn.plan import Plan
from equireann_pyg.ops import row_sum


class GraphTensors(NamedTuple):
    """Fields of a graph or a batch of graphs that a potential reads; the last three are for properties only."""

    z: Tensor
    pos: Tensor
    cell: Tensor
    edge_index: Tensor
    edge_shift: Tensor
    batch: Tensor | None = None
    pbc: Tensor | None = None
    total_charge: Tensor | None = None
    field: Tensor | None = None


class Features(NamedTuple):
    """What a property is computed from.

    Args:
        graph: fields of the graph or batch.
        pos: positions to differentiate with respect to, ``[N, 3]`` in Angstrom.
        species: element index ``[N]``.
        density: invariant features ``[N, k]``.
        orbital: equivariant features ``[N, lm, n]``.
    """

    graph: GraphTensors
    pos: Tensor
    species: Tensor
    density: Tensor
    orbital: Tensor

    @property
    def total_charge(self) -> Tensor:
        """Total charge of each graph, ``[G]`` in e."""
        return cast(Tensor, self.graph.total_charge)

    @property
    def periodic(self) -> Tensor:
        """Whether each graph has a periodic direction, ``[G]``."""
        return cast(Tensor, self.graph.pbc).any(1)

    def read(self, head: torch.nn.Module) -> Tensor:
        """Output of a readout of :mod:`equireann_pyg.nn.readout`, in float64."""
        return head(self.density, self.orbital, self.species).double()

    def per_graph(self, values: Tensor) -> Tensor:
        """Sum of atomic values ``[N, ...]`` over each graph, ``[G, ...]``."""
        return per_graph(values, self.graph.batch, self.graph.cell.size(0))

    def per_atom(self, values: Tensor) -> Tensor:
        """Values of the graphs ``[G, ...]`` for each of their atoms, ``[N, ...]``."""
        batch = self.graph.batch
        return values.expand(self.pos.size(0), *values.shape[1:]) if batch is None else values[batch]


@question("field", "pbc")
def marked(rows: Tensor) -> tuple[bool, ...]:
    """Whether there is anything but zeros in each row of ``[G, 3]``."""
    return tuple(rows.any(1).tolist())


def per_graph(values: Tensor, batch: Tensor | None, num_graphs: int) -> Tensor:
    """Sum of atomic values ``[N, ...]`` over each graph, ``[G, ...]``; ``batch`` is None for a single graph."""
    return values.sum(0, keepdim=True) if batch is None else row_sum(values, batch, None, num_graphs)


class Property(Plan, ExactBuffers):
    """Base class of properties.

    A subclass names its outputs, makes its heads in :meth:`build` and evaluates them in :meth:`forward`, in float64.

    Args:
        hidden_channels: hidden widths of the networks.

    Attributes:
        names: outputs, and the labels they are trained on (see :data:`equireann_pyg.graph.LABELS`).
        exact: buffers that stay float64.
        needs_labels: whether a training set without any label is an error.
        uses_field: whether the property reads the field of the graph.
        scale: unit of each output in the loss, the root mean square of its label in the training set.
    """

    names: tuple[str, ...] = ()
    exact: tuple[str, ...] = ("scale",)
    scale: Tensor
    needs_labels = True
    uses_field = False

    def __init__(self, hidden_channels: Sequence[int] = (32, 32)) -> None:
        super().__init__()
        self.hidden_channels = list(hidden_channels)
        self.built = False
        self.register_buffer("scale", torch.ones(len(self.names), dtype=torch.float64))

    def attach(self, model: torch.nn.Module) -> None:
        """Make the heads for a model, in its type of arithmetic and on its device.

        Raises:
            TypeError: if the model gives no features.
            ValueError: if the property already has heads, or the degree of the model's orbitals does not do.
        """
        if self.built:
            raise ValueError(f"{type(self).__name__} already belongs to a potential: make a new one")
        missing = [name for name in ("embed", "layout", "num_features") if not hasattr(model, name)]
        if missing:
            raise TypeError(
                f"{type(model).__name__} has no {', '.join(f'`{name}`' for name in missing)}: properties need a model that "
                "gives features, such as EquiREANN"
            )
        self.build(cast(Layout, model.layout), cast(int, model.num_features))
        self.to(next(model.parameters()))
        self.built = True

    def build(self, layout: Layout, num_features: int) -> None:
        """Make the heads for orbitals and a number of densities."""
        raise TypeError(f"{type(self).__name__} must define build(layout, num_features)")

    def forward(self, features: Features) -> dict[str, Tensor]:
        """Outputs by name; ``field_energy [N]`` in eV, if there is one, is added to the atomic energies."""
        raise TypeError(f"{type(self).__name__} must define forward(features)")

    def scales(self) -> dict[str, Tensor]:
        """Unit of each output in the loss."""
        return dict(zip(self.names, self.scale, strict=True))

    def fit(self, features: Features, dataset: Sequence[Data]) -> None:
        """Take statistics of the features from a sample, and the units from the labels of the training set.

        Raises:
            ValueError: if no frame has a label for this property.
        """
        for head in self.children():
            head.fit(features.density, features.orbital, features.species)  # type: ignore[operator]
        found = [self.fit_label(index, name, dataset) for index, name in enumerate(self.names)]
        if self.needs_labels and not any(found):
            raise ValueError(
                f"no frame has a label for {type(self).__name__}: name its key, for example "
                f"--data.keys.{self.names[0]}=REF_{self.names[0]}, or leave the property out"
            )

    def check(self, data: Data) -> None:
        """Refuse a graph that the property cannot be evaluated for."""

    def fit_label(self, index: int, name: str, dataset: Sequence[Data]) -> bool:
        """Set the unit of one output; whether there are any labels for it."""
        labels = torch.cat([label_of(data, name).flatten() for data in dataset])
        size = labels[torch.isfinite(labels)].square().mean().sqrt()  # NaN without labels
        if size > 0:
            self.scale[index] = size
        return bool(size.isfinite())
