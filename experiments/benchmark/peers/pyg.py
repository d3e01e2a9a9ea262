"""SchNet, DimeNet++ and ViSNet of PyTorch Geometric: their layers on given edges, since PyG knows no periodic cells.

Without pyg-lib, which is not on PyPI, PyG finds no neighbours itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import torch
from ase.calculators.calculator import Calculator
from torch import Tensor
from torch_geometric.nn.models import DimeNetPlusPlus, ViSNet, visnet

from equireann_pyg import radius_graph
from equireann_pyg.elements import SYMBOLS
from experiments.benchmark.peers.adapter import Adapter, OwnForward, within
from experiments.benchmark.peers.peer import Peer, published
from experiments.plugging.schnet import SchNetEnergies
from experiments.runs.models import Recipe


class SchNetPyG(SchNetEnergies):
    """Atomic energies of SchNet."""

    def own_calculator(self) -> Calculator:
        """SchNet's forward, with the edges given as it allows."""
        self.schnet.interaction_graph = OpenGraph(self.cutoff)
        return OwnForward(self.schnet, next(self.parameters()).dtype)


class OpenGraph(torch.nn.Module):
    """Edges and distances of an open system, as SchNet's forward wants to have them.

    Args:
        cutoff: in Angstrom.
    """

    def __init__(self, cutoff: float) -> None:
        super().__init__()
        self.cutoff = cutoff

    def forward(self, pos: Tensor, batch: Tensor) -> tuple[Tensor, Tensor]:
        """Edges ``[2, E]`` and their lengths ``[E]``."""
        edge_index, _ = radius_graph(pos.detach(), self.cutoff)
        return edge_index, (pos[edge_index[0]] - pos[edge_index[1]]).norm(dim=-1)


def triplets(edge_index: Tensor, edge_vec: Tensor) -> tuple[Tensor, Tensor]:
    """Pairs of edges k -> j and j -> i, ``[T]`` each, but for the way back along the same edge.

    An image of i in another cell is another atom than i: the way back is told by its vector.
    """
    j, i = edge_index
    order = torch.argsort(i, stable=True)  # edges by their targets
    counts = torch.bincount(i, minlength=int(edge_index.max()) + 1 if edge_index.numel() else 1)  # -> [N]
    first = counts.cumsum(0) - counts
    number = counts[j]  # edges into j, of each edge j -> i
    ji = torch.arange(j.numel(), device=j.device).repeat_interleave(number)
    step = torch.arange(ji.numel(), device=j.device) - (number.cumsum(0) - number).repeat_interleave(number)
    kj = order[first[j[ji]] + step]
    back = (j[kj] == i[ji]) & ((edge_vec[kj] + edge_vec[ji]).detach().square().sum(-1) < 1e-8)
    return kj[~back], ji[~back]


class DimeNetPP(Adapter):
    """Atomic energies of DimeNet++."""

    def __init__(self, elements: list[str], cutoff: float = 5.0) -> None:
        super().__init__(elements, cutoff)
        self.dimenet = DimeNetPlusPlus(
            hidden_channels=128,
            out_channels=1,
            num_blocks=4,
            int_emb_size=64,
            basis_emb_size=8,
            out_emb_channels=256,
            num_spherical=7,
            num_radial=6,
            cutoff=cutoff,
        )

    def forward(self, z: Tensor, edge_index: Tensor, edge_vec: Tensor) -> Tensor:
        """Atomic energies ``[N]``."""
        edge_index, edge_vec = within(edge_index, edge_vec, self.cutoff)
        net, (j, i) = self.dimenet, edge_index
        kj, ji = triplets(edge_index, edge_vec)
        a = (edge_vec[ji] * edge_vec[kj]).sum(dim=-1)
        b = torch.linalg.cross(edge_vec[ji], edge_vec[kj]).norm(dim=-1)
        r = edge_vec.norm(dim=-1)
        radial, spherical = net.rbf(r), net.sbf(r, torch.atan2(b, a), kj)
        x = net.emb(z, radial, i, j)
        energy = net.output_blocks[0](x, radial, i, num_nodes=z.numel())
        for interaction, output in zip(net.interaction_blocks, net.output_blocks[1:], strict=True):
            x = interaction(x, radial, spherical, kj, ji)
            energy = energy + output(x, radial, i, num_nodes=z.numel())
        return energy.squeeze(-1)


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Type of new tensors that name none."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


class GivenEdges(torch.nn.Module):
    """Stands in for the search of neighbours; an edge from every atom to itself comes last.

    Args:
        size: number of atoms.
        edge_index: edges.
        edge_vec: their vectors.
    """

    def __init__(self, size: int, edge_index: Tensor, edge_vec: Tensor) -> None:
        super().__init__()
        own = torch.arange(size, device=edge_index.device)
        r = edge_vec.norm(dim=-1)
        self.answer = (
            torch.cat([edge_index, torch.stack([own, own])], dim=1),
            torch.cat([r, r.new_zeros(size)]),
            torch.cat([edge_vec, edge_vec.new_zeros(size, 3)]),
        )

    def forward(self, *_: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Edges, distances, vectors."""
        return self.answer


class ViSNetPyG(Adapter):
    """Atomic energies of ViSNet."""

    def __init__(self, elements: list[str], cutoff: float = 5.0) -> None:
        super().__init__(elements, cutoff)
        self.visnet = ViSNet(cutoff=cutoff, max_z=len(SYMBOLS))

    def forward(self, z: Tensor, edge_index: Tensor, edge_vec: Tensor) -> Tensor:
        """Atomic energies ``[N]``."""
        edge_index, edge_vec = within(edge_index, edge_vec, self.cutoff)
        block = self.visnet.representation_model
        search, block.distance = block.distance, GivenEdges(z.numel(), edge_index, edge_vec)
        try:
            x, vectors = block(z, z.new_zeros(()), z.new_zeros(()))
        finally:
            block.distance = search
        return self.visnet.output_model.pre_reduce(x, vectors).squeeze(-1)

    def own_calculator(self) -> Calculator:
        """ViSNet's forward, with our search of neighbours in the place of the one that needs pyg-lib."""

        def graph(pos: Tensor, r: float, batch: Tensor, loop: bool, max_num_neighbors: int) -> Tensor:
            own = torch.arange(pos.size(0))
            return torch.cat([radius_graph(pos.detach(), r)[0], torch.stack([own, own])], dim=1)

        def energy(z: Tensor, pos: Tensor) -> Tensor:
            with patch.object(visnet, "radius_graph", graph), default_dtype(pos.dtype):
                return self.visnet(z, pos, torch.zeros_like(z))[0]

        return OwnForward(energy, next(self.parameters()).dtype)


def _recipe(kind: str, lr: float, **sizes: int) -> Recipe:
    return published(f"experiments.benchmark.peers.pyg.{kind}", sizes, lr=lr)


PEERS = (
    Peer(
        "SchNet (PyG)",
        _recipe("SchNetPyG", 1e-3, hidden_channels=128, num_interactions=6, num_gaussians=50),
        "defaults of PyG; Schütt et al., J. Chem. Phys. 2018, 148, 241722: Adam at 1e-3",
        package=("torch_geometric",),
    ),
    Peer(
        "DimeNet++ (PyG)",
        _recipe("DimeNetPP", 1e-3),
        "arXiv:2011.14115: 128 channels, 4 blocks, Adam at 1e-3",
        package=("torch_geometric",),
    ),
    Peer(
        "ViSNet (PyG)",
        _recipe("ViSNetPyG", 4e-4),
        "defaults of PyG: 128 channels, 6 layers, l = 1; arXiv:2210.16518 for rMD17: Adam at 4e-4",
        package=("torch_geometric",),
        known={
            "cutoff": "a linear map of the message has a constant, so a neighbour at the cutoff still counts",
            "training on forces": "parameters of vectors in the last layer, and of reference energies, change no energy",
        },
        remark="knows no cells: images of an atom are not among the neighbours that it embeds",
    ),
)
