"""Trained potentials at work: in ASE, in blocks of atoms, compiled, exported as machine code, and as CUDA graphs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from equireann_pyg.lazy import lazy_names

if TYPE_CHECKING:
    from equireann_pyg.inference.blocks import BlockPotential
    from equireann_pyg.inference.calculator import EquiREANNCalculator
    from equireann_pyg.inference.committee import CommitteeCalculator
    from equireann_pyg.inference.compiled import CompiledPotential, compile_potential
    from equireann_pyg.inference.exported import ExportedPotential, export_potential, load_exported
    from equireann_pyg.inference.graphed import GraphedPotential

__all__ = [
    "BlockPotential",
    "CommitteeCalculator",
    "CompiledPotential",
    "EquiREANNCalculator",
    "ExportedPotential",
    "GraphedPotential",
    "compile_potential",
    "export_potential",
    "load_exported",
]

# Imported at first use, so that a module of this package brings no more than it needs.
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "blocks": ("BlockPotential",),
        "calculator": ("EquiREANNCalculator",),
        "committee": ("CommitteeCalculator",),
        "compiled": ("CompiledPotential", "compile_potential"),
        "exported": ("ExportedPotential", "export_potential", "load_exported"),
        "graphed": ("GraphedPotential",),
    },
)
