"""One structure on several processes of ``torch.distributed``, each with the atoms of a part of space."""

from __future__ import annotations

from typing import TYPE_CHECKING

from equireann_pyg.lazy import lazy_names

if TYPE_CHECKING:
    from equireann_pyg.engines.domains.calculator import DomainCalculator, calculator_of_domains
    from equireann_pyg.engines.domains.potential import DomainPotential
    from equireann_pyg.engines.domains.processes import LostProcess

__all__ = ["DomainCalculator", "DomainPotential", "LostProcess", "calculator_of_domains"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "calculator": ("DomainCalculator", "calculator_of_domains"),
        "potential": ("DomainPotential",),
        "processes": ("LostProcess",),
    },
)
