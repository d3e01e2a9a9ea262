"""A potential in torch-sim, which moves many structures at once.

torch-sim: https://github.com/TorchSim/torch-sim, package ``torch-sim-atomistic``.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from equireann_pyg.engines.batches import BatchEvaluator, Structures
from equireann_pyg.engines.needed import needed
from equireann_pyg.inference.compiled import CompiledPotential
from equireann_pyg.potential.potential import Potential

try:
    from torch_sim.models.interface import ModelInterface
except ImportError:  # said when a model is made
    ModelInterface = torch.nn.Module


class TorchSimModel(ModelInterface):
    """A potential as a model of torch-sim: energy, forces and stress of a batch of structures, in one evaluation.

    Units are torch-sim's ``metal`` ones, which are ours: eV, Angstrom, eV/Angstrom^3 (stress positive under tension).
    Structures are open or periodic, as the state says; neighbours are searched anew in every call, on the CPU. torch-sim
    keeps one periodicity for all structures of a state, and that of a slab counts as open, with a warning: make it periodic,
    with vacuum.
    Total charge and field, which properties may depend on, are zero.

    States are float64 (``model.dtype``), which is what torch-sim makes them by; a state of another type is computed in
    float64, and the results have its type.

    Args:
        potential: a potential, which is copied, a compiled one, or the file of one: of ``save_potential``, or a training
            checkpoint.
        device: where to compute.
        dtype: arithmetic of the model, ``torch.float64`` or ``"float64"``; by default that of the potential.
        compute_forces: whether the results have forces.
        compute_stress: whether the results have a stress; NaN for structures without volume.
        allow_untrained: compute structures with elements that the training set had no atom of, too.

    Raises:
        ImportError: if torch-sim is not installed.
        FileNotFoundError: if there is no such file.
        ValueError: for a bad file, an exported potential or a device that is not usable; when structures are computed, for
            elements the potential does not know, atoms that coincide, and numbers that are not finite.
    """

    def __init__(
        self,
        potential: Potential | CompiledPotential | str | Path,
        device: str | torch.device = "cpu",
        dtype: torch.dtype | str | None = None,
        *,
        compute_forces: bool = True,
        compute_stress: bool = True,
        allow_untrained: bool = False,
    ) -> None:
        needed("torch_sim")
        super().__init__()
        self._evaluate = BatchEvaluator(potential, device, dtype, allow_untrained)
        self.potential = self._evaluate.potential
        self._dtype = torch.float64
        self._compute_forces, self._compute_stress = compute_forces, compute_stress
        self._memory_scales_with = "n_atoms_x_density"

    @property
    def device(self) -> torch.device:
        """Where the potential is."""
        return self._evaluate.whole.scale.device

    @property
    def compute_forces(self) -> bool:
        """Whether the results have forces."""
        return self._compute_forces

    @compute_forces.setter
    def compute_forces(self, wanted: bool) -> None:
        self._compute_forces = wanted

    @property
    def compute_stress(self) -> bool:
        """Whether the results have a stress."""
        return self._compute_stress

    @compute_stress.setter
    def compute_stress(self, wanted: bool) -> None:
        self._compute_stress = wanted

    def forward(self, state: Any, **_: Any) -> dict[str, Tensor]:
        """Evaluate all structures of a state.

        Args:
            state: ``SimState`` of torch-sim, or a mapping with the same fields.

        Returns:
            ``energy [G]``, ``energies [N]`` of the atoms, ``forces [N, 3]``, ``stress [G, 3, 3]`` and what the properties of
            the potential give, on the device and in the type of the state.

        Raises:
            ValueError: see above.
        """
        positions = _field(state, "positions")
        device, kind = positions.device, positions.dtype
        batch = _field(state, "system_idx")
        structures = Structures(
            z=_field(state, "atomic_numbers"),
            pos=positions,
            cell=_field(state, "cell").mT.reshape(-1, 3, 3),  # lattice vectors are columns there
            pbc=torch.as_tensor(_field(state, "pbc"), dtype=torch.bool).expand(3),
            batch=positions.new_zeros(len(positions), dtype=torch.long) if batch is None else batch,
        )
        if not bool(structures.pbc.any()) and bool(structures.cell.det().ne(0).any()):
            warnings.warn(
                "torch-sim: structures with a cell are computed as open ones, as the state has pbc=False. It keeps one "
                "periodicity for all and takes that of a slab for none: make a slab periodic in all directions, with vacuum",
                stacklevel=2,
            )
        output = self._evaluate(structures, stress=self._compute_stress)
        output["energies"] = output.pop("atomic_energy")
        if not self._compute_forces:
            del output["forces"]
        return {name: value.to(device, kind) for name, value in output.items()}


def _field(state: Any, name: str) -> Any:
    return state.get(name) if isinstance(state, Mapping) else getattr(state, name)
