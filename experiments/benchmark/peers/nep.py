"""NEP, the neuroevolution potential of GPUMD, by calorine's code for the CPU, https://gitlab.com/materials-modeling/calorine."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from ase import Atoms
from ase.calculators.calculator import Calculator
from torch import nn

from experiments.benchmark.peers.calculated import Calculated
from experiments.benchmark.peers.environments import Environment
from experiments.benchmark.peers.peer import Peer, published

BOX = 100.0
"""Edge in Angstrom of the cell that an open system is put into, as calorine does."""


class NEP(Calculated):
    """NEP4 with random weights: a network with one hidden layer for each element.

    Args:
        elements: chemical symbols or atomic numbers.
        cutoff: in Angstrom, of radial and angular descriptors.
        n_max: descriptors of each kind, less one.
        basis_size: radial functions of each descriptor, less one.
        l_max: largest degree of the three-body descriptors; there are four-body ones of degree 2 besides.
        neurons: of the hidden layers.
    """

    def __init__(
        self,
        elements: list[str],
        cutoff: float = 5.0,
        n_max: int = 4,
        basis_size: int = 8,
        l_max: int = 4,
        neurons: int = 30,
    ) -> None:
        super().__init__(elements, cutoff, n_max=n_max, basis_size=basis_size, l_max=l_max, neurons=neurons)
        kinds = len(self.elements)
        self.header = (
            f"nep4 {kinds} {' '.join(self.symbols)}\ncutoff {cutoff:g} {cutoff:g} 200 200\nn_max {n_max} {n_max}\n"
            f"basis_size {basis_size} {basis_size}\nl_max {l_max} 2 0\nANN {neurons} 0\n"
        )
        self.descriptors = (n_max + 1) * (1 + l_max + 1)
        network = (self.descriptors + 2) * neurons * kinds + 1
        expansion = 2 * kinds**2 * (n_max + 1) * (basis_size + 1)
        self.weights = nn.Parameter(0.2 * torch.randn(network + expansion), requires_grad=False)

    def calculator(self) -> Calculator:
        """calorine's, from a file ``nep.txt``."""
        from calorine.calculators import CPUNEP

        self._folder = TemporaryDirectory()
        path = Path(self._folder.name) / "nep.txt"
        values = [*self.weights.tolist(), *[1.0] * self.descriptors]  # the descriptors are not scaled
        path.write_text(self.header + "".join(f"{value:.15e}\n" for value in values))
        return CPUNEP(str(path))

    def frame(self, atoms: Atoms) -> Atoms:
        """NEP's code takes every cell as periodic, and wants one."""
        if not atoms.pbc.any():
            atoms.set_cell([BOX] * 3)
        return atoms


PEERS = (
    Peer(
        "NEP (calorine)",
        published("experiments.benchmark.peers.nep.NEP", lr=0.0),
        "defaults of nep.in of GPUMD: version 4, n_max 4 4, basis_size 8 8, l_max 4 2 0, 30 neurons; arXiv:2205.10046",
        Environment("calorine", ("calorine==4.1",)),
        package=("calorine",),
        trains=False,
        remark="C++ in double precision on one thread, with its own search of neighbours in every call; GPUMD trains it",
    ),
)
