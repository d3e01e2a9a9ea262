"""Potentials that only a calculator of their package computes: they are checked and timed, not trained."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator
from torch import Tensor
from torch_geometric.data import Data

from equireann_pyg.elements import SYMBOLS, atomic_numbers


class Calculated(torch.nn.Module, ABC):
    """Energies and forces of graphs by an ASE calculator, which finds the neighbours itself.

    A subclass makes its calculator in ``calculator()``, and may prepare the structures in ``frame``.

    Args:
        elements: chemical symbols or atomic numbers.
        cutoff: in Angstrom.
        sizes: further arguments of the subclass, for its ``config``.
    """

    reference_energies: Tensor

    def __init__(self, elements: Sequence[str | int], cutoff: float, **sizes: Any) -> None:
        super().__init__()
        self.elements = sorted(atomic_numbers(elements))
        self.symbols = [SYMBOLS[number] for number in self.elements]
        self.cutoff = cutoff
        self.config = {"elements": self.symbols, "cutoff": cutoff, **sizes}
        self.register_buffer("reference_energies", torch.zeros(len(SYMBOLS)), persistent=False)  # of checks, eV
        self._calculator: Calculator | None = None
        self._data: Data | None = None
        self._frames: list[Atoms] = []

    @abstractmethod
    def calculator(self) -> Calculator:
        """A calculator with the weights of this module."""

    def frame(self, atoms: Atoms) -> Atoms:
        """A structure as the calculator wants to have it."""
        return atoms

    def forward(self, data: Data, forces: bool = True, stress: bool | None = None) -> dict[str, Tensor]:
        """Energy, atomic energies and forces of a graph or batch, one graph after another; edges are not looked at.

        Args:
            data: graph or batch on the CPU.
            forces: has no effect, since they always come along.
            stress: likewise: there is none.

        Returns:
            ``energy [G]`` in eV, ``atomic_energy [N]`` in eV and ``forces [N, 3]`` in eV/Angstrom, all float64.

        Raises:
            NotImplementedError: in training mode, or on another device.
        """
        if self.training or data.pos.device.type != "cpu":
            raise NotImplementedError(
                f"{type(self).__name__}: has no gradients of its weights, and runs on the CPU only"
            )
        if self._calculator is None:
            self._calculator = self.calculator()
        if self._data is not data:
            self._data, self._frames = data, self._frames_of(data)
        results = []
        for atoms in self._frames:
            self._calculator.calculate(atoms, ["energy", "forces"])  # in any case: what was kept is not asked for
            results.append(self._calculator.results)
        return {
            "energy": torch.tensor([float(result["energy"]) for result in results], dtype=torch.float64),
            "atomic_energy": torch.from_numpy(np.concatenate([result["energies"] for result in results])),
            "forces": torch.from_numpy(np.concatenate([result["forces"] for result in results])),
        }

    @property
    def dtype(self) -> torch.dtype:
        """Type in which calculators compute."""
        return torch.float64

    def __getstate__(self) -> dict[str, Any]:
        """All but what holds code of the package, so that a module can be copied."""
        return {**self.__dict__, "_calculator": None, "_data": None, "_frames": []}

    def _frames_of(self, data: Data) -> list[Atoms]:
        graphs = data.to_data_list() if hasattr(data, "to_data_list") else [data]
        return [
            self.frame(Atoms(g.z.numpy(), g.pos.numpy(), cell=g.cell[0].numpy(), pbc=g.pbc[0].numpy())) for g in graphs
        ]
