r"""Kernels of the sum over neighbours, its gradients and their gradients, without any tensor ``[E, lm, n]`` and atomic adds.

Every program works on one atom, through the edges that end in it or leave it, so the order of every sum is fixed. With TANGENT
a kernel makes the derivative along tangents h of the fields. Gradients of the local term go by way of
:math:`a_e = \sum_{lm} Y_{e,lm} G_{i,lm}`, which is made once for each edge and serves :math:`R_e` and :math:`c_j`.
"""

import triton
import triton.language as tl


@triton.jit
def _edges(perm, other, first, end, EDGES: tl.constexpr):
    """Some edges of an atom: their numbers, the atoms at their other ends, and whether they are there."""
    at = first + tl.arange(0, EDGES)
    there = at < end
    e = tl.load(perm + at, mask=there, other=0).to(tl.int64)
    return e, tl.load(other + e, mask=there, other=0).to(tl.int64), there


@triton.jit
def _edge(perm, other, at, end):
    """Number of an edge of an atom, and the atom at its other end."""
    e = tl.load(perm + at, mask=at < end, other=0).to(tl.int64)
    return e, tl.load(other + e, mask=at < end, other=0).to(tl.int64)


@triton.jit
def local_sum(
    out, start, perm, source, c, R, Y, hc, hR, hY, lm, n, n_out,
    LM: tl.constexpr, BLOCK: tl.constexpr, EDGES: tl.constexpr, TANGENT: tl.constexpr, DOT: tl.constexpr,
):  # fmt: skip
    """sum_e Y_e (x) c_j R_e of one atom and some channels; with DOT as products of matrices, as exact as float32."""
    i, k = tl.program_id(0).to(tl.int64), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    comp = tl.arange(0, LM)
    psi = tl.zeros([LM, BLOCK], dtype=out.dtype.element_ty)
    first, end = tl.load(start + i), tl.load(start + i + 1)
    e, j, there = _edges(perm, source, first, end, EDGES)
    for at in range(first, end, EDGES):
        of_edge, of_atom = e[:, None] * n + k[None, :], j[:, None] * n + k[None, :]
        of_Y, component = e[None, :] * lm + comp[:, None], there[None, :] & (comp < lm)[:, None]  # -> [LM, EDGES]
        channel = there[:, None] & (k < n)[None, :]
        c_j, R_e = tl.load(c + of_atom, mask=channel, other=0.0), tl.load(R + of_edge, mask=channel, other=0.0)
        Y_e = tl.load(Y + of_Y, mask=component, other=0.0)
        e, j, there = _edges(perm, source, at + EDGES, end, EDGES)  # the next ones, on their way meanwhile
        if TANGENT:
            h_cR = tl.load(hc + of_atom, mask=channel, other=0.0) * R_e
            h_cR += c_j * tl.load(hR + of_edge, mask=channel, other=0.0)
            psi = _accumulated(psi, Y_e, h_cR, DOT)
            psi = _accumulated(psi, tl.load(hY + of_Y, mask=component, other=0.0), c_j * R_e, DOT)
        else:
            psi = _accumulated(psi, Y_e, c_j * R_e, DOT)
    to = out + (i * lm + comp[:, None]) * n_out + k[None, :]
    tl.store(to, psi, mask=(comp < lm)[:, None] & (k < n)[None, :])


@triton.jit
def _accumulated(psi, Y, cR, DOT: tl.constexpr):
    """Psi + sum_e Y [LM, e] cR [e, n]."""
    if DOT:
        return tl.dot(Y, cR, psi, input_precision="tf32x3")  # three products in tf32 are one in float32
    return psi + tl.sum(Y[:, :, None] * cR[None, :, :], axis=1)


@triton.jit
def message_sum(
    out, start, perm, source, M, f, hM, hf, lm, m, n_out, offset, width, stride,
    LM: tl.constexpr, BLOCK: tl.constexpr, EDGES: tl.constexpr, TANGENT: tl.constexpr, ADD: tl.constexpr,
):  # fmt: skip
    """sum_e f_e M_j of one atom and some channels; with ADD on top of what is there."""
    i, k = tl.program_id(0).to(tl.int64), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    comp = tl.arange(0, LM)
    inside = (comp < lm)[:, None] & (k < m)[None, :]
    to = out + (i * lm + comp[:, None]) * n_out + offset + k[None, :]
    psi = tl.zeros([LM, BLOCK], dtype=out.dtype.element_ty)
    if ADD:
        psi += tl.load(to, mask=inside, other=0.0)
    first, end = tl.load(start + i), tl.load(start + i + 1)
    e, j, there = _edges(perm, source, first, end, EDGES)
    for at in range(first, end, EDGES):
        orbital = (j[:, None, None] * lm + comp[None, :, None]) * m + k[None, None, :]
        of_edge, all_there = e[:, None] * width + stride * k[None, :], there[:, None, None] & inside[None, :, :]
        channel = there[:, None] & (k < m)[None, :]
        e, j, there = _edges(perm, source, at + EDGES, end, EDGES)  # the next ones, on their way meanwhile
        f_e = tl.load(f + of_edge, mask=channel, other=0.0)
        if TANGENT:
            h_f = tl.load(hf + of_edge, mask=channel, other=0.0)
            passed = f_e[:, None, :] * tl.load(hM + orbital, mask=all_there, other=0.0)
            psi += tl.sum(passed + h_f[:, None, :] * tl.load(M + orbital, mask=all_there, other=0.0), axis=0)
        else:
            psi += tl.sum(f_e[:, None, :] * tl.load(M + orbital, mask=all_there, other=0.0), axis=0)
    tl.store(to, psi, mask=inside)


@triton.jit
def angular_gradient(
    along, h_along, dY, start, perm, source, G, c, R, Y, hc, hR, hY, lm, n, n_out, first_channel,
    LM: tl.constexpr, BLOCK: tl.constexpr, TANGENT: tl.constexpr, ADD: tl.constexpr,
):  # fmt: skip
    """For the edges of a centre: sum_lm Y G for every channel, and sum_n c R G for every component."""
    i, k = tl.program_id(0).to(tl.int64), first_channel + tl.arange(0, BLOCK)
    comp = tl.arange(0, LM)
    channel, component = k < n, comp < lm
    inside = component[:, None] & channel[None, :]
    G_i = tl.load(G + (i * lm + comp[:, None]) * n_out + k[None, :], mask=inside, other=0.0)
    first, end = tl.load(start + i), tl.load(start + i + 1)
    next_e, next_j = _edge(perm, source, first, end)
    for at in range(first, end):
        e, j = next_e, next_j
        next_e, next_j = _edge(perm, source, at + 1, end)  # on their way meanwhile
        c_j, R_e = tl.load(c + j * n + k, mask=channel, other=0.0), tl.load(R + e * n + k, mask=channel, other=0.0)
        Y_e = tl.load(Y + e * lm + comp, mask=component, other=0.0)
        tl.store(along + e * n + k, tl.sum(Y_e[:, None] * G_i, axis=0), mask=channel)
        if TANGENT:
            h_Y = tl.load(hY + e * lm + comp, mask=component, other=0.0)
            tl.store(h_along + e * n + k, tl.sum(h_Y[:, None] * G_i, axis=0), mask=channel)
            cR = tl.load(hc + j * n + k, mask=channel, other=0.0) * R_e
            cR += c_j * tl.load(hR + e * n + k, mask=channel, other=0.0)
        else:
            cR = c_j * R_e
        made = tl.sum(cR[None, :] * G_i, axis=1)
        if ADD:
            made += tl.load(dY + e * lm + comp, mask=component, other=0.0)
        tl.store(dY + e * lm + comp, made, mask=component)


@triton.jit
def radial_gradient(
    along, h_along, dc, start, perm, c, R, hc, hR, n,
    BLOCK: tl.constexpr, EDGES: tl.constexpr, TANGENT: tl.constexpr,
):  # fmt: skip
    """For the edges that leave an atom: the gradient of R, in place of sum_lm Y G, and that of c."""
    j, k = tl.program_id(0).to(tl.int64), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    c_j = tl.load(c + j * n + k, mask=k < n, other=0.0)
    if TANGENT:
        h_c = tl.load(hc + j * n + k, mask=k < n, other=0.0)
    made = tl.zeros([BLOCK], dtype=along.dtype.element_ty)
    end = tl.load(start + j + 1)
    for first in range(tl.load(start + j), end, EDGES):
        at = first + tl.arange(0, EDGES)
        e = tl.load(perm + at, mask=at < end, other=0).to(tl.int64)
        there, place = (at < end)[:, None] & (k < n)[None, :], e[:, None] * n + k[None, :]
        a, R_e = tl.load(along + place, mask=there, other=0.0), tl.load(R + place, mask=there, other=0.0)
        if TANGENT:
            h_a, h_R = tl.load(h_along + place, mask=there, other=0.0), tl.load(hR + place, mask=there, other=0.0)
            made += tl.sum(h_R * a + R_e * h_a, axis=0)
            tl.store(along + place, h_c[None, :] * a + c_j[None, :] * h_a, mask=there)
        else:
            made += tl.sum(R_e * a, axis=0)
            tl.store(along + place, c_j[None, :] * a, mask=there)
    tl.store(dc + j * n + k, made, mask=k < n)


@triton.jit
def filter_gradient(
    df,
    start,
    perm,
    source,
    G,
    M,
    lm,
    m,
    n_out,
    offset,
    width,
    LM: tl.constexpr,
    BLOCK: tl.constexpr,
    EDGES: tl.constexpr,
):
    """For the edges of a centre: sum_lm M G of every channel, or of all together."""
    i, comp, k = tl.program_id(0).to(tl.int64), tl.arange(0, LM), tl.arange(0, BLOCK)
    inside = (comp < lm)[:, None] & (k < m)[None, :]
    G_i = tl.load(G + (i * lm + comp[:, None]) * n_out + offset + k[None, :], mask=inside, other=0.0)
    first, end = tl.load(start + i), tl.load(start + i + 1)
    next_e, next_j, next_there = _edges(perm, source, first, end, EDGES)
    for at in range(first, end, EDGES):
        e, j, there = next_e, next_j, next_there
        next_e, next_j, next_there = _edges(perm, source, at + EDGES, end, EDGES)  # on their way meanwhile
        orbital = (j[:, None, None] * lm + comp[None, :, None]) * m + k[None, None, :]
        M_j = tl.load(M + orbital, mask=there[:, None, None] & inside[None, :, :], other=0.0)
        made = tl.sum(M_j * G_i[None, :, :], axis=1)  # -> [EDGES, BLOCK]
        if width > 1:
            tl.store(df + e[:, None] * width + k[None, :], made, mask=there[:, None] & (k < m)[None, :])
        else:
            tl.store(df + e, tl.sum(made, axis=1), mask=there)


@triton.jit
def message_gradient(
    dM, start, perm, target, G, f, lm, m, n_out, offset, width, stride,
    LM: tl.constexpr, BLOCK: tl.constexpr, EDGES: tl.constexpr,
):  # fmt: skip
    """sum_e f_e G_i over the edges that leave an atom."""
    j, k = tl.program_id(0).to(tl.int64), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    comp = tl.arange(0, LM)
    inside = (comp < lm)[:, None] & (k < m)[None, :]
    made = tl.zeros([LM, BLOCK], dtype=dM.dtype.element_ty)
    first, end = tl.load(start + j), tl.load(start + j + 1)
    next_e, next_i, next_there = _edges(perm, target, first, end, EDGES)
    for at in range(first, end, EDGES):
        e, i, there = next_e, next_i, next_there
        next_e, next_i, next_there = _edges(perm, target, at + EDGES, end, EDGES)  # on their way meanwhile
        f_e = tl.load(f + e[:, None] * width + stride * k[None, :], mask=there[:, None] & (k < m)[None, :], other=0.0)
        of_sum = (i[:, None, None] * lm + comp[None, :, None]) * n_out + offset + k[None, None, :]
        G_i = tl.load(G + of_sum, mask=there[:, None, None] & inside[None, :, :], other=0.0)
        made += tl.sum(f_e[:, None, :] * G_i, axis=0)
    tl.store(dM + (j * lm + comp[:, None]) * m + k[None, :], made, mask=inside)
