"""Polarizability, and the response to an electric field."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch_geometric.data import Data

from equireann_pyg.elements import SYMBOLS
from equireann_pyg.graph.convert import label_of
from equireann_pyg.nn.layout import Layout
from equireann_pyg.nn.readout import TensorReadout
from equireann_pyg.properties.base import Features, Property
from equireann_pyg.properties.dipole import Dipole, LocalDipole


class Polarizability(Property):
    r"""Polarizability, :math:`\alpha = \sum_i ( \alpha^0_{z_i} 1 + \alpha_i )`.

    The :math:`\alpha^0` of the elements are fitted to the training set before the first step, as reference energies are.

    Args:
        hidden_channels: hidden widths of the networks.
    """

    names = ("polarizability",)
    exact = ("scale", "reference")
    reference: Tensor

    def __init__(self, hidden_channels: Sequence[int] = (32, 32)) -> None:
        super().__init__(hidden_channels)
        self.register_buffer("reference", torch.zeros(len(SYMBOLS), dtype=torch.float64))  # e Angstrom^2/V

    def build(self, layout: Layout, num_features: int) -> None:
        """Make the head."""
        self.head = TensorReadout(layout, num_features, self.hidden_channels)

    def atomic(self, features: Features) -> Tensor:
        """Each atom's part of the polarizability, ``[N, 3, 3]``."""
        isotropic = self.reference.index_select(0, features.graph.z).view(-1, 1, 1)
        unit = torch.eye(3, dtype=torch.float64, device=isotropic.device)
        return isotropic * unit + self.scale[0] * features.read(self.head)

    def forward(self, features: Features) -> dict[str, Tensor]:
        """``polarizability [G, 3, 3]`` in e Angstrom^2/V."""
        return {"polarizability": features.per_graph(self.atomic(features))}

    def fit_label(self, index: int, name: str, dataset: Sequence[Data]) -> bool:
        """Fit the polarizabilities of the elements; the unit is the root mean square of the rest."""
        labels = torch.cat([label_of(data, name) for data in dataset])  # -> [S, 3, 3]
        known = torch.isfinite(labels).all((1, 2))
        if not bool(known.any()):
            return False
        counts = torch.stack([torch.bincount(data.z, minlength=len(SYMBOLS)) for data in dataset])[known].double()
        trace = labels[known].diagonal(dim1=1, dim2=2).mean(1)  # -> [S]
        solution = torch.linalg.pinv(counts, rtol=1e-8) @ trace
        self.reference.copy_(solution)
        rest = labels[known] - (counts @ solution).view(-1, 1, 1) * torch.eye(3, dtype=torch.float64)
        self.scale[index] = rest.square().mean().sqrt().clamp(min=1e-6)
        return True


class FieldResponse(Property):
    r"""Energy in a homogeneous electric field, to second order, with dipole and polarizability as its derivatives.

    .. math::
        E(\mathbf F) = E(0) - \boldsymbol\mu_0 \cdot \mathbf F - \tfrac12 \mathbf F \cdot \alpha \mathbf F, \qquad
        \boldsymbol\mu = -\frac{\partial E}{\partial \mathbf F} = \boldsymbol\mu_0 + \alpha \mathbf F

    F is the ``field`` of the graph, in V/Angstrom. Energies, forces, dipoles and polarizabilities in fields all train it, and
    none of these labels is indispensable.

    Args:
        dipole: permanent dipole; default :class:`Dipole`.
        polarizability: default :class:`Polarizability`.
    """

    uses_field = True

    def __init__(self, dipole: LocalDipole | None = None, polarizability: Polarizability | None = None) -> None:
        super().__init__()
        self.dipole = Dipole() if dipole is None else dipole
        self.polarizability = Polarizability() if polarizability is None else polarizability

    def build(self, layout: Layout, num_features: int) -> None:
        """Make the heads of the parts."""
        self.dipole.build(layout, num_features)
        self.polarizability.build(layout, num_features)

    def scales(self) -> dict[str, Tensor]:
        """Unit of each output in the loss."""
        return self.dipole.scales() | self.polarizability.scales()

    def fit(self, features: Features, dataset: Sequence[Data]) -> None:
        """Take statistics and units; labels may be missing."""
        for part in (self.dipole, self.polarizability):
            part.needs_labels = False
            part.fit(features, dataset)

    def check(self, data: Data) -> None:
        """Refuse a field on a graph for which the dipole is not defined."""
        self.dipole.check(data)

    def forward(self, features: Features) -> dict[str, Tensor]:
        """``dipole [G, 3]`` and ``polarizability [G, 3, 3]`` in the field, and ``field_energy [N]`` in eV."""
        permanent = self.dipole.atomic(features)
        tensor = self.polarizability.atomic(features)  # -> [N, 3, 3]
        dipole = self.dipole.total(permanent["dipole"], features)
        alpha = features.per_graph(tensor)
        output = {**permanent, "dipole": dipole, "polarizability": alpha}
        if features.graph.field is None:
            return output
        field = features.per_atom(features.graph.field)  # -> [N, 3]
        induced = (tensor @ field.unsqueeze(-1)).squeeze(-1)  # -> [N, 3]
        output["field_energy"] = -((permanent["dipole"] + 0.5 * induced) * field).sum(-1)
        output["dipole"] = dipole + features.per_graph(induced)
        return output
