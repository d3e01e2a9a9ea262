"""The stress of every atom."""

from __future__ import annotations

import torch
from torch import Tensor
from torch_geometric.data import Data

from equireann_pyg.potential.derivatives import at_ends, variables, volume
from equireann_pyg.potential.potential import Potential


def atomic_stress(potential: Potential, data: Data) -> Tensor:
    r"""Shares of the atoms in the stress.

    .. math::
        \sigma_i = \frac{1}{2V} \Bigl[ \sum_j \mathbf r_{ij} \otimes \frac{\partial E}{\partial \mathbf r_{ij}}
            + \sum_j \mathbf r_{ji} \otimes \frac{\partial E}{\partial \mathbf r_{ji}} \Bigr], \qquad
        \sum_i \sigma_i = \sigma,

    symmetrised: what an edge contributes to the virial is shared by its ends. Such a share is a convention, the sum is not.
    With messages an edge also carries what depends on atoms farther away.

    Args:
        potential: potential without properties that depend on a field.
        data: graph or batch; every graph has a cell with a volume.

    Returns:
        ``[N, 3, 3]`` in eV/Angstrom^3, float64, detached; for each atom with the volume of its whole cell, as in ASE.

    Raises:
        ValueError: see :meth:`~equireann_pyg.Potential.forward`; also without a volume.
    """
    potential.check(data, stress=True)
    graph = potential.tensors(data)
    with torch.enable_grad():
        inputs = variables(graph, differentiate=True)
        energy = potential.energies(graph, *inputs)["energy"].sum()
        gradient = torch.autograd.grad(energy, inputs, materialize_grads=True)[0]
    outer = inputs[0].detach().unsqueeze(2) * gradient.unsqueeze(1)  # -> [E, 3, 3]
    half = 0.25 * (outer + outer.transpose(1, 2))
    leaving, ending = at_ends(half, graph)
    batch = torch.zeros_like(graph.z) if graph.batch is None else graph.batch
    return (leaving + ending) / volume(graph.cell)[batch].view(-1, 1, 1)
