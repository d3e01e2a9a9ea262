"""Energy, forces and stress of a molecule, a crystal and a batch."""

import torch
from ase.build import bulk, molecule
from torch_geometric.data import Batch

from equireann_pyg import EquiREANNPlus, Potential, from_ase

torch.manual_seed(0)
model = EquiREANNPlus(elements=["H", "C", "O", "Cu"], cutoff=4.0)
potential = Potential(model).eval()  # untrained: the numbers mean nothing yet

# A molecule: a graph with all pairs of atoms within the cutoff.
ethanol = from_ase(molecule("CH3CH2OH"), cutoff=potential.cutoff)  # a torch_geometric Data
output = potential(ethanol)
print("ethanol:", output["energy"], "eV, forces", tuple(output["forces"].shape))

# A crystal: neighbours are periodic images too, and there is a stress.
copper = from_ase(bulk("Cu", cubic=True), cutoff=potential.cutoff)
output = potential(copper)
print("copper: stress", output["stress"][0].diagonal(), "eV/Å³")

# A batch: several structures at once, each with its own energy.
batch = Batch.from_data_list([from_ase(molecule(name), cutoff=potential.cutoff) for name in ("H2O", "CH4", "CO")])
output = potential(batch)
print("batch: energies", output["energy"], "eV; forces", tuple(output["forces"].shape))

# Second derivatives along a displacement, without the whole Hessian.
along = torch.zeros_like(ethanol.pos)
along[0, 0] = 1.0
print("curvature along x of the first atom:", potential.hessian_vector_product(ethanol, along)[0, 0], "eV/Å²")
