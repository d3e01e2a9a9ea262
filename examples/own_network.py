"""OrbitalConv in a network of PyTorch Geometric: angles for a layer that sees distances only."""

import torch
from torch import Tensor
from torch_geometric.data import Batch, Data
from torch_geometric.nn import CGConv, global_add_pool

from equireann_pyg import nn, radius_graph

CUTOFF, RADIAL, WIDTH = 3.0, 6, 16


class CrystalGraphNet(torch.nn.Module):
    """PyG's CGConv, with densities of one OrbitalConv as node features if ``orbitals``."""

    def __init__(self, orbitals: bool) -> None:
        super().__init__()
        self.orbitals = orbitals
        self.angular = nn.SphericalHarmonics(max_degree=2)
        self.orbital_conv = nn.OrbitalConv()
        self.density = nn.OrbitalDensity(self.angular.components, RADIAL, WIDTH)
        self.conv = CGConv(WIDTH, dim=RADIAL)
        self.out = torch.nn.Linear(WIDTH, 1)

    def forward(self, data: Data) -> Tensor:
        """Property of each graph, ``[G]``."""
        j, i = data.edge_index
        vec = data.pos[j] - data.pos[i]  # -> [E, 3]
        r = vec.norm(dim=-1)
        envelope = nn.polynomial_cutoff(r, CUTOFF)
        radial = torch.exp(-4 * (r[:, None] - torch.linspace(0.5, CUTOFF, RADIAL)) ** 2) * envelope[:, None]
        x = torch.ones(data.num_nodes, WIDTH)
        if self.orbitals:
            ones = torch.ones(data.num_nodes, RADIAL)
            psi = self.orbital_conv(
                ones, None, data.edge_index, radial, self.angular(vec, r), envelope
            )  # -> [N, lm, n]
            x = torch.log1p(self.density(psi))  # -> [N, k], invariant
        x = self.conv(x, data.edge_index, radial)
        return self.out(global_add_pool(x, data.batch)).squeeze(-1)


def clusters(count: int, seed: int) -> Batch:
    """Random clusters; their property ``y`` is the anisotropy of the bonds around the atoms, a matter of angles."""
    generator, graphs = torch.Generator().manual_seed(seed), []
    for _ in range(count):
        pos = 1.3 * torch.randn(6, 3, generator=generator)
        edge_index, _ = radius_graph(pos, CUTOFF)
        vec = pos[edge_index[0]] - pos[edge_index[1]]
        unit = vec / vec.norm(dim=-1, keepdim=True)
        tensor = unit[:, :, None] * unit[:, None, :] - torch.eye(3) / 3  # -> [E, 3, 3]
        tensor = tensor * nn.polynomial_cutoff(vec.norm(dim=-1), CUTOFF)[:, None, None]
        around = torch.zeros(6, 3, 3).index_add(0, edge_index[1], tensor)
        graphs.append(Data(pos=pos, edge_index=edge_index, y=around.square().sum()[None]))
    batch = Batch.from_data_list(graphs)
    batch.y = (batch.y - batch.y.mean()) / batch.y.std()
    return batch


train, test = clusters(200, seed=1), clusters(100, seed=2)
for orbitals in (False, True):
    torch.manual_seed(0)
    model = CrystalGraphNet(orbitals)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(200):
        optimizer.zero_grad()
        (model(train) - train.y).square().mean().backward()
        optimizer.step()
    with torch.no_grad():
        error = float((model.eval()(test) - test.y).square().mean().sqrt())
    print(f"{'with' if orbitals else 'without'} orbitals: error {error:.2f} of the spread")
