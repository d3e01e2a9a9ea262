"""ASE calculator that evaluates one structure on several processes."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from ase import Atoms
from ase.calculators.calculator import all_changes
from torch_geometric.data import Data

from equireann_pyg.engines.domains.potential import DomainPotential
from equireann_pyg.engines.domains.processes import Group
from equireann_pyg.inference.calculator import EquiREANNCalculator
from equireann_pyg.potential.potential import Potential

BACKENDS = {"cpu": "gloo", "cuda": "cpu:gloo,cuda:nccl"}
"""What carries tensors between processes that compute on a kind of device."""


class DomainCalculator(EquiREANNCalculator):
    """The calculator of a structure on several processes, by a :class:`~equireann_pyg.engines.DomainPotential`.

    All processes run the same script, and each gets all results; or the first one alone runs it::

        calculator = calculator_of_domains("runs/mine/best.ckpt")
        if calculator.rank > 0:
            calculator.serve()  # computes until the first process closes
        else:
            ...  # any script of ASE
            calculator.close()

    Args:
        potential: a potential, which is copied, or the file of one; no exported one. The same in all processes.
        device: where this process computes.
        dtype: arithmetic of the model; by default that of the potential.
        skin: extra cutoff of the neighbour list in Angstrom.
        block_size: atoms at a time (see :class:`~equireann_pyg.BlockPotential`); all at once by default.
        allow_untrained: compute structures with elements that the training set had no atom of, too.
        group: group of ``torch.distributed``; by default all processes, or this one where there are no others.
        timeout: seconds after which a process that does not answer is given up.
        kwargs: arguments of ASE's ``Calculator``.

    Attributes:
        potential: the :class:`~equireann_pyg.engines.DomainPotential`.

    Raises:
        FileNotFoundError: if there is no such file.
        TypeError: for the potential of a model that cannot be divided, or an exported one.
        ValueError: as of :class:`~equireann_pyg.EquiREANNCalculator`; also for a potential with properties, or different
            potentials or structures. All processes raise what one of them has found in a structure, and can go on.
        LostProcess: if another process has ended, or does not answer.
    """

    def __init__(
        self,
        potential: Potential | str | Path,
        device: str | torch.device = "cpu",
        dtype: torch.dtype | str | None = None,
        skin: float = 0.5,
        block_size: int | None = None,
        allow_untrained: bool = False,
        group: Group = None,
        timeout: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(potential, device, dtype, skin, allow_untrained=allow_untrained, **kwargs)
        self.potential: Any = DomainPotential(self.potential, group, skin, block_size, timeout)
        self.implemented_properties = list(type(self).implemented_properties)
        del self._settings["graphed"]
        self._settings["block_size"] = block_size

    @property
    def rank(self) -> int:
        """Number of this process, from zero."""
        return self.potential.processes.rank

    def serve(self) -> None:
        """Compute what the first process asks for, until it closes."""
        self.potential.serve()

    def close(self) -> None:
        """End the processes that serve this first one."""
        self.potential.close()

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """Evaluate the potential (called by ASE), in all processes at the same time."""
        try:
            super().calculate(atoms, properties, system_changes)
        finally:
            listed = self.potential.listed
            self._built = None
            if listed is not None:
                z, pos, cell, pbc, _ = listed.structure
                self._built = Atoms(z.numpy(), pos.numpy(), cell=cell.numpy(), pbc=pbc.numpy()), Data()

    def _graph(self, atoms: Atoms) -> tuple[Data, torch.Tensor]:
        """The structure, without a distance: every process makes edges of its own."""
        structure = Data(
            z=torch.tensor(atoms.numbers, dtype=torch.int64),
            pos=torch.tensor(atoms.positions),
            cell=torch.tensor(atoms.cell.array).unsqueeze(0),
            pbc=torch.tensor(atoms.pbc).unsqueeze(0),
        )
        return structure, torch.tensor(torch.inf)


def calculator_of_domains(
    potential: Potential | str | Path,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | str | None = None,
    skin: float = 0.5,
    block_size: int | None = None,
    allow_untrained: bool = False,
    timeout: float = 600.0,
    **kwargs: Any,
) -> DomainCalculator:
    """Calculator on all processes that ``torchrun`` has started; on one where it has started none.

    Connects the processes where that was not done before. With ``device="cuda"`` process k of a machine takes its k-th GPU.

    Args:
        potential: see :class:`DomainCalculator`, as for the other arguments and errors.
        device: ``"cpu"``, ``"cuda"`` or a certain one.
        dtype: arithmetic of the model.
        skin: extra cutoff of the neighbour list in Angstrom.
        block_size: atoms at a time.
        allow_untrained: compute elements that the training set had no atom of, too.
        timeout: seconds after which a process that does not answer is given up.
        kwargs: arguments of ASE's ``Calculator``.
    """
    import torch.distributed as dist

    device = torch.device(device)
    if device.type == "cuda":
        local = int(os.environ.get("LOCAL_RANK", "0")) if device.index is None else device.index
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        dist.init_process_group(BACKENDS.get(device.type, "gloo"), timeout=timedelta(seconds=timeout))
    return DomainCalculator(potential, device, dtype, skin, block_size, allow_untrained, timeout=timeout, **kwargs)
