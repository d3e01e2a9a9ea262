"""Compiled kernels and their derivatives; the layers of :mod:`equireann_pyg.nn` use them where they can."""

from equireann_pyg.ops.coupling import coupled
from equireann_pyg.ops.edges import gaussians, polynomials
from equireann_pyg.ops.extension import kernels_for, load_kernels, plain_path, tracing
from equireann_pyg.ops.networks import element_linear
from equireann_pyg.ops.nodes import bent, density
from equireann_pyg.ops.orbitals import edge_order, orbital_sum
from equireann_pyg.ops.products import invariants, self_coupled

__all__ = [
    "bent",
    "coupled",
    "density",
    "edge_order",
    "element_linear",
    "gaussians",
    "invariants",
    "kernels_for",
    "load_kernels",
    "orbital_sum",
    "plain_path",
    "polynomials",
    "self_coupled",
    "tracing",
]
