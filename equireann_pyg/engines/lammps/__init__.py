"""``pair_style equireann`` for LAMMPS: export of potentials, and the plug-in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from equireann_pyg.lazy import lazy_names

if TYPE_CHECKING:
    from equireann_pyg.engines.lammps.build import build_plugin, environment, plugin_folder, program
    from equireann_pyg.engines.lammps.export import export_lammps

__all__ = ["build_plugin", "environment", "export_lammps", "plugin_folder", "program"]

# Imported at first use: LAMMPS asks for the folder of the plug-in whenever it starts, and torch takes seconds.
__getattr__, __dir__ = lazy_names(
    __name__,
    {"build": ("build_plugin", "environment", "plugin_folder", "program"), "export": ("export_lammps",)},
)
