"""Layers: tensors in, tensors out. They plug into any PyTorch Geometric network."""

from equireann_pyg.nn.angular import (
    Angular,
    CartesianMoments,
    SphericalHarmonics,
    cartesian_moments,
    solid_harmonics,
)
from equireann_pyg.nn.conv import Edges, OrbitalConv
from equireann_pyg.nn.coupling import Coupling, OuterCoupling, ScaledSelfCoupling, SelfCoupling, clebsch_gordan
from equireann_pyg.nn.cutoff import (
    CosineCutoff,
    DecayingCutoff,
    Envelope,
    PolynomialCutoff,
    cosine_cutoff,
    polynomial_cutoff,
)
from equireann_pyg.nn.descriptor import Density, Descriptor, OrbitalDensity, Shared
from equireann_pyg.nn.directed import Directed
from equireann_pyg.nn.e3nn_layout import e3nn_irreps, from_e3nn, to_e3nn
from equireann_pyg.nn.energy import AllReadout, EnergyReadout, LastReadout
from equireann_pyg.nn.isolation import isolation
from equireann_pyg.nn.layout import Layout
from equireann_pyg.nn.linear import DegreeDot, DegreeLinear
from equireann_pyg.nn.message import Coupled, Equivariant, Filtered, Invariant, Local, MessageRule
from equireann_pyg.nn.mlp import ElementLinear, ElementMLP
from equireann_pyg.nn.moments import MomentContractions
from equireann_pyg.nn.plan import Plan
from equireann_pyg.nn.products import ACEProducts, PowerSpectrum
from equireann_pyg.nn.radial import ElementGaussians, ElementRadial, GaussianRadial, PairGaussians, PairRadial, Radial
from equireann_pyg.nn.readout import ScalarReadout, TensorReadout, VectorReadout
from equireann_pyg.nn.repulsion import ZBL
from equireann_pyg.nn.scaling import (
    ElementStandardize,
    HalfStandardize,
    OrbitalNorm,
    ScaledLinear,
    SoftLimit,
    SoftStandardize,
)
from equireann_pyg.nn.separate import Separate

__all__ = [
    "ZBL",
    "ACEProducts",
    "AllReadout",
    "Angular",
    "CartesianMoments",
    "CosineCutoff",
    "Coupled",
    "Coupling",
    "DecayingCutoff",
    "DegreeDot",
    "DegreeLinear",
    "Density",
    "Descriptor",
    "Directed",
    "Edges",
    "ElementGaussians",
    "ElementLinear",
    "ElementMLP",
    "ElementRadial",
    "ElementStandardize",
    "EnergyReadout",
    "Envelope",
    "Equivariant",
    "Filtered",
    "GaussianRadial",
    "HalfStandardize",
    "Invariant",
    "LastReadout",
    "Layout",
    "Local",
    "MessageRule",
    "MomentContractions",
    "OrbitalConv",
    "OrbitalDensity",
    "OrbitalNorm",
    "OuterCoupling",
    "PairGaussians",
    "PairRadial",
    "Plan",
    "PolynomialCutoff",
    "PowerSpectrum",
    "Radial",
    "ScalarReadout",
    "ScaledLinear",
    "ScaledSelfCoupling",
    "SelfCoupling",
    "Separate",
    "Shared",
    "SoftLimit",
    "SoftStandardize",
    "SphericalHarmonics",
    "TensorReadout",
    "VectorReadout",
    "cartesian_moments",
    "clebsch_gordan",
    "cosine_cutoff",
    "e3nn_irreps",
    "from_e3nn",
    "isolation",
    "polynomial_cutoff",
    "solid_harmonics",
    "to_e3nn",
]
