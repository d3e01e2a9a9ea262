"""What one process does: the lists of its part of the structure, its evaluation, and the results of all."""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from torch import Tensor

from equireann_pyg.engines.domains.halo import ProcessHalo, halo_of
from equireann_pyg.engines.domains.neighbours import Part, part_of
from equireann_pyg.engines.domains.partition import divided, frame_of
from equireann_pyg.engines.domains.processes import Processes
from equireann_pyg.engines.domains.structure import Structure
from equireann_pyg.engines.part import PartNetwork
from equireann_pyg.graph.edges import edge_differences
from equireann_pyg.graph.radius import COINCIDENT, radius_graph
from equireann_pyg.inference.calculator import named
from equireann_pyg.models.domain import Domain, Whole
from equireann_pyg.potential.derivatives import volume
from equireann_pyg.potential.potential import Potential
from equireann_pyg.properties.base import GraphTensors


class Listed(NamedTuple):
    """A part with its neighbours, kept until an atom has moved too far."""

    structure: Structure
    """For which they were searched."""

    order: Tensor
    """All atoms, those of the first process first ``[N]``."""

    counts: list[int]
    """Numbers of atoms of the processes."""

    nodes: Tensor
    """Atom of each node, ghosts first ``[g + n]``; in a process without atoms one that stands alone, and counts nowhere."""

    graph: GraphTensors
    """Atomic numbers and edges, on the device."""

    halo: ProcessHalo | None
    """What carries the rows of ghosts; None where there is one process."""

    ghosts: int
    """Number of ghosts g."""

    def outdated(self, structure: Structure, skin: float) -> bool:
        """Whether the lists may lack neighbours of a structure."""
        old = self.structure
        if not torch.equal(old.numbers(), structure.numbers()) or not torch.equal(old.cell, structure.cell):
            return True
        moved = (structure.pos - old.pos).norm(dim=1)
        return not bool((moved <= 0.5 * skin).all())  # also where a position is not a number


def listed_of(
    structure: Structure, cutoff: float, processes: Processes, device: torch.device
) -> tuple[Listed | None, ValueError | None]:
    """Divide a structure and search the neighbours of this process, or an error of one of them."""
    error, part = None, None
    frame = frame_of(structure.pos, structure.cell, structure.pbc)
    owner = processes.broadcast(divided(frame.place, processes.size))  # so that no rounding divides them otherwise
    try:
        if processes.size == 1:
            edges = radius_graph(structure.pos, cutoff, structure.cell, structure.pbc)
            atoms = torch.arange(len(structure.z))
            part = Part(atoms, atoms[:0], *edges)
        else:
            part = part_of(frame, structure.cell, owner, processes.rank, cutoff)
    except ValueError as found:
        error = found
    error = processes.agree(error)
    if part is None or error is not None:
        return None, error
    halo = None
    if processes.size > 1:
        halo = halo_of(processes, part.own, part.ghosts, owner, device)
    nodes, z = part.nodes, structure.z[part.nodes]
    if not len(part.own):
        nodes, z = torch.zeros(1, dtype=torch.int64)[: len(structure.z)], structure.z[:1]
    cell = structure.cell.unsqueeze(0)
    fields = (tensor.to(device) for tensor in (z, structure.pos[nodes], cell, part.edge_index, part.edge_shift))
    counts = owner.bincount(minlength=processes.size).tolist()
    order = owner.argsort(stable=True)
    return Listed(structure, order, counts, nodes, GraphTensors(*fields), halo, len(part.ghosts)), None


def evaluated(
    potential: Potential, listed: Listed, structure: Structure, processes: Processes
) -> tuple[dict[str, Tensor], ValueError | None]:
    """Results of all processes.

    Args:
        potential: of a :class:`~equireann_pyg.engines.part.PartNetwork`.
        listed: part of this process.
        structure: with the positions of now.
        processes: that evaluate the others.

    Returns:
        results of the whole structure, and an error where atoms coincide.
    """
    graph, ghosts, own = listed.graph, listed.ghosts, listed.counts[processes.rank]
    graph = graph._replace(pos=structure.pos[listed.nodes].to(graph.pos.device))
    r = edge_differences(graph.pos, graph.cell, graph.edge_index, graph.edge_shift, None).norm(dim=1)
    closest = _closest(r, graph.edge_index, listed.nodes)
    inside = r < potential.cutoff
    graph = graph._replace(edge_index=graph.edge_index[:, inside], edge_shift=graph.edge_shift[inside])
    network = cast(PartNetwork, potential.model)
    network.domain = Whole() if listed.halo is None else Domain(ghosts, listed.halo.number)
    stress = bool(volume(structure.cell.unsqueeze(0)) > 0)
    output = potential.evaluate(graph, forces=True, stress=stress)
    forces = output["forces"][ghosts:]
    if listed.halo is not None:
        forces = forces.contiguous()
        listed.halo.send_back(output["forces"][:ghosts].contiguous(), forces)
    share = output["stress"][0] if stress else forces.new_zeros(3, 3)
    rows = torch.cat([forces[:own], output["atomic_energy"][ghosts : ghosts + own, None]], dim=1)  # -> [n, 4]
    return _collected(rows, share, closest.to(rows), listed, processes, structure.z)


def _closest(r: Tensor, edge_index: Tensor, nodes: Tensor) -> Tensor:
    """Distance and numbers of the two atoms that are closest ``[3]``; infinite without neighbours."""
    if not r.numel():
        return torch.tensor([torch.inf, 0, 0], dtype=torch.float64)
    shortest = r.argmin()
    atoms = nodes[edge_index[:, shortest].cpu()]
    return torch.cat([r[shortest].view(1).cpu(), atoms.double()])


def _collected(
    rows: Tensor, virial: Tensor, closest: Tensor, listed: Listed, processes: Processes, z: Tensor
) -> tuple[dict[str, Tensor], ValueError | None]:
    """Results of all from forces and energies of the own atoms ``[n, 4]``, stress ``[3, 3]`` and closest atoms ``[3]``."""
    most = max(listed.counts)
    table = rows.new_zeros(most + 4, 4)
    table[: len(rows)], table[most : most + 3, :3], table[most + 3, :3] = rows, virial, closest
    tables = processes.gather(table)  # -> [size, most + 4, 4]
    distance, *atoms = min(tables[:, most + 3, :3].tolist())
    if distance < COINCIDENT:
        pair = named([int(atom) for atom in atoms], z)
        return {}, ValueError(f"{pair} coincide ({distance:g} Angstrom apart): move or remove one")
    results = rows.new_empty(len(z), 4)
    results[listed.order.to(rows.device)] = torch.cat(
        [part[:count] for part, count in zip(tables, listed.counts, strict=True)]
    )
    atomic = results[:, 3].contiguous()
    return {
        "energy": atomic.sum().view(1),
        "atomic_energy": atomic,
        "forces": results[:, :3].contiguous(),
        "stress": tables[:, most : most + 3, :3].sum(0, keepdim=True),
    }, None
