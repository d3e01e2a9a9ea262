r"""Standardised features on CUDA, with :math:`t = (x - \mu) / \sigma a` of each element."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from equireann_pyg.ops.cuda.launch import blocks, check, on
from equireann_pyg.ops.gpu import DEVICE
from equireann_pyg.ops.soft_standardize import soft_standardize

SIZE = 1024
"""Numbers of a block."""


@triton.jit(do_not_specialize=["size"])  # one kernel for all sizes
def standardize(out, dx, x, g, h, species, mean, scale, wide, size, n, ORDER: tl.constexpr, SIZE: tl.constexpr):
    """t, or its derivative of first or second order as it enters the gradients."""
    at = tl.program_id(0).to(tl.int64) * SIZE + tl.arange(0, SIZE)
    there = at < size
    table = tl.load(species + at // n, mask=there, other=0) * n + at % n
    sigma, a_sigma = tl.load(scale + table, mask=there, other=1.0), tl.load(wide + table, mask=there, other=1.0)
    t = (tl.load(x + at, mask=there, other=0.0) - tl.load(mean + table, mask=there, other=0.0)) / a_sigma
    if ORDER == 0:
        tl.store(out + at, t, mask=there)
    else:
        slope = 1 / (sigma * tl.sqrt(1 + t * t))
        g_e = tl.load(g + at, mask=there, other=0.0)
        if ORDER == 1:
            tl.store(out + at, g_e * slope, mask=there)
        else:
            h_e = tl.load(h + at, mask=there, other=0.0)
            tl.store(out + at, h_e * slope, mask=there)
            tl.store(dx + at, -g_e * h_e * t * slope / ((1 + t * t) * a_sigma), mask=there)


def _launch(order: int, x: Tensor, species: Tensor, mean: Tensor, scale: Tensor, limit: float, *gh: Tensor) -> Any:
    N, n = x.shape
    out, dx = torch.empty_like(x), torch.empty_like(x) if order == 2 else x
    g, h = [*(check("gradient", part, N, n) for part in gh), x, x][:2]
    inputs = (
        check("species", species, N),
        check("mean", mean, len(mean), n),
        check("scale", scale, len(mean), n),
        scale * limit,
    )
    if out.numel():
        with on(x):
            standardize[blocks(x.numel(), SIZE),](out, dx, x.contiguous(), g, h, *inputs, x.numel(), n, order, SIZE)
    return out, dx


@soft_standardize.kernel(DEVICE)
def _value(x, species, mean, scale, limit):
    return _launch(0, x.contiguous(), species, mean, scale, limit)[0].asinh_().mul_(limit)


@soft_standardize.kernel(DEVICE, "_backward")
def _first(grad, x, species, mean, scale, limit):
    return _launch(1, x.contiguous(), species, mean, scale, limit, grad)[0]


@soft_standardize.kernel(DEVICE, "_double_backward")
def _second(h, grad, x, species, mean, scale, limit):
    return _launch(2, x.contiguous(), species, mean, scale, limit, grad, h)
