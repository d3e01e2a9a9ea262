"""Sparse products of orbitals on CUDA.

The table of entries is short and always the same, so a kernel is made for each: it loads every component of the factors once,
and all products are made in registers. Long tables are read by a kernel that makes one component of the product at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

from equireann_pyg.ops.coupled import coupled, coupled_weight
from equireann_pyg.ops.cuda.launch import blocks, channels, check, on
from equireann_pyg.ops.gpu import DEVICE
from equireann_pyg.ops.operator import tracing

ELEMENTS, NARROW = 128, 32
"""Numbers and channels of a block."""

LONGEST = 400
"""Entries of a table that a kernel is made for; compiling takes a second for a hundred of them."""


@triton.constexpr_function
def _count(table, place):
    """Number of entries of a place."""
    return table.split("|")[place].count(";")


@triton.constexpr_function
def _column(table, place, at, column):
    """Component of a factor of an entry."""
    return int(table.split("|")[place].split(";")[at].split()[column])


@triton.constexpr_function
def _value(table, place, at):
    """Coefficient of an entry."""
    return float.fromhex(table.split("|")[place].split(";")[at].split()[3])


@triton.jit(do_not_specialize=["N"])  # one kernel for all sizes
def product(
    out, a, b, w, species, N, n, atom_a, part_a, atom_b, part_b,
    A: tl.constexpr, B: tl.constexpr, W: tl.constexpr, SIZE: tl.constexpr, TABLE: tl.constexpr,
    ATOMS: tl.constexpr, BLOCK: tl.constexpr, BY_SPECIES: tl.constexpr,
):  # fmt: skip
    """sum_e v_e w a b over the entries of every place; the rows of w are those of the atoms, or of their elements."""
    i = tl.program_id(0).to(tl.int64) * ATOMS + tl.arange(0, ATOMS)
    k = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    there = (i < N)[:, None] & (k < n)[None, :]
    row = tl.load(species + i, mask=i < N, other=0) if BY_SPECIES else i
    a_i, b_i, w_i = (), (), ()
    for part in tl.static_range(A):
        a_i += (tl.load(a + i[:, None] * atom_a + part * part_a + k[None, :], mask=there, other=0.0),)
    for part in tl.static_range(B):
        b_i += (tl.load(b + i[:, None] * atom_b + part * part_b + k[None, :], mask=there, other=0.0),)
    for part in tl.static_range(W):
        w_i += (tl.load(w + (row[:, None] * W + part) * n + k[None, :], mask=there, other=0.0),)
    for place in tl.static_range(SIZE):
        made = tl.zeros([ATOMS, BLOCK], dtype=out.dtype.element_ty)
        for at in tl.static_range(_count(TABLE, place)):
            term = a_i[_column(TABLE, place, at, 0)] * b_i[_column(TABLE, place, at, 1)]
            made += _value(TABLE, place, at) * (term * w_i[_column(TABLE, place, at, 2)])
        tl.store(out + (i[:, None] * SIZE + place) * n + k[None, :], made, mask=there)


@triton.jit(do_not_specialize=["N"])  # one kernel for all sizes
def long_product(
    out, a, b, w, species, N, n, atom_a, part_a, atom_b, part_b, size_w, size, start, order, entries, values, of_a, of_b, of_w,
    ATOMS: tl.constexpr, BLOCK: tl.constexpr, BY_SPECIES: tl.constexpr,
):  # fmt: skip
    """The same for one place in each program, by a table in memory."""
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


Table = tuple[StorageWeakRef, StorageWeakRef]
"""Where the entries and the values lie. While it is kept, no other table can lie there."""

_known: dict[Table, tuple[tuple[object, ...], dict[tuple[object, ...], Any]]] = {}


def _remembered(entries: Tensor, values: Tensor, key: tuple[object, ...], make: Callable[[], Any]) -> Any:
    """What has been made of a table before, or is made now: under a recording of CUDA graphs it must have been made before.

    A table is known by its memory and not by its tensors: a compiled potential detaches its buffers anew in every call.
    """
    if tracing() or entries.is_inference() or values.is_inference():  # nothing tells whether these are written to
        return make()
    table = StorageWeakRef(entries.untyped_storage()), StorageWeakRef(values.untyped_storage())
    state = tuple((part._version, part.storage_offset(), part.shape, part.stride()) for part in (entries, values))
    before = _known.get(table)
    if before is None or before[0] != state:
        for known in list(_known):  # a copy: other threads remember tables, too
            if any(part.expired() for part in known):
                _known.pop(known, None)
        before = _known[table] = state, {}
    kept = before[1]
    if key not in kept:
        kept[key] = make()
    return kept[key]


def _checked(entries: Tensor, sizes: tuple[int, ...], columns: tuple[int, ...]) -> list[list[int]]:
    """The entries, with the columns of a, b, w and the place."""
    table = [[entry[column] for column in columns] for entry in entries.tolist()]
    for entry in table:
        if not all(0 <= index < size for index, size in zip(entry, sizes, strict=True)):
            raise IndexError(f"entries: expected components and paths below {list(sizes)}, got {entry}")
    return table


def _words(entries: Tensor, values: Tensor, sizes: tuple[int, ...], columns: tuple[int, ...]) -> str:
    """A table as text, by places: a kernel is kept under it."""
    lines = [""] * sizes[3]
    for (a, b, w, place), value in zip(_checked(entries, sizes, columns), values.tolist(), strict=True):
        lines[place] += f"{a} {b} {w} {value.hex()};"
    return "|".join(lines)


def _by_place(entries: Tensor, sizes: tuple[int, ...], columns: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Where the entries of each place start, ``[size + 1]``, and their numbers."""
    _checked(entries, sizes, columns)
    place, order = torch.sort(entries[:, columns[3]].long(), stable=True)
    start = torch.searchsorted(place, torch.arange(sizes[3] + 1, device=entries.device))
    return start.int(), order.int()


def _reachable(factor: Tensor) -> bool:
    """Whether the kernels can read a factor as it lies: channels side by side, components at distances of 32 bits."""
    return factor.stride(2) == 1 and factor.stride(1) * factor.size(1) < 2**31


def _product(
    factors: tuple[Tensor, Tensor, Tensor],
    species: Tensor | None,
    table: tuple[Tensor, Tensor],
    size: int,
    columns: tuple[int, ...],
) -> Tensor:
    """The sum over the entries, ``[N, size, n]``: factors a, b, w, their columns of the entries and that of the sum."""
    a, b, w = (factor if _reachable(factor) else factor.contiguous() for factor in factors)
    (entries, values), w, N, n = table, w.contiguous(), a.size(0), a.size(2)
    if b.shape[::2] != (N, n):
        raise ValueError(f"b: expected the shape [{N}, lb, {n}], got {list(b.shape)}")
    out = a.new_empty(N, size, n)
    if not out.numel():
        return out
    block, by_species, sizes = channels(n, NARROW), species is not None, (a.size(1), b.size(1), w.size(1), size)
    atoms = max(1, ELEMENTS // block)
    common = out, a, b, w, a if species is None else species.contiguous(), N, n, *a.stride()[:2], *b.stride()[:2]
    with on(a):
        if len(entries) <= LONGEST:
            text = _remembered(entries, values, (sizes, columns), lambda: _words(entries, values, sizes, columns))
            product[blocks(N, atoms), blocks(n, block)](*common, *sizes, text, atoms, block, by_species)
        else:
            places = _remembered(
                entries, values, (sizes, columns, "places"), lambda: _by_place(entries, sizes, columns)
            )
            long_product[blocks(N, atoms), size, blocks(n, block)](
                *(*common, w.size(1), size, *places, entries.contiguous(), values.contiguous(), *columns[:3]),
                *(atoms, block, by_species),
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
