"""A potential compiled ahead of time for the pair style of LAMMPS."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import torch
from torch import Tensor
from torch.export import Dim

from equireann_pyg.engines.part import PartNetwork
from equireann_pyg.inference.compiled import state_of, trace_module
from equireann_pyg.inference.exported import WithState, check_path, described, without_properties, write_package
from equireann_pyg.models.domain import Domain
from equireann_pyg.potential.potential import Potential
from equireann_pyg.properties.base import GraphTensors

FORMAT = "equireann_pyg.lammps_potential"
VERSION = 1
HALO = 0
"""Number of the halo of LAMMPS, see :class:`~equireann_pyg.ops.exchange.Halo`; those of Python begin with one."""

DYNAMIC = (0, 0, 1, 0)
"""Dimension of each argument of :class:`Evaluation` that changes."""


class Evaluation(torch.nn.Module):
    """What LAMMPS evaluates on every process.

    Args:
        potential: potential of a :class:`~equireann_pyg.engines.part.PartNetwork`.
    """

    def __init__(self, potential: Potential) -> None:
        super().__init__()
        self.potential = potential

    def forward(self, ghosts: Tensor, own: Tensor, edge_index: Tensor, edge_vec: Tensor) -> tuple[Tensor, Tensor]:
        r"""Energies of the own atoms and the derivatives of the energy of all atoms everywhere.

        Args:
            ghosts: atomic numbers of the ghosts ``[g]``, which are the first nodes.
            own: atomic numbers of the own atoms ``[n]``.
            edge_index: ``[2, E]``, row 0 any nodes, row 1 own atoms.
            edge_vec: :math:`\mathbf r_j - \mathbf r_i` in Angstrom, float64 ``[E, 3]``.

        Returns:
            atomic energies ``[n]`` in eV and :math:`\partial E / \partial \mathbf r_{ij}` ``[E, 3]`` in eV/Angstrom.
        """
        count = ghosts.size(0)
        cast(PartNetwork, self.potential.model).domain = Domain(count, HALO)
        graph = GraphTensors(
            torch.cat([ghosts, own]), edge_vec, edge_vec.new_zeros(1, 3, 3), edge_index, edge_vec
        )  # no positions, no cell
        with torch.enable_grad():
            edge_vec = edge_vec.detach().requires_grad_()
            energy = self.potential.energies(graph, edge_vec)["atomic_energy"].narrow(0, count, own.size(0))
            (gradient,) = torch.autograd.grad(energy.sum(), edge_vec)
        return energy.detach(), gradient


def export_lammps(potential: Potential, path: str | Path) -> Path:
    """Compile a potential ahead of time for ``pair_style equireann`` and write the package, whole or not at all.

    Args:
        potential: potential of an :class:`~equireann_pyg.OrbitalNetwork` on the CPU; properties are left out.
        path: file to write, ``*.pt2``.

    Returns:
        the file.

    Raises:
        TypeError: for the potential of another model.
        ValueError: if ``path`` does not end in ``.pt2``, or the potential is on another device than the CPU.
        OSError: if the file cannot be written, or there is no compiler.
    """
    path = check_path(path)
    if potential.scale.device.type != "cpu":
        raise ValueError(f"the pair style computes on the CPU, the potential is on {potential.scale.device}: move it")
    training = potential.training
    try:
        program, width = _exported(potential.eval())
    finally:
        potential.train(training)
    description = described(potential) | {"format": FORMAT, "version": VERSION, "width": width}
    return write_package(program, path, description)


def _exported(potential: Potential) -> tuple[torch.export.ExportedProgram, int]:
    """The program, and how many numbers an atom sends at once."""
    bare = without_properties(potential)
    bare.model = PartNetwork(potential.model).eval()
    example = _example(potential)
    graph = trace_module(Evaluation(bare), example, DYNAMIC)
    ghosts, own, edges = Dim("ghosts", min=0), Dim("own", min=0), Dim("edges", min=0)
    shapes = {0: ghosts}, {0: own}, {1: edges}, {0: edges}
    with torch.no_grad():
        program = torch.export.export(WithState(graph, state_of(bare)), example, dynamic_shapes=(shapes,))
    return program, _width(graph)


def _example(potential: Potential) -> tuple[Tensor, ...]:
    """Three ghosts, two own atoms and four edges: only types matter, and that no two are the same."""
    ghosts, own = (torch.tensor(potential.elements[:1] * count) for count in (3, 2))
    edge_index = torch.tensor([[0, 1, 2, 3], [3, 4, 3, 4]])
    return ghosts, own, edge_index, torch.ones(4, 3, dtype=torch.float64)


def _width(graph: torch.fx.GraphModule) -> int:
    """Largest number of columns that are exchanged at once; zero without messages."""
    calls = graph.graph.find_nodes(op="call_function", target=torch.ops.equireann.exchange.default)
    return max((int(call.meta["val"].size(1)) for call in calls), default=0)
