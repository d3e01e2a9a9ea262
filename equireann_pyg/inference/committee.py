"""Several potentials as one ASE calculator, which also says how far they are apart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from equireann_pyg.inference.calculator import EquiREANNCalculator
from equireann_pyg.potential.potential import Potential

AVERAGED = ("energy", "free_energy", "energies", "forces", "stress")
PROPERTIES = ("dipole", "charges", "polarizability")


class CommitteeCalculator(Calculator):
    """Mean of several potentials, trained from different seeds say, and the spread of their results.

    Beside the means of energy, energies, forces and stress, ``results`` holds ``energy_std`` (eV), ``energies_std``
    ``[N]``, ``forces_std`` ``[N, 3]`` (eV/Angstrom) and ``stress_std`` ``[6]``: standard deviations of the members, with one
    degree of freedom taken off; likewise dipole, charges and polarizability, where all members have them. A large spread says
    that a structure is far from the training set; a small one says nothing.

    Args:
        potentials: two or more potentials or files of them, see :class:`EquiREANNCalculator`.
        **options: those of :class:`EquiREANNCalculator`, for all of them.

    Raises:
        ValueError: for fewer than two potentials, or such that know different elements; also as :class:`EquiREANNCalculator`.
    """

    implemented_properties = [*AVERAGED, *(f"{name}_std" for name in AVERAGED if name != "free_energy")]  # noqa: RUF012
    ignored_changes = EquiREANNCalculator.ignored_changes

    def __init__(self, potentials: Sequence[Potential | str | Path], **options: Any) -> None:
        super().__init__()
        if isinstance(potentials, (str, Path)) or len(potentials) < 2:
            raise ValueError(f"potentials: expected a list of two or more, got {potentials}")
        self.members = [EquiREANNCalculator(potential, **options) for potential in potentials]
        shared = [name for name in PROPERTIES if all(name in member.implemented_properties for member in self.members)]
        self.implemented_properties = [*self.implemented_properties, *shared, *(f"{name}_std" for name in shared)]
        known = {tuple(sorted(member.potential.elements)) for member in self.members}
        if len(known) > 1:
            raise ValueError(f"potentials: expected the same elements in all of them, got {sorted(known)}")

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """Evaluate all members (called by ASE)."""
        self.results = {}
        super().calculate(atoms, properties, system_changes)
        for member in self.members:
            member.calculate(self.atoms, [], system_changes)
        for name in (*AVERAGED, *PROPERTIES):
            if all(name in member.results for member in self.members):
                values = np.stack([member.results[name] for member in self.members])
                self.results[name] = _plain(values.mean(axis=0))
                if name != "free_energy":
                    self.results[f"{name}_std"] = _plain(values.std(axis=0, ddof=1))

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """What has changed since the last calculation, for any of the members (called by ASE)."""
        changes = [super().check_state(atoms, tol), *(member.check_state(atoms, tol) for member in self.members)]
        return list(dict.fromkeys(change for of_one in changes for change in of_one))

    def todict(self, skip_default: bool = True) -> dict[str, Any]:
        """Arguments that make this calculator anew, as plain values; ``potentials`` are files, or None."""
        settings = [member.todict() for member in self.members]
        shared = {name: value for name, value in settings[0].items() if name != "potential"}
        return {"potentials": [each["potential"] for each in settings], **shared}


def _plain(value: Any) -> Any:
    """A number of Python where it is one."""
    return float(value) if np.ndim(value) == 0 else value
