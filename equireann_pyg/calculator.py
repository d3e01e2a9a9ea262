"""ASE calculator of any potential."""

from __future__ import annotations

from copy import copy, deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from torch_geometric.data import Data

from equireann_pyg.blocks import BlockPotential
from equireann_pyg.checkpoint import load_potential
from equireann_pyg.elements import check_known
from equireann_pyg.export import ExportedPotential, load_exported
from equireann_pyg.graph import CONDITIONS, LabelKeys, ase_results, edge_vectors, from_ase
from equireann_pyg.potential import Potential

KEYS = {name: getattr(LabelKeys(), name) for name in CONDITIONS}
"""Where ``atoms.info`` keeps total charge and field."""


class EquiREANNCalculator(Calculator):
    """Energy, forces and stress for molecular dynamics, relaxation and phonons in ASE.

    Units are ASE's: eV, eV/Angstrom, eV/Angstrom^3 (stress positive under tension, Voigt order); there is a stress where
    the cell has a volume. Candidate pairs are found with a skin and kept until an atom has moved by half of it; the model
    gets those that are within its cutoff, so the skin never changes a result.

    A potential with properties gives ``dipole``, ``charges`` and ``polarizability`` too, where they are defined; the total
    charge in e and the field in V/Angstrom are then taken from ``atoms.info["charge"]`` and ``atoms.info["external_field"]``.

    Args:
        potential: a potential, which is copied, or the file of one: of ``save_potential``, a training checkpoint, or a
            ``*.pt2`` file written by ``equireann export``, which keeps the device and dtype it was exported for.
        device: where to compute.
        dtype: arithmetic of the model; by default that of the potential.
        skin: extra cutoff of the neighbour list in Angstrom.
        block_size: atoms at a time (see :class:`~equireann_pyg.blocks.BlockPotential`); all at once by default.
        kwargs: arguments of ASE's ``Calculator``.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: for a bad file, a negative skin or, when a structure is computed, for elements the potential does not
            know and for whatever :func:`~equireann_pyg.from_ase` refuses.
    """

    implemented_properties = ["energy", "free_energy", "energies", "forces", "stress"]  # noqa: RUF012
    ignored_changes = {"initial_charges", "initial_magmoms"}  # noqa: RUF012

    def __init__(
        self,
        potential: Potential | str | Path,
        device: str | torch.device = "cpu",
        dtype: torch.dtype | None = None,
        skin: float = 0.5,
        block_size: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not 0 <= skin < float("inf"):
            raise ValueError(f"skin: expected 0 or more Angstrom, got {skin}")
        self.device = torch.device(device)
        self.potential = _ready(potential, self.device, dtype, block_size)
        whole: Any = getattr(self.potential, "potential", self.potential)  # of one in blocks
        self.has_properties = bool(getattr(whole, "properties", ()))
        if self.has_properties:
            self.implemented_properties = list(dict.fromkeys([*self.implemented_properties, *whole.scales()]))
        self.skin = skin
        self._built: tuple[Atoms, Data] | None = None  # structure and graph of the last neighbour search

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """Evaluate the potential (called by ASE)."""
        super().calculate(atoms, properties, system_changes)
        graph = self._graph(self.atoms)  # type: ignore[arg-type]
        output = self.potential(graph)
        results, other = ase_results({key: value for key, value in output.items() if not bool(value.isnan().all())})
        self.results = results | other
        self.results |= {"free_energy": results["energy"], "energies": output["atomic_energy"].cpu().numpy()}

    def _graph(self, atoms: Atoms) -> Data:
        """Graph of the structure, from the kept pairs where they are still complete."""
        if self._built is None or self._outdated(atoms, self._built[0]):
            check_known(atoms.numbers, self.potential.elements)
            bare = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
            self._built = bare, from_ase(bare, self.potential.cutoff + self.skin).to(self.device)
        graph = copy(self._built[1])
        graph.pos = torch.tensor(atoms.positions, device=self.device)
        inside = edge_vectors(graph).norm(dim=-1) < self.potential.cutoff  # other models need not vanish beyond it
        graph.edge_index, graph.edge_shift = graph.edge_index[:, inside], graph.edge_shift[inside]
        if self.has_properties:
            for name, kind in CONDITIONS.items():
                value = torch.as_tensor(atoms.info.get(KEYS[name], 0.0), dtype=torch.float64, device=self.device)
                graph[name] = value.expand(1, *kind.shape)
        return graph

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """What has changed since the last calculation, total charge and field included (called by ASE)."""
        changes: list[str] = super().check_state(atoms, tol)
        if self.has_properties and self.atoms is not None:
            before, now = self.atoms.info, atoms.info
            changes += [
                name for name, key in KEYS.items() if np.any(np.not_equal(before.get(key, 0.0), now.get(key, 0.0)))
            ]
        return changes

    def _outdated(self, atoms: Atoms, built: Atoms) -> bool:
        pairs = ((getattr(atoms, name), getattr(built, name)) for name in ("numbers", "pbc"))
        if not all(np.array_equal(new, old) for new, old in pairs) or (atoms.cell.array != built.cell.array).any():
            return True
        moved = np.linalg.norm(atoms.positions - built.positions, axis=1)
        return not bool((moved <= 0.5 * self.skin).all())  # also where a position is not a number


def _ready(
    potential: Potential | str | Path, device: torch.device, dtype: torch.dtype | None, block_size: int | None
) -> Potential | BlockPotential | ExportedPotential:
    """The potential, on its device and for inference only."""
    if not isinstance(potential, Potential) and Path(potential).suffix == ".pt2":
        exported = load_exported(potential)
        if exported.device.type != device.type or dtype not in (None, exported.dtype) or block_size is not None:
            raise ValueError(
                f"{potential} was exported for {exported.device}, {exported.dtype}, all atoms at once: for anything else use "
                "the checkpoint, or export it anew"
            )
        return exported
    potential = deepcopy(potential) if isinstance(potential, Potential) else load_potential(potential)
    potential.model.to(dtype=dtype)
    potential = potential.to(device).eval().requires_grad_(False)
    return potential if block_size is None else BlockPotential(potential, block_size)
