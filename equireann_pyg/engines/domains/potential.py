"""Energy, forces and stress of one structure that is divided among processes."""

from __future__ import annotations

import hashlib
from typing import Any, cast

import torch
from torch import Tensor
from torch_geometric.data import Data

from equireann_pyg.engines.domains.local import Listed, evaluated, listed_of
from equireann_pyg.engines.domains.processes import Group, LostProcess, Processes
from equireann_pyg.engines.domains.structure import Structure, check_all, structure_of
from equireann_pyg.engines.part import PartNetwork
from equireann_pyg.inference.blocks import BlockPotential
from equireann_pyg.inference.form import Form, shares, sharing_copy
from equireann_pyg.potential.derivatives import has_volume
from equireann_pyg.potential.potential import Potential

SERVES, EVALUATES, ENDS = range(3)
"""What a process is about to do."""


class DomainPotential(Form):
    """A potential that evaluates one structure on all processes of a group, each with the atoms of a part of space.

    Every process knows all positions, 24 bytes for each atom, but evaluates its own atoms alone, and has the functions,
    orbitals and messages of these. In each iteration atoms near the borders send what they have found to the processes that
    need it, and on the way back derivatives return to them. So results are those of one process but for the rounding of sums.

    Parts are cut anew, with equal numbers of atoms, whenever an atom has moved by half of the skin; so atoms change their
    process, and nobody notices. All processes call it with the same structure and get all results. What counts is that of
    the first one, whose positions go to the others. Or the others :meth:`serve` it, and do not know the structure.

    An error of the structure is raised by all of them, and they can go on. Where one process fails or ends otherwise, all
    others raise :class:`LostProcess <equireann_pyg.engines.domains.processes.LostProcess>`.

    Args:
        potential: potential of an :class:`~equireann_pyg.OrbitalNetwork` without properties, also one in blocks; the same
            in all processes. It stays as it is.
        group: group of ``torch.distributed``, gloo's on CPUs or NCCL's on GPUs; by default all processes, or this one where
            there are no others.
        skin: extra cutoff of the lists of neighbours in Angstrom.
        block_size: atoms at a time (see :class:`~equireann_pyg.BlockPotential`); by default that of the potential.
        timeout: seconds after which a process that does not answer is given up; by default that of ``torch.distributed``.

    Attributes:
        processes: rank and number of the processes.
        listed: what the last search for neighbours has found, and for which structure.

    Raises:
        TypeError: for other potentials or models.
        ValueError: for a potential with properties, a negative skin, or potentials that differ.
    """

    def __init__(
        self,
        potential: Potential | BlockPotential,
        group: Group = None,
        skin: float = 0.5,
        block_size: int | None = None,
        timeout: float | None = None,
    ) -> None:
        if isinstance(potential, BlockPotential):
            block_size = potential.block_size if block_size is None else block_size
            potential = potential.potential
        _check(potential, skin, block_size)
        self.potential, self.skin = potential, skin
        self.block_size: int | None = block_size or cast(Any, self.potential.model).block_size
        self._part = self._copy()
        self.listed: Listed | None = None
        self.processes = Processes(group, timeout)
        with self.processes.together():
            error = self.processes.agree(self._compare())
        if error is not None:
            raise error

    def __call__(self, data: Data, forces: bool = True, stress: bool | None = None) -> dict[str, Tensor]:
        """Evaluate a structure; all processes do so at the same time.

        Args:
            data: fields ``z``, ``pos``, ``cell`` and ``pbc`` of :mod:`equireann_pyg.graph`; edges are searched here.
            forces: return forces.
            stress: return stress; by default when the cell has a volume.

        Returns:
            as of :meth:`equireann_pyg.Potential.forward`, of the whole structure, in every process.

        Raises:
            ValueError: as of :class:`~equireann_pyg.EquiREANNCalculator`, or if the processes have different structures.
            LostProcess: if another process has ended, or does not answer.
        """
        stress = has_volume(data, stress)
        output = self._evaluated(structure_of(data))
        wanted = {"energy", "atomic_energy", *(["forces"] * forces), *(["stress"] * stress)}
        return {name: value for name, value in output.items() if name in wanted}

    def serve(self) -> None:
        """Evaluate whatever the first process does, until that one closes; for all others, in place of a script.

        Raises:
            RuntimeError: in the first process.
            LostProcess: if another process has ended otherwise.
        """
        if self.processes.rank == 0:
            raise RuntimeError("serve: expected another process than the first one, which the others serve")
        ended = False
        while not ended:
            try:
                ended = not self._evaluated(None)
            except ValueError:  # the first process has raised it too
                continue

    def close(self) -> None:
        """End the others, where they serve this first process."""
        if self.processes.rank == 0 and self.processes.size > 1:
            with self.processes.together():
                self.processes.gather(_header(ENDS))

    def _evaluated(self, structure: Structure | None) -> dict[str, Tensor]:
        """Results of the structure of the first process; none when it has closed."""
        if not shares(self._part, self.potential):
            self._part, self.listed = self._copy(), None
        with self.processes.together():
            error, shared = self._shared(structure)
            if shared is not None:
                if shared.due:
                    error = self._list(shared)
                if error is None and self.listed is not None:
                    output, error = evaluated(self._part, self.listed, shared, self.processes)
        if error is not None:
            raise error
        return output if shared is not None else {}

    def _shared(self, structure: Structure | None) -> tuple[ValueError | None, Structure | None]:
        """The structure of the first process, or an error; neither when it has closed."""
        if structure is None:
            headers = self.processes.gather(_header(SERVES))
        else:
            due = self.listed is None or self.listed.outdated(structure, self.skin)
            structure = structure._replace(due=due)
            if self.processes.size == 1:
                return None, structure
            headers = self.processes.gather(_header(EVALUATES, structure))
        kinds, first = headers[:, 0], headers[0]
        if first[0] != EVALUATES:
            if structure is not None:
                raise LostProcess(
                    "the first process has closed the evaluation, this one goes on: close it where all have done"
                )
            return None, None
        same = (kinds == SERVES) | (headers[:, :3] == first[:3]).all(1)  # -> [size]
        if not bool(same.all()):
            other = int((~same).nonzero()[0])
            sizes = f"{int(headers[other, 1])} and {int(first[1])} atoms"
            return ValueError(
                f"process {other} has another structure than the first one ({sizes}): all have to evaluate the same one"
            ), None
        known = structure if structure is not None else self.listed.structure if self.listed is not None else None
        return None, self._received(known, int(first[1]), bool(first[3]))

    def _received(self, known: Structure | None, size: int, due: bool) -> Structure:
        """The structure of the first process, of which one with the same atoms may be known."""
        numbers = torch.zeros(size + 3, dtype=torch.int64)
        if due:
            numbers = self.processes.broadcast(numbers if self.processes.rank else cast(Structure, known).numbers())
        elif known is not None:
            numbers = known.numbers()
        places = torch.zeros(size + 3, 3, dtype=torch.float64)
        places = self.processes.broadcast(places if self.processes.rank else cast(Structure, known).places())
        return Structure.of(numbers, places, due)

    def _list(self, structure: Structure) -> ValueError | None:
        """Look for neighbours anew."""
        self.listed = None
        try:
            check_all(structure, self.potential, self.cutoff + self.skin)
        except ValueError as found:  # the same in all processes, which have the same structure
            return found
        device = self.potential.scale.device
        made, error = listed_of(structure, self.cutoff + self.skin, self.processes, device)
        self.listed = made
        return error

    def _copy(self) -> Potential:
        """The potential of a part, with the same weights and statistics."""
        made = sharing_copy(self.potential)
        cast(Any, made.model).block_size = self.block_size
        made.model = PartNetwork(made.model).eval()
        return made

    def _compare(self) -> ValueError | None:
        """An error if this process has other weights than the first one."""
        digest = hashlib.blake2b(digest_size=7)
        for tensor in self.potential.state_dict().values():  # what else there is follows from it, but for rounding
            digest.update(tensor.detach().cpu().numpy().tobytes())
        mine = torch.tensor([int.from_bytes(digest.digest(), "big")])
        different = (self.processes.gather(mine) != mine).flatten()  # -> [size]
        if not bool(different.any()):
            return None
        return ValueError("the processes have different potentials: give all of them the same file")


def _header(kind: int, structure: Structure | None = None) -> Tensor:
    return torch.tensor([kind, *((0, 0, 0) if structure is None else structure.header())])


def _check(potential: object, skin: float, block_size: int | None) -> None:
    """Refuse what cannot be divided."""
    if not isinstance(potential, Potential):
        raise TypeError(
            f"{type(potential).__name__} cannot be divided among processes: give the potential, or its checkpoint"
        )
    PartNetwork(potential.model)  # raises for other models
    if len(potential.properties):
        names = ", ".join(type(part).__name__ for part in potential.properties)
        raise ValueError(f"several processes give energy, forces and stress only: use a potential without {names}")
    if not 0 <= skin < float("inf"):
        raise ValueError(f"skin: expected 0 or more Angstrom, got {skin}")
    if block_size is not None and block_size < 1:
        raise ValueError(f"block_size: expected 1 or more atoms, got {block_size}")
