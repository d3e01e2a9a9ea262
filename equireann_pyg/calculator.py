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
from equireann_pyg.elements import describe
from equireann_pyg.export import ExportedPotential, load_exported
from equireann_pyg.graph import edge_vectors, from_ase
from equireann_pyg.potential import Potential


class EquiREANNCalculator(Calculator):
    """Energy, forces and stress for molecular dynamics, relaxation and phonons in ASE.

    Units are ASE's: eV, eV/Angstrom, eV/Angstrom^3 (stress positive under tension, Voigt order); there is a stress where
    the cell has a volume. Candidate pairs are found with a skin and kept until an atom has moved by half of it; the model
    gets those that are within its cutoff, so the skin never changes a result.

    Args:
        potential: a potential, which is copied, or the file of one (``save_potential`` or a training checkpoint).
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
        output = {key: value.cpu().numpy() for key, value in self.potential(graph).items()}
        self.results = {
            "energy": float(output["energy"][0]),
            "free_energy": float(output["energy"][0]),
            "energies": output["atomic_energy"],
            "forces": output["forces"],
        }
        if "stress" in output:
            self.results["stress"] = output["stress"][0].ravel()[[0, 4, 8, 5, 2, 1]]  # xx yy zz yz xz xy

    def _graph(self, atoms: Atoms) -> Data:
        """Graph of the structure, from the kept pairs where they are still complete."""
        if self._built is None or self._outdated(atoms, self._built[0]):
            self._check_elements(atoms)
            bare = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
            self._built = bare, from_ase(bare, self.potential.cutoff + self.skin).to(self.device)
        graph = copy(self._built[1])
        graph.pos = torch.tensor(atoms.positions, device=self.device)
        inside = edge_vectors(graph).norm(dim=-1) < self.potential.cutoff  # other models need not vanish beyond it
        graph.edge_index, graph.edge_shift = graph.edge_index[:, inside], graph.edge_shift[inside]
        return graph

    def _check_elements(self, atoms: Atoms) -> None:
        unknown = set(atoms.numbers.tolist()) - set(self.potential.elements)
        if unknown:
            known = describe(self.potential.elements)
            raise ValueError(
                f"unknown element {describe(unknown)}: this potential was made for {known}; "
                "train one that knows every element of the structure"
            )

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
