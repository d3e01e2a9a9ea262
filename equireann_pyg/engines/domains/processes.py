"""What goes from process to process: a few collective operations of ``torch.distributed``, and how they fail."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from equireann_pyg.wording import one_line

Group = Any
"""A group of ``torch.distributed``."""


class LostProcess(RuntimeError):
    """Another process of the evaluation has ended, has failed or does not answer."""


class Processes:
    """The processes that evaluate one structure; all of them call the same methods in the same order.

    One that cannot go on closes its connections: then the others, which wait for it, fail too. Without ``torch.distributed``,
    or in a group of one, there is one process, and nothing is ever sent.

    Args:
        group: group of processes, which is closed when one of them fails; by default a new one of all of them.
        timeout: seconds after which one that does not answer is given up, in a new group; by default that of
            ``torch.distributed``.

    Attributes:
        rank: number of this process, from zero.
        size: number of processes.

    Raises:
        ValueError: if this process is not in the group.
    """

    def __init__(self, group: Group = None, timeout: float | None = None) -> None:
        self.rank, self.size, self._group = 0, 1, None
        if not dist.is_available() or not dist.is_initialized():
            return
        given = dist.group.WORLD if group is None else group
        self.rank, self.size = dist.get_rank(given), dist.get_world_size(given)
        if self.rank < 0:
            raise ValueError(f"group: expected one of which this process, number {dist.get_rank()}, is a member")
        if self.size == 1:
            return
        self._group = group
        if group is None:
            wait = None if timeout is None else timedelta(seconds=timeout)
            self._group = dist.new_group(timeout=wait, backend=dist.get_backend_config(given))
        self._backends = dict(pair.split(":") for pair in dist.get_backend_config(given).split(","))

    @contextmanager
    def together(self) -> Iterator[None]:
        """Within it, whatever stops this process stops all of them."""
        try:
            yield
        except BaseException:
            self.leave()
            raise

    def leave(self) -> None:
        """Close the connections; the others fail when they next wait for this process."""
        group, self._group = self._group, None
        if group is not None:
            group.abort()

    def gather(self, tensor: Tensor) -> Tensor:
        """Tensors ``[...]`` of one shape of all processes, ``[size, ...]``."""
        if self.size == 1:
            return tensor.unsqueeze(0)
        with self._sending() as group:
            part = self._carried(tensor.contiguous())
            parts = part.new_empty(self.size, *part.shape)
            dist.all_gather(list(parts.unbind(0)), part, group=group)
            return parts.to(tensor.device)

    def broadcast(self, tensor: Tensor) -> Tensor:
        """Tensor of the first process; that of the others gives shape and type."""
        if self.size == 1:
            return tensor
        with self._sending() as group:
            part = self._carried(tensor.contiguous())
            dist.broadcast(part, dist.get_global_rank(group, 0), group=group)
            return part.to(tensor.device)

    def swap(self, rows: Tensor, sent: Sequence[int], received: Sequence[int]) -> Tensor:
        """Rows from every process to every other.

        Args:
            rows: those for the first process first ``[sum(sent), ...]``.
            sent: numbers of rows for each process.
            received: numbers of rows that each sends to this one.

        Returns:
            rows, those of the first process first ``[sum(received), ...]``.
        """
        if self.size == 1:
            return rows
        with self._sending() as group:
            part = self._carried(rows.contiguous())
            made = part.new_empty(sum(received), *part.shape[1:])
            dist.all_to_all_single(made, part, list(received), list(sent), group=group)
            return made.to(rows.device)

    def agree(self, error: ValueError | None) -> ValueError | None:
        """What all processes raise where one of them has met an error; None if none has."""
        if self.size == 1:
            return error
        with self._sending() as group:
            messages: list[str | None] = [None] * self.size
            dist.all_gather_object(messages, None if error is None else str(error), group=group)
        met = [message for message in messages if message is not None]
        return ValueError(met[0]) if met else None

    def _carried(self, tensor: Tensor) -> Tensor:
        """The tensor where a back end carries it: beside itself, if there is one for its device, else over the CPU or GPU."""
        backend = self._backends.get(tensor.device.type)
        if backend == "gloo" and tensor.device.type != "cpu":
            return tensor.cpu()
        if backend is not None:
            return tensor
        return tensor.to("cpu" if "cpu" in self._backends else torch.device(next(iter(self._backends))))

    @contextmanager
    def _sending(self) -> Iterator[Group]:
        place = f"process {self.rank} of {self.size}"
        if self._group is None:
            raise LostProcess(f"{place} has been left by the others after an error: start all of them again")
        try:
            yield self._group
        except RuntimeError as error:  # of whatever kind the back end has
            self.leave()
            reason = one_line(error, 200)
            raise LostProcess(
                f"{place} waits in vain: another one has ended, or does not answer ({reason}); see what that one says, and "
                "start all of them again"
            ) from error
