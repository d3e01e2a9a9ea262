"""Equivariant transformer and TensorNet of TorchMD-Net, https://github.com/torchmd/torchmd-net."""

from __future__ import annotations

import copy
from typing import Any

import torch
from ase.calculators.calculator import Calculator
from torch import Tensor, nn

from experiments.benchmark.peers.adapter import Adapter, OwnForward, within
from experiments.benchmark.peers.environments import Environment
from experiments.benchmark.peers.peer import Peer, published

COMMON: dict[str, Any] = {
    "activation": "silu",
    "aggr": "add",
    "atom_filter": -1,
    "cutoff_lower": 0.0,
    "derivative": False,
    "embedding_dimension": 128,
    "max_num_neighbors": 128,  # only of its own search
    "max_z": 100,
    "num_rbf": 32,
    "output_model": "Scalar",
    "precision": 32,
    "prior_model": None,
    "rbf_type": "expnorm",
    "reduce_op": "add",
    "trainable_rbf": False,
}
MODELS: dict[str, dict[str, Any]] = {
    "equivariant-transformer": {
        "attn_activation": "silu",
        "distance_influence": "both",
        "neighbor_embedding": True,
        "num_heads": 8,
        "num_layers": 6,
    },
    "tensornet": {"equivariance_invariance_group": "O(3)", "num_layers": 2},
}
"""What the package's examples ET-MD17.yaml and TensorNet-rMD17.yaml have in common, and what is of each."""


class GivenEdges(nn.Module):
    """Stands in for the search of neighbours: takes edges where that takes positions, graphs and a box.

    An edge from every atom to itself comes last, as the package wants it. It brings vectors to unit length later, but those
    between an atom and its own image in another cell, which it takes for one atom, have to have it already.
    """

    def forward(self, edge_vec: Tensor, edge_index: Tensor, own: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Edges ``[2, E + N]``, lengths ``[E + N]``, vectors ``[E + N, 3]``; ``own`` numbers the atoms, ``[N]``."""
        r = edge_vec.norm(dim=-1)
        image = edge_index[0] == edge_index[1]
        if bool(image.any()):
            edge_vec = edge_vec / torch.where(image, r, 1.0).unsqueeze(-1)
        return (
            torch.cat([edge_index, torch.stack([own, own])], dim=1),
            torch.cat([r, r.new_zeros(own.numel())]),
            torch.cat([edge_vec, edge_vec.new_zeros(own.numel(), 3)]),
        )


class NeighboursAndImages(nn.Module):
    """Embedding of neighbours that are images of the atom itself, too, which the package leaves out.

    Args:
        embedding: that of the package.
    """

    def __init__(self, embedding: nn.Module) -> None:
        super().__init__()
        self.embedding = embedding

    def forward(self, z: Tensor, x: Tensor, edge_index: Tensor, r: Tensor, basis: Tensor) -> Tensor:
        """Features ``[N, n]`` with those of the neighbours, which are copies of the atoms where there are images."""
        i, j = edge_index
        if not bool(((i == j) & (r > 0)).any()):
            return self.embedding(z, x, edge_index, r, basis)
        others = r > 0
        twice = torch.stack([i[others], j[others] + z.numel()])
        return self.embedding(torch.cat([z, z]), torch.cat([x, x]), twice, r[others], basis[others])[: z.numel()]


class TorchMDNet(Adapter):
    """Atomic energies of a model of TorchMD-Net with the sizes of its examples.

    Args:
        elements: chemical symbols or atomic numbers.
        cutoff: in Angstrom.
        kind: of :data:`MODELS`.
    """

    def __init__(self, elements: list[str], cutoff: float = 5.0, kind: str = "tensornet") -> None:
        from torchmdnet.models.model import create_model

        super().__init__(elements, cutoff, kind=kind)
        self.net = create_model(COMMON | MODELS[kind] | {"model": kind, "cutoff_upper": cutoff})
        self.net.representation_model.distance = GivenEdges()
        if kind == "equivariant-transformer":
            network = self.net.representation_model
            network.neighbor_embedding = NeighboursAndImages(network.neighbor_embedding)

    def forward(self, z: Tensor, edge_index: Tensor, edge_vec: Tensor) -> Tensor:
        """Atomic energies ``[N]``."""
        edge_index, edge_vec = within(edge_index, edge_vec, self.cutoff)
        own = torch.arange(z.numel(), device=z.device)
        x, vectors, *_ = self.net.representation_model(z, edge_vec, edge_index, own)
        return self.net.output_model.pre_reduce(x, vectors, z, None, None).squeeze(-1)

    def own_calculator(self) -> Calculator:
        """Its forward with its own search of neighbours; its calculator computes in single precision."""
        from torchmdnet.models.utils import OptimizedDistance

        search = OptimizedDistance(0.0, self.cutoff, -COMMON["max_num_neighbors"], return_vecs=True, loop=True)
        net = copy.deepcopy(self.net)
        net.representation_model.distance = search
        return OwnForward(lambda z, pos: net(z, pos)[0], next(self.parameters()).dtype)


# The package cannot be imported without Warp, of which TensorNet uses kernels for its layers, too.
ENVIRONMENT = Environment("torchmd-net", ("torchmd-net==3.1.0", "warp-lang==1.19.0", "h5py==3.16.0"), ("--no-deps",))


KNOWN = {
    "cutoff": "vectors in messages are not damped, so energies jump; with the option vector_cutoff, off in the example, not",
    "training on forces": "two weights change no energy: vectors are zero before the first layer, and not used after the last",
}


def _peer(name: str, kind: str, example: str, known: dict[str, str], remark: str = "") -> Peer:
    recipe = published("experiments.benchmark.peers.torchmdnet.TorchMDNet", {"kind": kind}, lr=1e-3, batch_size=8)
    source = f"examples/{example} of TorchMD-Net: batches of 8, Adam at 1e-3"
    package = ("torchmd-net", "warp-lang")
    return Peer(f"{name} (TorchMD-Net)", recipe, source, ENVIRONMENT, package=package, known=known, remark=remark)


PEERS = (
    _peer("Equivariant transformer", "equivariant-transformer", "ET-MD17.yaml", KNOWN),
    _peer("TensorNet", "tensornet", "TensorNet-rMD17.yaml", {}, "with its Warp kernels, compiled at first use"),
)
"""The models of this package, as its examples have them."""
