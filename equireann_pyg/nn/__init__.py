"""Layers: tensors in, tensors out. They plug into any PyTorch Geometric network."""

from equireann_pyg.nn.angular import (
    Angular,
    CartesianMoments,
    SphericalHarmonics,
    cartesian_moments,
    solid_harmonics,
)
from equireann_pyg.nn.conv import OrbitalConv
from equireann_pyg.nn.cutoff import (
    CosineCutoff,
    Envelope,
    PolynomialCutoff,
    cosine_cutoff,
    polynomial_cutoff,
)
from equireann_pyg.nn.descriptor import OrbitalDensity
from equireann_pyg.nn.mlp import ElementLinear, ElementMLP
from equireann_pyg.nn.radial import ElementGaussians, GaussianRadial, PairGaussians
from equireann_pyg.nn.scaling import ElementStandardize, SoftStandardize

__all__ = [
    "Angular",
    "CartesianMoments",
    "CosineCutoff",
    "ElementGaussians",
    "ElementLinear",
    "ElementMLP",
    "ElementStandardize",
    "Envelope",
    "GaussianRadial",
    "OrbitalConv",
    "OrbitalDensity",
    "PairGaussians",
    "PolynomialCutoff",
    "SoftStandardize",
    "SphericalHarmonics",
    "cartesian_moments",
    "cosine_cutoff",
    "polynomial_cutoff",
    "solid_harmonics",
]
