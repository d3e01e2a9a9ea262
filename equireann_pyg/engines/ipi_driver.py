"""A potential in i-PI, for path-integral and other dynamics: https://ipi-code.org.

This file is what the program ``i-pi-driver-py`` is given, and what ``<pes_path>`` of i-PI's ``ffdirect`` names.
``python -m equireann_pyg.engines.ipi_driver`` says where it is::

    i-pi-driver-py -u -a NAME -m custom -P "$(python -m equireann_pyg.engines.ipi_driver)" \
        -o template=start.extxyz,potential=best.ckpt

It is not called ``ipi``, since i-PI loads it under its name, which would take the place of i-PI's own.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.io import read

from equireann_pyg.engines.batches import BatchEvaluator, Structures
from equireann_pyg.engines.needed import needed
from equireann_pyg.graph.conditions import conditions_of, in_field

__DRIVER_NAME__ = "equireann"
__DRIVER_CLASS__ = "IPIDriver"

Result = tuple[float, np.ndarray, np.ndarray, str]
"""Energy, forces ``[N, 3]`` and virial ``[3, 3]`` in atomic units, and further results in JSON."""

KNOWN = {"energy", "atomic_energy", "forces", "stress"}


class IPIDriver:
    """What i-PI asks for energy, forces and virial: of one structure, or of all beads of a ring polymer at once.

    With ``<batch_size>`` in i-PI's ``ffsocket`` or ``ffdirect`` so many beads are evaluated together. Results of the
    properties of a potential (``dipole`` and the like, in our units) are i-PI's *extras*.

    Args:
        template: structure with the elements in i-PI's order and the periodic directions, in a file that ASE can read;
            positions and cell are i-PI's. Of its entries, total charge and field are used where properties need them.
        potential: file of a potential, see :class:`~equireann_pyg.engines.BatchEvaluator`.
        device: where to compute.
        dtype: ``float32`` or ``float64``, arithmetic of the model; by default that of the potential.
        allow_untrained: compute elements that the training set had no atom of, too.
        verbosity: what i-PI adds for its own drivers; without a meaning here.

    Raises:
        ImportError: if i-PI is not installed.
        FileNotFoundError: if there is no such file.
        ValueError: for a bad file, or a template in i-PI's own format; when structures are computed, for another number of
            atoms than in the template, elements the potential does not know, atoms that coincide, and numbers that are not
            finite.
    """

    def __init__(
        self,
        template: str | Path,
        potential: str | Path,
        device: str = "cpu",
        dtype: str | None = None,
        allow_untrained: bool = False,
        verbosity: object = None,
    ) -> None:
        units = needed("ipi.utils.units")
        self.bohr, self.hartree = (
            float(units.unit_to_user(kind, unit, 1.0))
            for kind, unit in (("length", "angstrom"), ("energy", "electronvolt"))
        )  # in Angstrom and eV, as i-PI has them
        if not Path(template).is_file():
            raise FileNotFoundError(f"template={template}: no such file: name a structure that ASE can read")
        refuse_own_format(Path(template))
        found: Any = read(template)
        self.template: Atoms = found
        directions = "".join(name for name, periodic in zip("abc", found.pbc, strict=True) if periodic)
        period = f"periodic along {directions}" if directions else "open"
        print(f"equireann: {found.get_chemical_formula()} of {template}, {period}", file=sys.stderr)
        self.evaluate = BatchEvaluator(potential, device, dtype, allow_untrained)
        self.conditions = {
            name: torch.from_numpy(value) for name, value in conditions_of(self.template).items()
        }  # -> [1, ...]
        if in_field(self.template) and not any(part.uses_field for part in self.evaluate.whole.properties):
            print("equireann: the potential does not depend on the field of the template", file=sys.stderr)

    def __call__(self, cell: Any, pos: Any) -> Result | list[Result]:
        """Evaluate one structure, or a list of them.

        Args:
            cell: lattice vectors in columns ``[3, 3]`` in Bohr, or a list of such.
            pos: positions ``[N, 3]`` in Bohr, or a list of such.

        Raises:
            ValueError: see above.
        """
        if isinstance(cell, list):
            return self._together(cell, pos)
        return self._together([cell], [pos])[0]

    def _together(self, cells: Sequence[np.ndarray], positions: Sequence[np.ndarray]) -> list[Result]:
        count, size = len(cells), len(self.template)
        if {np.size(pos) for pos in positions} != {3 * size}:
            got = sorted({np.size(pos) // 3 for pos in positions})
            raise ValueError(f"i-PI sends {got} atoms, the template has {size}: name a file with the atoms of i-PI's")
        cell = self.bohr * np.stack(cells).transpose(0, 2, 1)  # -> [G, 3, 3], vectors in rows
        structures = Structures(
            z=torch.from_numpy(self.template.numbers).repeat(count),
            pos=torch.from_numpy(self.bohr * np.reshape(positions, (-1, 3))),
            cell=torch.from_numpy(np.ascontiguousarray(cell)),
            pbc=torch.from_numpy(self.template.pbc),
            batch=torch.arange(count).repeat_interleave(size),
        )
        conditions = {name: value.expand(count, *value.shape[1:]) for name, value in self.conditions.items()}
        output = {name: value.cpu().numpy() for name, value in self.evaluate(structures, conditions=conditions).items()}
        stress = np.nan_to_num(output["stress"])  # nothing without a volume
        virial = -stress * np.abs(np.linalg.det(cell))[:, None, None] / self.hartree  # -> [G, 3, 3]
        forces = output["forces"].reshape(count, size, 3) * self.bohr / self.hartree
        energy = output["energy"] / self.hartree
        return [(float(energy[g]), forces[g], virial[g], self._extras(output, g, count)) for g in range(count)]

    def _extras(self, output: dict[str, np.ndarray], number: int, count: int) -> str:
        """Properties of one structure in JSON; nothing without any."""
        further = {
            name: value.reshape(count, -1)[number].tolist()
            for name, value in output.items()
            if name not in KNOWN and np.isfinite(value).all()
        }
        return json.dumps(further) if further else ""


def refuse_own_format(template: Path) -> None:
    """Refuse i-PI's own files, ``# CELL(abcABC): ...``, in which ASE sees no cell: a crystal would be computed as a molecule.

    Raises:
        ValueError: naming the file.
    """
    with template.open("rb") as file:
        beginning = file.read(2000)
    if re.search(rb"#.*CELL[\(\[{]", beginning):
        raise ValueError(
            f"template={template}: in i-PI's own format ASE finds no cell and no periodic directions: write the structure as "
            "extended XYZ, atoms.write('template.extxyz') with atoms.pbc set"
        )


if __name__ == "__main__":
    print(Path(__file__).resolve())
