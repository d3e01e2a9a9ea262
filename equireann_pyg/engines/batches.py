"""Many structures as one graph: one search for neighbours, and one evaluation of a potential, for all of them."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data

from equireann_pyg.graph.edges import edge_differences
from equireann_pyg.graph.known import to_device
from equireann_pyg.graph.neighbors import MARGIN
from equireann_pyg.graph.radius import CELLS, COINCIDENT, FLAT, radius_graph
from equireann_pyg.inference.calculator import check_finite, named
from equireann_pyg.inference.compiled import CompiledPotential
from equireann_pyg.potential.checkpoint import load_potential
from equireann_pyg.potential.devices import type_of, usable_device
from equireann_pyg.potential.potential import Potential

WIDE = 50
"""Structures beyond so many cutoffs are searched one by one, where their extent is looked at more closely."""


class Structures(NamedTuple):
    """Structures one after the other, all periodic in the same directions.

    Args:
        z: atomic numbers ``[N]``.
        pos: positions ``[N, 3]`` in Angstrom.
        cell: lattice vectors in rows ``[G, 3, 3]`` in Angstrom.
        pbc: periodic directions ``[3]``.
        batch: structure of each atom ``[N]``, sorted; none is empty.
    """

    z: Tensor
    pos: Tensor
    cell: Tensor
    pbc: Tensor
    batch: Tensor


class BatchEvaluator:
    """A potential that evaluates many structures at once.

    Args:
        potential: a potential, which is copied, a compiled one, or the file of one: of ``save_potential``, or a training
            checkpoint.
        device: where to compute.
        dtype: arithmetic of the model; by default that of the potential.
        allow_untrained: compute structures with elements that the training set had no atom of, too.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: for a bad file, an exported potential, or a device that is not usable.
    """

    def __init__(
        self,
        potential: Potential | CompiledPotential | str | Path,
        device: str | torch.device = "cpu",
        dtype: torch.dtype | str | None = None,
        allow_untrained: bool = False,
    ) -> None:
        if isinstance(potential, (str, Path)):
            if Path(potential).suffix == ".pt2":
                raise ValueError(
                    f"{potential}: an exported potential takes one structure at a time; name the checkpoint it was made of"
                )
            potential = load_potential(potential)
        self.potential = deepcopy(potential)
        whole = self.whole
        for part in (whole.model, whole.properties):
            part.to(dtype=type_of(dtype))
        whole.to(usable_device(device)).eval().requires_grad_(False)
        whole.allow_untrained = allow_untrained

    @property
    def whole(self) -> Potential:
        """The potential itself, of a compiled one too."""
        return self.potential.potential if isinstance(self.potential, CompiledPotential) else self.potential

    def __call__(
        self, structures: Structures, stress: bool = True, conditions: dict[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Energy, forces, and stress where it is wanted: NaN for structures without volume.

        Args:
            structures: on any device.
            stress: whether there is to be a stress.
            conditions: total charges ``[G]`` and fields ``[G, 3]`` for the properties, see :mod:`equireann_pyg.graph`.

        Returns:
            what :meth:`equireann_pyg.Potential.forward` gives for a batch, float64.

        Raises:
            ValueError: for elements the potential does not know, atoms that coincide, numbers that are not finite, cells
                without volume in a periodic direction, and structures that are too wide.
        """
        device = self.whole.scale.device
        graph = batched_graph(structures, self.whole.cutoff)
        graph.update(conditions or {})
        output = self.potential(to_device(graph, device), stress=None if stress else False)
        check_finite({key: value for key, value in output.items() if key != "stress"}, structures.z, self.whole)
        if stress and "stress" not in output:
            output["stress"] = torch.full_like(structures.cell, torch.nan, dtype=torch.float64, device=device)
        return output


def batched_graph(structures: Structures, cutoff: float) -> Data:
    """Graph of all structures, on the CPU; the same edges as :func:`~equireann_pyg.graph.radius_graph` finds in each.

    Raises:
        ValueError: as :func:`~equireann_pyg.graph.radius_graph`, with the number of the structure.
    """
    z, pos, cell, pbc, batch = (part.detach().cpu() for part in structures)
    whole = Structures(z.long(), pos.double(), cell.double(), pbc, batch.long())
    edges = _together(whole, cutoff) if _ordinary(whole, cutoff) else _one_by_one(whole, cutoff)
    count = whole.cell.size(0)
    return Data(
        z=whole.z,
        pos=whole.pos,
        cell=whole.cell,
        pbc=pbc.expand(count, 3),
        batch=whole.batch,
        edge_index=edges[0],
        edge_shift=edges[1],
        cutoff=torch.full((count,), cutoff, dtype=torch.float64),
    )


def _ordinary(structures: Structures, cutoff: float) -> bool:
    """Whether every structure is one that vesin can search: finite, not flat and not wide."""
    _, pos, cell, pbc, batch = structures
    if not bool(pos.isfinite().all() & cell.isfinite().all()):
        return False
    vectors = cell[:, pbc]  # -> [G, P, 3]
    lengths = vectors.norm(dim=2)
    if not bool((lengths > COINCIDENT).all() & (lengths < WIDE * cutoff).all()):
        return False
    unit = vectors / lengths.unsqueeze(2)
    if not bool((torch.linalg.det(unit @ unit.mT) > FLAT).all()):
        return False
    low, high = _bounds(pos, batch, cell.size(0))
    return bool(pbc.all() or (high - low < WIDE * cutoff).all())


def _bounds(pos: Tensor, batch: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Least and largest coordinates in each structure, ``[G, 3]`` each."""
    index, room = batch.unsqueeze(1).expand(-1, 3), pos.new_zeros(count, 3)
    return (
        room.scatter_reduce(0, index, pos, "amin", include_self=False),
        room.scatter_reduce(0, index, pos, "amax", include_self=False),
    )


def _together(structures: Structures, cutoff: float) -> tuple[Tensor, Tensor]:
    """Edges of ordinary structures: open ones are set apart and searched at once, periodic ones after each other."""
    from vesin import NeighborList

    _, pos, cell, pbc, batch = structures
    search = NeighborList(cutoff=(1 + MARGIN) * cutoff, full_list=True, sorted=True)
    apart = None if bool(pbc.any()) else _apart(structures, cutoff)
    if apart is not None:  # one part for all structures, which are open: boxes are not asked
        first, parts = [0], [apart.numpy()]
    else:
        first = np.searchsorted(batch.numpy(), np.arange(cell.size(0))).tolist()
        parts = np.split(pos.numpy(), first[1:])
    boxes = cell.numpy()[: len(parts)]
    found = [search.compute(part, box, pbc.numpy(), quantities="ijS") for part, box in zip(parts, boxes, strict=True)]
    start = np.repeat(first, [len(i) for i, _, _ in found])
    i, j, shift = (torch.from_numpy(np.concatenate(column)) for column in zip(*found, strict=True))
    edge_index = torch.stack([j, i]).long() + torch.from_numpy(start)
    shift = shift.to(pos)
    r = edge_differences(pos, cell, edge_index, shift, batch).norm(dim=-1)
    if bool((r < COINCIDENT).any()):
        pair = edge_index[:, int(r.argmin())]
        graph, (a, b) = int(batch[pair[0]]), sorted(pair.tolist())
        raise ValueError(
            f"structure {graph}: {named([a, b], structures.z)} of the batch coincide ({float(r.min()):g} Angstrom apart): "
            "move or remove one"
        )
    inside = r < cutoff
    return edge_index[:, inside], shift[inside]


def _apart(structures: Structures, cutoff: float) -> Tensor | None:
    """Positions of open structures on a lattice so wide that none sees another; None where it were too wide to search."""
    count = structures.cell.size(0)
    low, high = _bounds(structures.pos, structures.batch, count)
    step = (high - low).amax(0) + 2 * cutoff  # -> [3]
    side = int(np.ceil(count ** (1 / 3) - 1e-9))
    if float((side * step / cutoff).prod()) > CELLS:
        return None
    number = torch.arange(count)
    place = torch.stack([number % side, number // side % side, number // side**2], dim=1)  # -> [G, 3]
    return structures.pos + (place * step - low)[structures.batch]


def _one_by_one(structures: Structures, cutoff: float) -> tuple[Tensor, Tensor]:
    """Edges by a search of its own for each structure, which says what is wrong with it."""
    _, pos, cell, pbc, batch = structures
    start, edges, shifts = 0, [], []
    for number, part in enumerate(pos.split(torch.bincount(batch).tolist())):
        try:
            edge_index, shift = radius_graph(part, cutoff, cell[number], pbc)
        except ValueError as error:
            raise ValueError(f"structure {number}: {error}") from error
        edges.append(edge_index + start)
        shifts.append(shift)
        start += len(part)
    return torch.cat(edges, dim=1), torch.cat(shifts)
