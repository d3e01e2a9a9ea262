"""The potential: energy, forces and stress of a model, what it remembers of its training, and its files."""

from equireann_pyg.potential.checkpoint import (
    build,
    load_plain,
    load_potential,
    potential_from_state,
    potential_state,
    recipe,
    save_potential,
)
from equireann_pyg.potential.derivatives import has_volume, position_gradient, stress_tensor, variables, volume
from equireann_pyg.potential.devices import usable_device
from equireann_pyg.potential.local_stress import atomic_stress
from equireann_pyg.potential.model import AtomicEnergyModel, fit_statistics
from equireann_pyg.potential.potential import TINY, Potential
from equireann_pyg.potential.record import TrainingRecord

__all__ = [
    "TINY",
    "AtomicEnergyModel",
    "Potential",
    "TrainingRecord",
    "atomic_stress",
    "build",
    "fit_statistics",
    "has_volume",
    "load_plain",
    "load_potential",
    "position_gradient",
    "potential_from_state",
    "potential_state",
    "recipe",
    "save_potential",
    "stress_tensor",
    "usable_device",
    "variables",
    "volume",
]
