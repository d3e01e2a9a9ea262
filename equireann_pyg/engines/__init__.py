"""Potentials in other programs: simulation engines, and one system on several processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from equireann_pyg.lazy import lazy_names

if TYPE_CHECKING:
    from equireann_pyg.engines.batches import BatchEvaluator, Structures
    from equireann_pyg.engines.domains import DomainCalculator, DomainPotential, LostProcess, calculator_of_domains
    from equireann_pyg.engines.ipi_driver import IPIDriver
    from equireann_pyg.engines.openmm import OpenMMComputation, openmm_force
    from equireann_pyg.engines.torch_sim import TorchSimModel

__all__ = [
    "BatchEvaluator",
    "DomainCalculator",
    "DomainPotential",
    "IPIDriver",
    "LostProcess",
    "OpenMMComputation",
    "Structures",
    "TorchSimModel",
    "calculator_of_domains",
    "openmm_force",
]

# Imported at first use: every engine is a package of its own, which need not be there.
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "batches": ("BatchEvaluator", "Structures"),
        "domains": ("DomainCalculator", "DomainPotential", "LostProcess", "calculator_of_domains"),
        "ipi_driver": ("IPIDriver",),
        "openmm": ("OpenMMComputation", "openmm_force"),
        "torch_sim": ("TorchSimModel",),
    },
)
