"""The sum over neighbours on CUDA: launches of its kernels."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from equireann_pyg.ops.cuda import orbital_sum_kernels as kernels
from equireann_pyg.ops.cuda.launch import blocks, channels, check, on, power
from equireann_pyg.ops.gpu import DEVICE
from equireann_pyg.ops.orbital_sum import MAX_COMPONENTS, orbital_sum

NARROW, WIDE = 32, 128
"""Largest numbers of channels of a block: of a sum, and of a kernel that keeps the gradient of an atom."""

EDGES, MANY, TILE = 4, 16, 2048
"""Edges that are worked on at a time, also by products of matrices, and numbers that these have at most."""


class Fields(NamedTuple):
    """What the sum is linear in, or tangents or gradients of that."""

    coefficient: Tensor
    orbital: Tensor | None
    radial: Tensor
    angular: Tensor
    envelope: Tensor


class Sum:
    """The sum over neighbours of one graph: its edges and sizes.

    Args:
        fields: values c, M, R, Y, f.
        edge_index: ``[2, E]``.
        order: :func:`~equireann_pyg.ops.edge_order` of the edges.
        concat: whether messages have channels of their own.

    Raises:
        ValueError: if shapes do not fit.
    """

    def __init__(self, fields: Fields, edge_index: Tensor, order: Tensor, concat: bool) -> None:
        (self.nodes, self.n), (self.edges, self.lm) = fields.coefficient.shape, fields.angular.shape
        self.apart = concat and fields.orbital is not None
        self.m = fields.orbital.size(2) if fields.orbital is not None and concat else self.n
        self.offset = self.n if self.apart else 0  # where the messages begin
        self.channels = self.n + self.m if self.apart else self.n
        self.width = fields.envelope.size(1) if fields.envelope.dim() == 2 else 1
        self.stride = int(self.width > 1)
        self.x = self.checked(fields)
        self.source, self.target = check("edge_index", edge_index, 2, self.edges)
        self.order = check("order", order, 2, self.nodes + 1 + self.edges)
        self.components = power(self.lm)

    def checked(self, fields: Fields) -> Fields:
        """Contiguous fields of the right shapes."""
        c, M, R, Y, f = fields
        per_channel = () if f.dim() == 1 else (self.m,) if M is not None else f.shape[1:]
        return Fields(
            check("coefficient", c, self.nodes, self.n),
            None if M is None else check("orbital", M, self.nodes, self.lm, self.m),
            check("radial", R, self.edges, self.n),
            check("angular", Y, self.edges, self.lm),
            check("envelope", f, self.edges, *per_channel),
        )

    def by(self, row: int) -> tuple[Tensor, Tensor]:
        """Where the edges of each atom start, and their numbers, by the atom that they leave (0) or end in (1)."""
        return self.order[row, : self.nodes + 1], self.order[row, self.nodes + 1 :]

    def total(self, h: Fields | None = None) -> Tensor:
        """The sum ``[N, lm, n]`` or ``[N, lm, n + m]``, or its derivative along tangents h."""
        out = self.x.coefficient.new_empty(self.nodes, self.lm, self.channels)
        if not out.numel():
            return out
        (c, M, R, Y, f), tangent = self.x, h is not None
        hc, hM, hR, hY, hf = h or self.x
        block, dot = max(16, channels(self.n, NARROW)), c.dtype == torch.float32
        kernels.local_sum[self.nodes, blocks(self.n, block)](
            *(out, *self.by(1), self.source, c, R, Y, hc, hR, hY, self.lm, self.n, self.channels),
            *(max(16, self.components), block, MANY if dot else EDGES, tangent, dot),
            num_warps=2 if dot else 1,
        )  # fmt: skip
        if M is not None:
            block = channels(self.m, NARROW)
            kernels.message_sum[self.nodes, blocks(self.m, block)](
                *(out, *self.by(1), self.source, M, f, hM, hf, self.lm, self.m, self.channels, self.offset),
                *(self.width, self.stride, self.components, block, EDGES, tangent, not self.apart),
                num_warps=1,
            )  # fmt: skip
        return out

    def gradients(self, G: Tensor, h: Fields | None = None) -> list[Tensor]:
        """Gradients of the scalar product of the sum, or its derivative along tangents h, and G."""
        G = check("gradient", G, self.nodes, self.lm, self.channels)
        return [*self._local(G, h), *self._passed(G, h)]

    def _local(self, G: Tensor, h: Fields | None) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of c, R and Y."""
        (c, _, R, Y, _), tangent = self.x, h is not None
        hc, _, hR, hY, _ = h or self.x
        dc, dR, dY = torch.zeros_like(c), torch.empty_like(R), torch.empty_like(Y)
        if not (self.edges and self.n and self.lm):
            return dc, dR.zero_(), dY.zero_()
        along = torch.empty_like(R) if tangent else dR
        block = min(power(self.n), WIDE)
        for first in range(0, self.n, block):
            kernels.angular_gradient[self.nodes,](
                *(dR, along, dY, *self.by(1), self.source, G, c, R, Y, hc, hR, hY, self.lm, self.n, self.channels),
                *(first, self.components, block, tangent, first > 0),
                num_warps=1,
            )  # fmt: skip
        block = channels(self.n, NARROW)
        kernels.radial_gradient[self.nodes, blocks(self.n, block)](
            *(dR, along, dc, *self.by(0), c, R, hc, hR, self.n, block, EDGES, tangent), num_warps=1
        )
        return dc, dR, dY

    def _passed(self, G: Tensor, h: Fields | None) -> tuple[Tensor, Tensor]:
        """Gradients of M and f."""
        f, M = self.x.envelope, self.x.orbital
        if M is None or not (self.edges and M.numel()):
            return G.new_zeros(0 if M is None else M.shape), torch.zeros_like(f)
        of_filter, of_message = (h.orbital, h.envelope) if h else (M, f)
        dM, df, sizes = (
            torch.empty_like(M),
            torch.empty_like(f),
            (self.lm, self.m, self.channels, self.offset, self.width),
        )
        block = power(self.m)
        together = max(1, min(EDGES, TILE // (self.components * block)))
        kernels.filter_gradient[self.nodes,](
            df, *self.by(1), self.source, G, of_filter, *sizes, self.components, block, together, num_warps=1
        )
        block = channels(self.m, NARROW)
        kernels.message_gradient[self.nodes, blocks(self.m, block)](
            dM, *self.by(0), self.target, G, of_message, *sizes, self.stride, self.components, block, EDGES, num_warps=1
        )
        return dM, df


def _in_order(of_local: list[Tensor]) -> tuple[Tensor, ...]:
    """Gradients in the order of the arguments: c, M, R, Y, f."""
    dc, dR, dY, dM, df = of_local
    return dc, dM, dR, dY, df


@orbital_sum.kernel(DEVICE, limit=lambda c, M, edge_index, order, R, Y, f, concat=False: Y.size(1) <= MAX_COMPONENTS)
def _value(c, M, edge_index, order, R, Y, f, concat=False):
    with on(c):
        return Sum(Fields(c, M, R, Y, f), edge_index, order, concat).total()


@orbital_sum.kernel(DEVICE, "_backward")
def _first(grad, c, M, edge_index, order, R, Y, f, concat):
    with on(c):
        return _in_order(Sum(Fields(c, M, R, Y, f), edge_index, order, concat).gradients(grad))


@orbital_sum.kernel(DEVICE, "_double_backward")
def _second(hc, hM, hR, hY, hf, grad, c, M, edge_index, order, R, Y, f, concat):
    with on(c):
        made = Sum(Fields(c, M, R, Y, f), edge_index, order, concat)
        h = made.checked(Fields(hc, hM, hR, hY, hf))
        return made.total(h), *_in_order(made.gradients(grad, h))
