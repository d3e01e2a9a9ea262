"""Random parameters, structures and rotations for tests; the same in every run and for every type of arithmetic."""

from __future__ import annotations

import torch
from torch import Tensor
from torch_geometric.data import Data

from equireann_pyg.graph.radius import radius_graph
from equireann_pyg.nn import Angular


@torch.no_grad()
def randomize(module: torch.nn.Module, seed: int = 0, amplitude: float = 0.6) -> None:
    """Add noise to every parameter, so that nothing is zero, one or equal by construction; the same for every dtype."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        fan = max(parameter.shape[-2:]) if parameter.dim() > 1 else 1
        noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        parameter.add_((amplitude * fan**-0.5 * noise).to(parameter))


def make_graph(z: Tensor, pos: Tensor, cutoff: float, cell: Tensor | None = None, pbc: Tensor | None = None) -> Data:
    """Graph without labels, periodic along all cell vectors unless ``pbc [3]`` says otherwise."""
    pbc = torch.full((3,), cell is not None) if pbc is None else pbc
    edge_index, edge_shift = radius_graph(pos, cutoff, cell, pbc)
    cell = pos.new_zeros(3, 3) if cell is None else cell
    return Data(
        z=z, pos=pos, cell=cell.reshape(1, 3, 3), pbc=pbc.view(1, 3), edge_index=edge_index, edge_shift=edge_shift
    )


def random_cluster(elements: list[int], cutoff: float, num_atoms: int = 6, spacing: float = 1.4, seed: int = 0) -> Data:
    """Open system of atoms around the points of a cubic grid, with every element in turn."""
    generator = torch.Generator().manual_seed(seed)
    side = torch.arange(round(num_atoms ** (1 / 3) + 0.5), dtype=torch.float64)
    grid = spacing * torch.cartesian_prod(side, side, side)[:num_atoms]  # -> [N, 3]
    jitter = 0.2 * spacing * (2 * torch.rand(grid.shape, generator=generator, dtype=torch.float64) - 1)
    return make_graph(_in_turn(elements, num_atoms), grid + jitter, cutoff)


def random_crystal(elements: list[int], cutoff: float, num_atoms: int = 2, length: float = 2.6, seed: int = 0) -> Data:
    """Strongly skewed cell, ``length`` Angstrom from face to face: with a longer cutoff atoms meet their own images."""
    generator = torch.Generator().manual_seed(seed)
    skew = torch.tensor([[1.0, 0.0, 0.0], [1.7, 1.0, 0.0], [-0.9, 1.4, 1.0]], dtype=torch.float64)
    fraction = (torch.arange(num_atoms, dtype=torch.float64) / num_atoms).unsqueeze(1).expand(num_atoms, 3)
    jitter = 0.3 / num_atoms * torch.rand(fraction.shape, generator=generator, dtype=torch.float64)
    cell = length * skew
    return make_graph(_in_turn(elements, num_atoms), (fraction + jitter) @ cell, cutoff, cell)


def _in_turn(elements: list[int], num_atoms: int) -> Tensor:
    return torch.tensor([elements[index % len(elements)] for index in range(num_atoms)])


def sample_graphs(elements: list[int], cutoff: float) -> list[Data]:
    """Two clusters, a skewed crystal, one atom in a cell smaller than the cutoff, and an isolated atom."""
    atom = make_graph(torch.tensor(elements[:1]), torch.zeros(1, 3, dtype=torch.float64), cutoff)
    clusters = [random_cluster(elements, cutoff, size, seed=size) for size in (6, 4)]
    return [*clusters, random_crystal(elements, cutoff), random_crystal(elements, cutoff, 1, 0.6 * cutoff), atom]


def random_orthogonal(seed: int = 0, reflect: bool = False) -> Tensor:
    """Rotation matrix ``[3, 3]``, or one with a reflection."""
    generator = torch.Generator().manual_seed(seed)
    q = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))[0]
    return q * (torch.linalg.det(q) * (-1.0 if reflect else 1.0))


def representation(angular: Angular, orthogonal: Tensor) -> Tensor:
    """Matrix ``D [lm, lm]`` with Y(Q r) = D Y(r), from a least-squares fit (float64)."""
    generator = torch.Generator().manual_seed(7)
    vec = torch.randn(60, 3, generator=generator, dtype=torch.float64)
    if angular.unit:
        vec = vec / vec.norm(dim=-1, keepdim=True)
    before, after = (angular.polynomials(v).split(angular.components, dim=1) for v in (vec, vec @ orthogonal.T))
    blocks = [
        torch.linalg.lstsq(y, rotated, driver="gelsd").solution.T for y, rotated in zip(before, after, strict=True)
    ]
    return torch.block_diag(*blocks)
