"""OrbitalConv in torch_geometric.nn.Sequential and inside another PyG network.

    python -m experiments.plugging.orbital_conv

A PyG crystal-graph network (CGConv) learns how much the bonds of random clusters line up, a property of angles. From
distances alone it must guess; given the densities of one OrbitalConv as node features it sees the angles.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch_geometric.data import Batch, Data
from torch_geometric.nn import BatchNorm, CGConv, Sequential, global_add_pool

from equireann_pyg import radius_graph
from equireann_pyg.nn import OrbitalConv, OrbitalDensity, PolynomialCutoff, SphericalHarmonics

CUTOFF, NUM_RADIAL, WIDTH, NUM_ATOMS = 3.0, 6, 16, 6


def radial_functions(r: Tensor) -> Tensor:
    """Gaussians with the envelope, ``[E] -> [E, n]``."""
    centre = torch.linspace(0.5, CUTOFF, NUM_RADIAL)
    return torch.exp(-4 * (r.unsqueeze(-1) - centre).square()) * PolynomialCutoff()(r, CUTOFF).unsqueeze(-1)


def orbital_features() -> Sequential:
    """Two orbital convolutions and a density, as a PyG Sequential: the second passes on the orbitals of the first.

    ``start`` is the orbital before the first: None.
    """
    angular = SphericalHarmonics(2)
    return Sequential(
        "c, start, edge_index, radial, y, envelope",
        [
            (OrbitalConv(aggr="mean"), "c, start, edge_index, radial, y, envelope -> psi"),
            (OrbitalConv(aggr="mean"), "c, psi, edge_index, radial, y, envelope -> psi"),
            (OrbitalDensity(angular.components, NUM_RADIAL, WIDTH), "psi -> rho"),
        ],
    )


class CrystalGraphNet(torch.nn.Module):
    """PyG's CGConv network for a property of a whole graph, with or without densities among the node features.

    Args:
        orbitals: use an OrbitalConv.
    """

    def __init__(self, orbitals: bool) -> None:
        super().__init__()
        self.embedding = torch.nn.Parameter(torch.randn(WIDTH))
        self.orbital_conv = OrbitalConv() if orbitals else None
        self.angular = SphericalHarmonics(2)
        self.density = OrbitalDensity(self.angular.components, NUM_RADIAL, WIDTH)
        self.norm = BatchNorm(WIDTH)
        self.convs = torch.nn.ModuleList(CGConv(WIDTH, dim=NUM_RADIAL) for _ in range(2))
        self.out = torch.nn.Linear(WIDTH, 1)

    def forward(self, data: Data) -> Tensor:
        """Property of each graph, ``[G]``."""
        j, i = data.edge_index
        vec = data.pos[j] - data.pos[i]
        r = vec.norm(dim=-1)
        radial = radial_functions(r)
        x = self.embedding.expand(data.num_nodes, -1)  # -> [N, WIDTH]
        if self.orbital_conv is not None:
            ones = x.new_ones(data.num_nodes, NUM_RADIAL)
            psi = self.orbital_conv(ones, None, data.edge_index, radial, self.angular(vec, r), r)  # -> [N, lm, n]
            x = x + self.norm(self.density(psi))
        for conv in self.convs:
            x = conv(x, data.edge_index, radial)
        return self.out(global_add_pool(x, data.batch)).squeeze(-1)


def clusters(count: int, seed: int) -> Batch:
    """Random clusters; ``y`` is the sum over pairs of bonds of f f' (cos^2(angle) - 1/3), standardised."""
    generator = torch.Generator().manual_seed(seed)
    graphs = []
    for _ in range(count):
        pos = torch.randn(NUM_ATOMS, 3, generator=generator)
        pos = pos / pos.norm(dim=-1, keepdim=True) * (0.8 + 1.4 * torch.rand(NUM_ATOMS, 1, generator=generator))
        edge_index, _ = radius_graph(pos, CUTOFF)
        vec = pos[edge_index[0]] - pos[edge_index[1]]
        r = vec.norm(dim=-1, keepdim=True)
        tensor = vec.unsqueeze(2) * vec.unsqueeze(1) / r.unsqueeze(1) ** 2 - torch.eye(3) / 3
        tensor = tensor * PolynomialCutoff()(r, CUTOFF).unsqueeze(1)  # -> [E, 3, 3]
        sums = torch.zeros(NUM_ATOMS, 3, 3).index_add(0, edge_index[1], tensor)
        graphs.append(Data(pos=pos, edge_index=edge_index, y=sums.square().sum().view(1)))
    batch = Batch.from_data_list(graphs)
    batch.y = (batch.y - batch.y.mean()) / batch.y.std()
    return batch


def train(orbitals: bool, steps: int = 400, num_graphs: int = 300) -> float:
    """Root mean square error on new clusters, relative to the spread of the property."""
    torch.manual_seed(0)
    model, data, test = CrystalGraphNet(orbitals), clusters(num_graphs, seed=1), clusters(num_graphs // 2, seed=2)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        (model(data) - data.y).square().mean().backward()
        optimizer.step()
    with torch.no_grad():
        return float((model.eval()(test) - test.y).square().mean().sqrt())


def main() -> None:
    """Print what the Sequential looks like and the errors of both networks."""
    print(orbital_features())
    for orbitals in (False, True):
        name = "CGConv with OrbitalConv" if orbitals else "CGConv alone"
        print(f"{name:25s} relative error {train(orbitals):.2f}")


if __name__ == "__main__":
    main()
