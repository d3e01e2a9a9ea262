"""REANN as its authors published it, https://github.com/zhangylch/REANN (MIT licence)."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

import torch
from ase.calculators.calculator import Calculator
from torch import Tensor, nn

from equireann_pyg.elements import SYMBOLS
from experiments.benchmark.peers.adapter import Adapter, OwnForward, within
from experiments.benchmark.peers.environments import Environment
from experiments.benchmark.peers.peer import Peer, published

COMMIT = "6ca3928aa6903dbc4c71a41fcd524ba0e9b4cfd7"
ENVIRONMENT = Environment("reann", ("opt_einsum==3.4.0",), checkout=("https://github.com/zhangylch/REANN", COMMIT))
BOX = 1000.0
"""Edge in Angstrom of the cell that REANN's search of neighbours wants of an open system, too."""


def module_of(name: str) -> ModuleType:
    """A module of the clone, whose modules are not in a package.

    Raises:
        ModuleNotFoundError: if there is no clone.
    """
    folder = str(ENVIRONMENT.source / "reann" / "src")
    sys.path.insert(0, folder)
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(folder)


class OriginalREANN(Adapter):
    """Atomic energies of the published density and networks.

    Args:
        elements: chemical symbols or atomic numbers.
        cutoff: in Angstrom.
        waves: radial functions of each element.
        degree: largest degree of the orbitals.
        iterations: how often the coefficients of the orbitals are refined.
        width: of the two layers of each network.
    """

    def __init__(
        self,
        elements: list[str],
        cutoff: float = 5.0,
        waves: int = 8,
        degree: int = 2,
        iterations: int = 3,
        width: int = 64,
    ) -> None:
        sizes = {"waves": waves, "degree": degree, "iterations": iterations, "width": width}
        super().__init__(elements, cutoff, **sizes)
        kinds, parts = len(self.elements), degree + 1
        self.features = waves * (waves + 1) // 2 * parts
        centre, exponent = torch.rand(kinds, waves) * cutoff, -(torch.rand(kinds, waves) + 0.2)
        messages = [self.network(waves, width) for _ in range(iterations)]
        density = module_of("density").GetDensity
        self.density = density(centre, exponent, cutoff, 1, parts, self.features, messages)
        self.readout = self.network(1, width)

    def network(self, outputs: int, width: int) -> nn.Module:
        """Networks of all elements, with a residual block and layer normalization."""
        kinds, sizes = [SYMBOLS[number] for number in self.elements], [self.features, width, width]
        activation = module_of("activate").Relu_like
        made: nn.Module = module_of("MODEL").NNMod(len(kinds), outputs, kinds, 1, sizes, [0.0, 0.0], activation)
        return made

    def fit_statistics(self, z: Tensor, edge_index: Tensor, edge_vec: Tensor) -> None:
        """Start the coefficients of the orbitals at one over the largest number of neighbours, as its input asks for it."""
        most = int(torch.bincount(edge_index[1], minlength=1).max())
        with torch.no_grad():
            self.density.params.fill_(1 / max(1, most))

    def forward(self, z: Tensor, edge_index: Tensor, edge_vec: Tensor) -> Tensor:
        """Atomic energies ``[N]``: of atoms at the origin, whose shifts are the edges (REANN's point from j to i)."""
        edge_index, edge_vec = within(edge_index, edge_vec, self.cutoff)
        if edge_vec.size(0) == 0:  # REANN cannot do without edges: its densities would be zero
            return self.atomic(edge_vec.new_zeros(z.numel(), self.features), z)
        pos, pairs = edge_vec.new_zeros(1, z.numel(), 3), edge_index.flip(0).unsqueeze(1)
        return self.energies(z, pos, pairs, -edge_vec.unsqueeze(0))

    def energies(self, z: Tensor, pos: Tensor, pairs: Tensor, shifts: Tensor) -> Tensor:
        """Atomic energies ``[N]`` from positions ``[1, N, 3]``, pairs i, j ``[2, 1, E]`` and shifts of i ``[1, E, 3]``."""
        return self.atomic(self.density(pos, z.new_tensor([z.numel()]), self.species[z], pairs, shifts), z)

    def atomic(self, density: Tensor, z: Tensor) -> Tensor:
        """Atomic energies ``[N]`` from densities."""
        energy: Tensor = self.readout(density, self.species[z])
        return energy.squeeze(-1)

    def own_calculator(self) -> Calculator:
        """Positions with REANN's own search of neighbours."""
        search = module_of("get_neighbour").neighbor_pairs

        def energy(z: Tensor, pos: Tensor) -> Tensor:
            cell, open_system = BOX * torch.eye(3), torch.zeros(3)  # its search wants single precision
            place, kinds = pos.unsqueeze(0), self.species[z].unsqueeze(0)
            pairs, shifts, number = search(open_system, place.float(), kinds, cell, self.cutoff, z.numel())
            return self.energies(z, place, pairs[:, :, :number], shifts[:, :number].to(pos))

        return OwnForward(energy, next(self.parameters()).dtype)


PEERS = (
    Peer(
        "REANN (original)",
        published("experiments.benchmark.peers.reann.OriginalREANN", lr=1e-3, batch_size=32),
        "sizes of its example co2+ni100; its defaults: AdamW at 1e-3 without decay, batches of 32",
        ENVIRONMENT,
        package=("opt_einsum",),
        derivatives=3,
    ),
)
