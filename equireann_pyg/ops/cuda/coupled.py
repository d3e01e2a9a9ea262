"""Sparse products of orbitals on CUDA: each program makes one component of the product for some atoms and channels.

It goes through the whole table of entries and takes those of its component: the table is short and stays in the cache.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from equireann_pyg.ops.coupled import coupled, coupled_weight, degree_dot
from equireann_pyg.ops.cuda import DEVICE
from equireann_pyg.ops.cuda.launch import blocks, check, on, power

ATOMS, NARROW = 16, 32
"""Atoms and channels of a block."""


@triton.jit
def product(
    out, a, b, w, species, entries, values, N, n, size_a, size_b, size_w, size, num_entries, of_a, of_b, of_w, of_out,
    ATOMS: tl.constexpr, BLOCK: tl.constexpr, BY_SPECIES: tl.constexpr,
):  # fmt: skip
    """sum_e v_e w a b over the entries of one place; the rows of w are those of the atoms, or of their elements."""
    i = tl.program_id(0).to(tl.int64) * ATOMS + tl.arange(0, ATOMS)
    place, k = tl.program_id(1), tl.program_id(2) * BLOCK + tl.arange(0, BLOCK)
    there = (i < N)[:, None] & (k < n)[None, :]
    row = tl.load(species + i, mask=i < N, other=0) if BY_SPECIES else i
    made = tl.zeros([ATOMS, BLOCK], dtype=out.dtype.element_ty)
    for e in range(num_entries):
        if tl.load(entries + 4 * e + of_out) == place:
            at_a, at_b, at_w = (tl.load(entries + 4 * e + of_a), tl.load(entries + 4 * e + of_b), tl.load(entries + 4 * e + of_w))
            term = tl.load(a + (i[:, None] * size_a + at_a) * n + k[None, :], mask=there, other=0.0)
            term *= tl.load(b + (i[:, None] * size_b + at_b) * n + k[None, :], mask=there, other=0.0)
            term *= tl.load(w + (row[:, None] * size_w + at_w) * n + k[None, :], mask=there, other=0.0)
            made += tl.load(values + e).to(made.dtype) * term
    tl.store(out + (i[:, None] * size + place) * n + k[None, :], made, mask=there)


def _product(
    factors: tuple[Tensor, Tensor, Tensor],
    species: Tensor | None,
    table: tuple[Tensor, Tensor],
    size: int,
    columns: tuple[int, ...],
) -> Tensor:
    """The sum over the entries, ``[N, size, n]``: factors a, b, w, their columns of the entries and that of the sum."""
    a, b, w = (factor.contiguous() for factor in factors)
    entries, values = (part.contiguous() for part in table)
    N, n = a.size(0), a.size(2)
    check("b", b, N, b.size(1), n)
    out = a.new_empty(N, size, n)
    if out.numel():
        block = min(power(n), NARROW)
        with on(a):
            product[blocks(N, ATOMS), size, blocks(n, block)](
                *(out, a, b, w, a if species is None else species.contiguous(), entries, values, N, n),
                *(a.size(1), b.size(1), w.size(1), size, len(entries), *columns),
                *(ATOMS, block, species is not None),
            )
    return out


@coupled.kernel(DEVICE)
def _coupled(a, b, weight, species, entries, values, size, roles=(0, 1, 2)):  # type: ignore[no-untyped-def]
    if species is None and weight.size(0) > 1:
        raise ValueError(f"coupled: weights of {weight.size(0)} elements need species [N]")
    check("weight", weight, *weight.shape[:2], a.size(2))
    weight = weight if species is not None else weight.expand(1, -1, -1)
    species = torch.zeros(a.size(0), dtype=torch.int64, device=a.device) if len(weight) == 1 else species
    return _product((a, b, weight), species, (entries, values), size, (*roles[:2], 3, roles[2]))


@coupled_weight.kernel(DEVICE)
def _coupled_weight(a, b, factor, species, entries, values, num_species, num_paths, roles=(0, 1, 2)):  # type: ignore[no-untyped-def]
    check("factor", factor, a.size(0), factor.size(1), a.size(2))
    parts = _product((a, b, factor), None, (entries, values), num_paths, (*roles, 3))  # -> [N, P, n]
    if species is None or num_species == 1:
        return parts.sum(0, keepdim=True)
    kinds = torch.arange(num_species, device=parts.device).unsqueeze(1)
    return ((kinds == species).to(parts.dtype) @ parts.flatten(1)).unflatten(1, parts.shape[1:])
