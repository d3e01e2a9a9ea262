"""The halo of a process: which rows it sends to which other, and which it gets."""

from __future__ import annotations

import torch
from torch import Tensor

from equireann_pyg.engines.domains.processes import Processes
from equireann_pyg.ops.exchange import Halo


class ProcessHalo(Halo):
    """Carries rows between the processes of a group.

    Args:
        processes: that exchange them.
        index: own atoms whose rows are sent, those for the first process first; an atom may go to several.
        sent: numbers of rows for each process.
        received: numbers of ghosts that each process owns; the ghosts stand in this order.
    """

    def __init__(self, processes: Processes, index: Tensor, sent: list[int], received: list[int]) -> None:
        super().__init__()
        self.processes, self.index, self.sent, self.received = processes, index, sent, received

    def send(self, own: Tensor, ghosts: Tensor) -> None:
        """Fill the rows of the ghosts by those of their owners."""
        ghosts.copy_(self.processes.swap(own.index_select(0, self.index), self.sent, self.received))

    def send_back(self, ghosts: Tensor, own: Tensor) -> None:
        """Add the rows of the ghosts to those of their owners."""
        own.index_add_(0, self.index, self.processes.swap(ghosts, self.received, self.sent))


def halo_of(processes: Processes, own: Tensor, ghosts: Tensor, owner: Tensor, device: object) -> ProcessHalo:
    """Tell every process which of its atoms the others need.

    Args:
        processes: that exchange them.
        own: numbers of the own atoms, ascending ``[n]``.
        ghosts: numbers of the ghosts, sorted by their owners ``[g]``.
        owner: process of each atom of the structure ``[N]``.
        device: where the rows will be.
    """
    counts = owner[ghosts].bincount(minlength=processes.size)  # -> [size]
    sent = processes.gather(counts)[:, processes.rank].tolist()
    wanted = processes.swap(ghosts, counts.tolist(), sent)
    index = torch.searchsorted(own, wanted)
    return ProcessHalo(processes, index.to(device), sent, counts.tolist())  # type: ignore[call-overload]
