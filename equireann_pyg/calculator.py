"""ASE calculator of any potential."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from torch_geometric.data import Data

from equireann_pyg.checkpoint import load_potential
from equireann_pyg.elements import describe
from equireann_pyg.graph import from_ase
from equireann_pyg.potential import Potential


class EquiREANNCalculator(Calculator):
    """Energy, forces and stress for molecular dynamics, relaxation and phonons in ASE.

    Units are ASE's: eV, eV/Angstrom, eV/Angstrom^3 (stress positive under tension, Voigt order). The neighbour list is
    built with a skin and kept until an atom has moved by half of it.

    Args:
        potential: a potential, or the file of one (``save_potential`` or a training checkpoint).
        device: where to compute.
        dtype: arithmetic of the model; by default that of the potential.
        skin: extra cutoff of the neighbour list in Angstrom.

    Raises:
        ValueError: if the structure has elements the potential does not know, or for a negative skin.
    """

    implemented_properties = ["energy", "free_energy", "energies", "forces", "stress"]  # noqa: RUF012

    def __init__(
        self,
        potential: Potential | str | Path,
        device: str | torch.device = "cpu",
        dtype: torch.dtype | None = None,
        skin: float = 0.5,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if skin < 0:
            raise ValueError(f"skin: expected 0 or more Angstrom, got {skin}")
        potential = potential if isinstance(potential, Potential) else load_potential(potential)
        potential.model.to(dtype=dtype)
        self.potential = potential.to(device).eval()
        self.device = torch.device(device)
        self.skin = skin
        self._graph: Data | None = None

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """Evaluate the potential (called by ASE)."""
        super().calculate(atoms, properties, system_changes)
        graph = self._updated_graph(self.atoms)  # type: ignore[arg-type]
        output = {key: value.cpu().numpy() for key, value in self.potential(graph).items()}
        self.results = {
            "energy": float(output["energy"][0]),
            "free_energy": float(output["energy"][0]),
            "energies": output["atomic_energy"],
            "forces": output["forces"],
        }
        if "stress" in output:
            self.results["stress"] = output["stress"][0].ravel()[[0, 4, 8, 5, 2, 1]]

    def _updated_graph(self, atoms: Atoms) -> Data:
        if self._graph is None or self._outdated(atoms, self._graph):
            unknown = set(atoms.numbers.tolist()) - set(self.potential.elements)
            if unknown:
                known = describe(self.potential.elements)
                raise ValueError(f"unknown element {describe(unknown)}: this potential was made for {known}")
            bare = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
            self._graph = from_ase(bare, self.potential.cutoff + self.skin).to(self.device)
            return self._graph
        graph = self._graph.clone()
        graph.pos = torch.tensor(atoms.positions, device=self.device)
        return graph

    def _outdated(self, atoms: Atoms, graph: Data) -> bool:
        if (
            len(atoms) != graph.z.numel()
            or not np.array_equal(atoms.numbers, graph.z.cpu().numpy())
            or not np.array_equal(atoms.pbc, graph.pbc[0].cpu().numpy())
            or not np.array_equal(np.asarray(atoms.cell), graph.cell[0].cpu().numpy())
        ):
            return True
        moved = np.linalg.norm(atoms.positions - graph.pos.cpu().numpy(), axis=1)
        return bool(len(moved)) and float(moved.max()) > 0.5 * self.skin
