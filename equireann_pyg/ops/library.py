"""Names, shapes and derivatives of the operators; their arithmetic is in the C++ files of this folder."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

FIELDS = "Tensor coefficient, Tensor? orbital, Tensor edge_index, Tensor order, Tensor radial, Tensor angular, Tensor filter"
TANGENTS = "Tensor h_coefficient, Tensor? h_orbital, Tensor h_radial, Tensor h_angular, Tensor h_filter"
FIVE = "(Tensor, Tensor, Tensor, Tensor, Tensor)"
SIX = "(Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)"

LIBRARY = torch.library.Library("equireann", "DEF")
for _schema in (
    "edge_order(Tensor edge_index, SymInt num_nodes) -> Tensor",
    f"orbital_sum({FIELDS}) -> Tensor",
    f"orbital_sum_backward(Tensor grad, {FIELDS}) -> {FIVE}",
    f"orbital_sum_double_backward({TANGENTS}, Tensor grad, {FIELDS}) -> {SIX}",
    "gaussians(Tensor r, Tensor envelope, Tensor row, Tensor centre, Tensor exponent) -> Tensor",
    "gaussians_backward(Tensor grad, Tensor r, Tensor envelope, Tensor row, Tensor centre, Tensor exponent, bool tables) "
    "-> (Tensor, Tensor, Tensor, Tensor)",
    "gaussians_double_backward(Tensor h_r, Tensor h_envelope, Tensor h_centre, Tensor h_exponent, Tensor grad, Tensor r, "
    f"Tensor envelope, Tensor row, Tensor centre, Tensor exponent) -> {FIVE}",
    "monomials(Tensor vec, int max_degree) -> Tensor",
    "monomials_backward(Tensor grad, Tensor vec, int max_degree) -> Tensor",
    "monomials_double_backward(Tensor tangent, Tensor grad, Tensor vec, int max_degree) -> (Tensor, Tensor)",
    "element_linear(Tensor x, Tensor species, Tensor weight) -> Tensor",
    "element_outer(Tensor x, Tensor y, Tensor species, SymInt num_species) -> Tensor",
):
    LIBRARY.define(_schema)

ops = torch.ops.equireann
