"""Operators that the layers of :mod:`equireann_pyg.nn` are made of: each a function in plain torch, with compiled kernels."""

from typing import Any

from equireann_pyg.moved import renamed
from equireann_pyg.ops.coupled import coupled, degree_dot
from equireann_pyg.ops.density import density
from equireann_pyg.ops.element_linear import degree_linear, element_linear
from equireann_pyg.ops.extension import load_kernels
from equireann_pyg.ops.gaussians import gaussians
from equireann_pyg.ops.operator import Operator, by_reference, operator, tracing
from equireann_pyg.ops.orbital_sum import edge_order, more_atoms, orbital_sum
from equireann_pyg.ops.polynomials import polynomials
from equireann_pyg.ops.products import product_invariants, self_coupled
from equireann_pyg.ops.rows import row_sum, rows_of
from equireann_pyg.ops.soft_standardize import soft_standardize

__all__ = [
    "Operator",
    "by_reference",
    "coupled",
    "degree_dot",
    "degree_linear",
    "density",
    "edge_order",
    "element_linear",
    "gaussians",
    "load_kernels",
    "more_atoms",
    "operator",
    "orbital_sum",
    "polynomials",
    "product_invariants",
    "row_sum",
    "rows_of",
    "self_coupled",
    "soft_standardize",
    "tracing",
]


def __getattr__(name: str) -> Any:
    return renamed(__name__, name)
