"""Sparse products of orbitals on CUDA: each program makes one component of the product for some atoms and channels."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from equireann_pyg.ops.coupled import coupled, coupled_weight
from equireann_pyg.ops.cuda import DEVICE
from equireann_pyg.ops.cuda.launch import blocks, channels, check, on
from equireann_pyg.ops.operator import tracing

ATOMS, NARROW = 16, 32
"""Atoms and channels of a block."""


@triton.jit
def product(
    out, a, b, w, species, start, order, entries, values, N, n,
    atom_a, part_a, atom_b, part_b, size_w, size, of_a, of_b, of_w,
    ATOMS: tl.constexpr, BLOCK: tl.constexpr, BY_SPECIES: tl.constexpr,
):  # fmt: skip
    """sum_e v_e w a b over the entries of one place; the rows of w are those of the atoms, or of their elements."""
    i = tl.program_id(0).to(tl.int64) * ATOMS + tl.arange(0, ATOMS)
    place, k = tl.program_id(1), tl.program_id(2) * BLOCK + tl.arange(0, BLOCK)
    there = (i < N)[:, None] & (k < n)[None, :]
    row = tl.load(species + i, mask=i < N, other=0) if BY_SPECIES else i
    a_i, b_i = a + i[:, None] * atom_a + k[None, :], b + i[:, None] * atom_b + k[None, :]
    w_i = w + row[:, None] * size_w * n + k[None, :]
    made = tl.zeros([ATOMS, BLOCK], dtype=out.dtype.element_ty)
    for at in range(tl.load(start + place), tl.load(start + place + 1)):
        e = tl.load(order + at)
        entry = entries + 4 * e
        term = tl.load(a_i + tl.load(entry + of_a) * part_a, mask=there, other=0.0)
        term *= tl.load(b_i + tl.load(entry + of_b) * part_b, mask=there, other=0.0)
        term *= tl.load(w_i + tl.load(entry + of_w) * n, mask=there, other=0.0)
        made += tl.load(values + e).to(made.dtype) * term
    tl.store(out + (i[:, None] * size + place) * n + k[None, :], made, mask=there)


_known = WeakTensorKeyDictionary()


def _by_place(entries: Tensor, column: int, size: int) -> tuple[Tensor, Tensor]:
    """Where the entries of each place start, ``[size + 1]``, and their numbers, by one column; remembered for each table."""
    kept = {} if tracing() else _known.setdefault(entries, {})
    if (column, size) not in kept:
        place, order = torch.sort(entries[:, column].long(), stable=True)
        start = torch.searchsorted(place, torch.arange(size + 1, device=entries.device))
        kept[column, size] = start.int(), order.int()
    return kept[column, size]


def _product(
    factors: tuple[Tensor, Tensor, Tensor],
    species: Tensor | None,
    table: tuple[Tensor, Tensor],
    size: int,
    columns: tuple[int, ...],
) -> Tensor:
    """The sum over the entries, ``[N, size, n]``: factors a, b, w, their columns of the entries and that of the sum."""
    a, b, w = (factor if factor.stride(2) == 1 else factor.contiguous() for factor in factors)
    entries, values, w = table[0].contiguous(), table[1].contiguous(), w.contiguous()
    N, n = a.size(0), a.size(2)
    if b.shape[::2] != (N, n):
        raise ValueError(f"b: expected the shape [{N}, lb, {n}], got {list(b.shape)}")
    out = a.new_empty(N, size, n)
    if out.numel():
        block = channels(n, NARROW)
        with on(a):
            product[blocks(N, ATOMS), size, blocks(n, block)](
                *(out, a, b, w, a if species is None else species.contiguous()),
                *(*_by_place(entries, columns[3], size), entries, values, N, n),
                *(*a.stride()[:2], *b.stride()[:2], w.size(1), size, *columns[:3]),
                *(ATOMS, block, species is not None),
            )
    return out


@coupled.kernel(DEVICE)
def _coupled(a, b, weight, species, entries, values, size, roles=(0, 1, 2)):
    if species is None and weight.size(0) > 1:
        raise ValueError(f"coupled: weights of {weight.size(0)} elements need species [N]")
    check("weight", weight, *weight.shape[:2], a.size(2))
    weight = weight if species is not None else weight.expand(1, -1, -1)
    species = torch.zeros(a.size(0), dtype=torch.int64, device=a.device) if len(weight) == 1 else species
    return _product((a, b, weight), species, (entries, values), size, (*roles[:2], 3, roles[2]))


@coupled_weight.kernel(DEVICE)
def _coupled_weight(a, b, factor, species, entries, values, num_species, num_paths, roles=(0, 1, 2)):
    check("factor", factor, a.size(0), factor.size(1), a.size(2))
    parts = _product((a, b, factor), None, (entries, values), num_paths, (*roles, 3))  # -> [N, P, n]
    if species is None or num_species == 1:
        return parts.sum(0, keepdim=True)
    kinds = torch.arange(num_species, device=parts.device).unsqueeze(1)
    return ((kinds == species).to(parts.dtype) @ parts.flatten(1)).unflatten(1, parts.shape[1:])
