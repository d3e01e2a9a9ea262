r"""The halo: rows of atoms that other domains own, and the way back of their gradients.

A domain has ghosts, atoms that other domains own (or images of its own atoms), and own atoms; as nodes of its graph the ghosts
come first. :func:`exchange` puts the rows of the ghosts, which their owners send, in front of those of the own atoms. It is
linear; its transpose :func:`collect` sends the rows of ghosts back to their owners, who add them to their own:

.. math:: y = P x, \qquad \frac{\partial E}{\partial x} = P^T \frac{\partial E}{\partial y}.

Who carries the rows is named by a number, so that both are operators of torch and stand in traced, compiled and exported
graphs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from itertools import count
from typing import Any, ClassVar
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from equireann_pyg.ops.differentiable import LIBRARY


class Halo(ABC):
    """What carries rows between domains; all domains call the same methods in the same order.

    Attributes:
        number: by which operators name it.
    """

    _all: ClassVar[WeakValueDictionary[int, Halo]] = WeakValueDictionary()
    _numbers: ClassVar[count[int]] = count(1)

    def __init__(self) -> None:
        self.number = next(self._numbers)
        self._all[self.number] = self

    @staticmethod
    def of(number: int) -> Halo:
        """The halo of a number.

        Raises:
            RuntimeError: if there is none any more.
        """
        found = Halo._all.get(number)
        if found is None:
            raise RuntimeError(
                f"halo {number} does not exist in this process: evaluate through what has made the domain"
            )
        return found

    @abstractmethod
    def send(self, own: Tensor, ghosts: Tensor) -> None:
        """Fill the rows of the ghosts, ``[g, w]``, from those of the atoms ``[n, w]`` of this and other domains."""

    @abstractmethod
    def send_back(self, ghosts: Tensor, own: Tensor) -> None:
        """Add the rows of the ghosts, ``[g, w]``, to those of their owners' atoms ``[n, w]``."""


def exchange(own: Tensor, size: int, halo: int) -> Tensor:
    """Rows of all nodes of a domain, the ghosts first.

    Args:
        own: rows of the own atoms ``[n, w]``.
        size: number of nodes, n and the ghosts.
        halo: number of the :class:`Halo`.

    Returns:
        ``[size, w]``

    Raises:
        RuntimeError: if there is no such halo in this process.
    """
    return torch.ops.equireann.exchange(own, size, halo)


def collect(rows: Tensor, size: int, halo: int) -> Tensor:
    """Transpose of :func:`exchange`: rows of the own atoms, to which those of their ghosts everywhere are added.

    Args:
        rows: of all nodes of a domain, the ghosts first, ``[g + n, w]``.
        size: number of own atoms n.
        halo: number of the :class:`Halo`.

    Returns:
        ``[n, w]``

    Raises:
        RuntimeError: if there is no such halo in this process.
    """
    return torch.ops.equireann.collect(rows, size, halo)


def _exchange(own: Tensor, size: int, halo: int) -> Tensor:
    rows = own.new_empty(size, own.size(1))
    ghosts = size - own.size(0)
    rows[ghosts:] = own
    Halo.of(halo).send(rows[ghosts:], rows[:ghosts])
    return rows


def _collect(rows: Tensor, size: int, halo: int) -> Tensor:
    ghosts = rows.size(0) - size
    own = rows[ghosts:].clone()
    Halo.of(halo).send_back(rows[:ghosts].contiguous(), own)
    return own


def _exchange_back(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
    return collect(grad.contiguous(), ctx.rows, ctx.halo), None, None


def _collect_back(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
    return exchange(grad.contiguous(), ctx.rows, ctx.halo), None, None


def _remember(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.rows, ctx.halo = inputs[0].size(0), inputs[2]


for _name, _rows, _function, _back in (
    ("exchange", "own", _exchange, _exchange_back),
    ("collect", "rows", _collect, _collect_back),
):
    LIBRARY.define(f"{_name}(Tensor {_rows}, SymInt size, int halo) -> Tensor")
    LIBRARY.impl(_name, _function, "CompositeExplicitAutograd")
    torch.library.register_fake(f"equireann::{_name}", lambda x, size, halo: x.new_empty(size, x.size(1)), lib=LIBRARY)
    torch.library.register_autograd(f"equireann::{_name}", _back, setup_context=_remember, lib=LIBRARY)
