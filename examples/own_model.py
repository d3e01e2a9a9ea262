"""A model of your own in Potential: forces, stress, training and calculator come with it."""

import torch
from ase.build import bulk
from torch import Tensor
from torch_geometric.utils import scatter

from equireann_pyg import EquiREANNCalculator, Potential, from_ase, nn
from equireann_pyg.testing import assert_conservative


class MorsePairs(torch.nn.Module):
    """Half a Morse energy for each neighbour, with trainable depth, width and distance."""

    def __init__(self, elements: list[int], cutoff: float = 5.0) -> None:
        super().__init__()
        self.elements, self.cutoff = elements, cutoff  # what Potential asks for
        self.config = {"elements": elements, "cutoff": cutoff}  # constructor arguments, to be saved
        self.depth = torch.nn.Parameter(torch.tensor(0.35))  # eV
        self.width = torch.nn.Parameter(torch.tensor(1.36))  # 1/Å
        self.distance = torch.nn.Parameter(torch.tensor(2.87))  # Å

    def forward(self, z: Tensor, edge_index: Tensor, edge_vec: Tensor) -> Tensor:
        """Atomic energies ``[N]``."""
        r = edge_vec.norm(dim=-1)  # -> [E]
        bond = (1 - torch.exp(-self.width * (r - self.distance))).square() - 1
        pair = 0.5 * self.depth * bond * nn.polynomial_cutoff(r, self.cutoff)
        return scatter(pair, edge_index[1], dim_size=z.numel())


potential = Potential(MorsePairs([29])).eval()
atoms = bulk("Cu", cubic=True)
atoms.rattle(0.05, seed=0)
print(potential(from_ase(atoms, potential.cutoff))["energy"], "eV")

atoms.calc = EquiREANNCalculator(potential)
print("largest force", abs(atoms.get_forces()).max(), "eV/Å; stress", atoms.get_stress()[:3].mean(), "eV/Å³")

assert_conservative(potential, from_ase(atoms, potential.cutoff))  # forces and stress against finite differences
