r"""The least that one call of EquiREANN costs on this machine.

Counted are the floating-point operations of the best known order of evaluation, and the bytes that cannot stay away from
the memory. A multiply-add counts two, a root, a quotient or an exponential one. Inference is energy and forces: a forward
and a backward pass to the edge vectors. A training step adds the gradient of an energy and force loss with respect to the
parameters. With the cotangent :math:`v` of the forces that is the gradient of :math:`v\cdot\partial E/\partial r` plus that of
the energies, and it is cheapest as a tangent pass (primes) and one more backward pass, which reuses the cotangents
:math:`\bar y` of the first one. The four passes, for the kinds of operations that matter:

====================================  ======================================  ==========================================
operation                             inference                               training adds
====================================  ======================================  ==========================================
matrix product ``y = x W`` of cost P  P; P for :math:`\bar y W^T`             P for :math:`x'W`; P for
                                                                              :math:`\bar y_J W^T`; 2P for
                                                                              :math:`x^T\bar y_J + x'^T\bar y`
last product of the readout           the same: 2P                            3P: nobody asks for :math:`x'W`
squares, each element                 2; 1                                    2; 3
sum over neighbours                   see :func:`neighbour_sum`               see there
====================================  ======================================  ==========================================

What stays are functions of one number for each edge or each hidden unit, with constants that are good to a factor of two;
they weigh little.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import torch
from torch_geometric.data import Data

from equireann_pyg import EquiREANN


@dataclass(frozen=True)
class Sizes:
    """What the cost depends on.

    Args:
        atoms: number of atoms N.
        edges: number of edges E.
        components: number of angular components lm.
        num_radial: number of radial channels n.
        num_density: number of densities k.
        hidden: hidden widths h1..hp of the networks.
        iterations: number of message-passing iterations T.
        parameters: number of parameters.
    """

    atoms: int
    edges: int
    components: int
    num_radial: int
    num_density: int
    hidden: tuple[int, ...]
    iterations: int
    parameters: int = 0


def sizes_of(model: EquiREANN, data: Data) -> Sizes:
    """Sizes of one call."""
    return Sizes(
        atoms=data.z.numel(),
        edges=data.edge_index.size(1),
        components=sum(model.angular.components),
        num_radial=model.radial.num_radial,
        num_density=model.num_features,
        hidden=tuple(model.readout.hidden_channels),
        iterations=model.num_iterations,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
    )


@dataclass(frozen=True)
class Cost:
    """Work of one call of each kind.

    Args:
        inference: energy and forces.
        training: energy, forces and the gradient of their loss.
    """

    inference: float
    training: float

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.inference + other.inference, self.training + other.training)


def matrix_products(sizes: Sizes) -> Cost:
    """Contractions, (T + 1) x [lm, n] x [n, k] for each atom, and networks, k -> h1 .. hp -> h1 -> n or 1."""
    contraction = 2 * sizes.components * sizes.num_radial * sizes.num_density
    widths = [*sizes.hidden, sizes.hidden[0]]
    trunk = 2 * (sizes.num_density * widths[0] + sum(a * b for a, b in pairwise(widths)))
    update = trunk + 2 * widths[0] * sizes.num_radial
    inner = sizes.atoms * ((sizes.iterations + 1) * contraction + sizes.iterations * update + trunk)
    last = sizes.atoms * 2 * widths[0]
    return Cost(2 * (inner + last), 6 * inner + 5 * last)


def neighbour_sum(sizes: Sizes) -> Cost:
    r"""Sum :math:`\psi = \sum_j a Y + f M` with :math:`a = c R`, for each edge and iteration; s(G, Y) sums G Y over lm.

    Forward: n for a, 2 lm n for a Y, 2 lm n for f M. Backward: 2 lm n for each of s(G, Y), the gradients of Y, f and M;
    5n for a, those of c and R. Tangent: 2 lm n for each of a'Y, aY', f'M, fM'; 4n for a'. Last pass: 4 lm n for the
    gradient of M, 4 lm n for :math:`s(G_J, Y) + s(G, Y')`, 8n for those of c and R; Y and f have no parameters. At t = 0 there
    is no M, and c is a parameter.
    """
    n, block = sizes.num_radial, 2 * sizes.components * sizes.num_radial
    first = (block + n) + (2 * block + 2 * n)  # forward, backward
    later = (2 * block + n) + (4 * block + 5 * n)
    first_training = first + (2 * block + 2 * n) + (2 * block + 6 * n)  # and tangent, last pass
    later_training = later + (4 * block + 4 * n) + (4 * block + 8 * n)
    return Cost(
        sizes.edges * (first + sizes.iterations * later),
        sizes.edges * (first_training + sizes.iterations * later_training),
    )


def per_atom_rest(sizes: Sizes) -> Cost:
    """Squares, messages, activations and standardised densities."""
    iterations, orbital = sizes.iterations + 1, sizes.components * sizes.num_radial
    squares = iterations * sizes.components * sizes.num_density
    messages = sizes.iterations * orbital  # c times the sum of orbitals, and that sum
    units = iterations * (sum(sizes.hidden) + sizes.hidden[0])  # SiLU: exponential, quotient, sum, product
    inputs = iterations * sizes.num_density  # asinh and two operations to standardise
    inference = 3 * squares + (2 + 5) * messages + (4 + 4) * units + (6 + 6) * inputs
    training = 8 * squares + (2 + 5 + 4 + 7) * messages + 4 * 4 * units + 4 * 6 * inputs
    return Cost(sizes.atoms * inference, sizes.atoms * training)


def per_edge_rest(sizes: Sizes) -> Cost:
    """Edge vectors, lengths, envelope, radial and angular functions, forces."""
    n, components = sizes.num_radial, sizes.components
    geometry = 6 + 6  # difference, force
    forward = 6 + 8 + 5 * n + 3 * components  # norm, polynomial, Gaussians, harmonics
    backward = 6 + 8 + 6 * n + 6 * components
    tangent, parameters = backward, 8 * n  # of centres and exponents only
    inference = geometry + forward + backward
    return Cost(sizes.edges * inference, sizes.edges * (inference + tangent + parameters))


def operations(sizes: Sizes) -> Cost:
    """Floating-point operations."""
    return matrix_products(sizes) + neighbour_sum(sizes) + per_atom_rest(sizes) + per_edge_rest(sizes)


def least_bytes(sizes: Sizes, itemsize: int = 4) -> Cost:
    """Bytes read and written if nothing is moved twice.

    Positions and forces ``[N, 3]`` and shifts ``[E, 3]`` in 8 bytes, indices in 8 bytes, parameters once; in training also
    their gradients. Node tensors that outlive an iteration, each written once and read once: orbitals, messages and
    coefficients, and the gradients of messages and coefficients; in training also the tangents and gradients of these.
    """
    graph = sizes.atoms * 8 * (3 + 3 + 1 + 1) + sizes.edges * 8 * (3 + 2)
    orbital = sizes.components * sizes.num_radial
    one = sizes.atoms * ((sizes.iterations + 1) * orbital + sizes.iterations * (orbital + sizes.num_radial))
    gradients = sizes.atoms * sizes.iterations * (orbital + sizes.num_radial)
    nodes = 2 * itemsize * (one + gradients)
    weights = itemsize * sizes.parameters
    return Cost(graph + nodes + weights, graph + 2 * nodes + 2 * weights)


@dataclass(frozen=True)
class Ceilings:
    """What one thread of the machine does at best.

    Args:
        gflops: float32 matrix product in 10^9 operations per second.
        gbytes: copy in 10^9 bytes per second, read and written.
    """

    gflops: float
    gbytes: float


def ceilings(repeats: int = 5) -> Ceilings:
    """Measure matrix product and copy on one thread: the best of some sizes and repeats."""
    gflops = []
    for side in (256, 512, 1024):
        a, b, out = (torch.randn(side, side) for _ in range(3))
        gflops.append(2e-9 * side**3 / _best(partial(torch.mm, a, b, out=out), repeats))
    source = torch.ones(1 << 26)  # 256 MiB: more than any cache
    target = torch.empty_like(source).zero_()
    copied = 2e-9 * source.numel() * source.element_size()
    return Ceilings(max(gflops), copied / _best(partial(target.copy_, source), repeats))


def _best(call: Callable[[], object], repeats: int) -> float:
    """CPU seconds of the fastest call."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        call()
        times = []
        for _ in range(repeats):
            start = time.process_time()
            call()
            times.append(time.process_time() - start)
    finally:
        torch.set_num_threads(threads)
    return min(times)


def floor_seconds(sizes: Sizes, ceiling: Ceilings) -> Cost:
    """Seconds below which no implementation comes: the longer of arithmetic and memory."""
    flops, moved = operations(sizes), least_bytes(sizes)
    return Cost(
        max(1e-9 * flops.inference / ceiling.gflops, 1e-9 * moved.inference / ceiling.gbytes),
        max(1e-9 * flops.training / ceiling.gflops, 1e-9 * moved.training / ceiling.gbytes),
    )
