"""PET (metatrain), https://github.com/metatensor/metatrain."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from ase.calculators.calculator import Calculator
from torch import Tensor

from experiments.benchmark.peers.adapter import Adapter, one_graph
from experiments.benchmark.peers.environments import Environment
from experiments.benchmark.peers.peer import Peer, published


@contextmanager
def plain_torch() -> Iterator[None]:
    """Torch without the functions that PyG replaces, which metatensor's TorchScript cannot compile when imported."""
    plain = torch._C._VariableFunctions
    with patch.multiple(torch, index_select=plain.index_select, select=plain.select):
        yield


def hypers(cutoff: float) -> dict[str, Any]:
    """Default hyperparameters of the model, but for the cutoff."""
    from metatrain.utils.architectures import get_default_hypers

    return {**get_default_hypers("pet")["model"], "cutoff": cutoff}


def reverse_edges(edge_index: Tensor, edge_vec: Tensor, size: int) -> Tensor:
    """Edge i -> j of every edge j -> i, ``[E]``; the images of an atom are told apart by their heights along an axis.

    Args:
        edge_index: edges ``[2, E]``, each in both directions.
        edge_vec: their vectors ``[E, 3]``.
        size: number of atoms.
    """
    j, i = edge_index
    height = edge_vec.detach() @ edge_vec.new_tensor([0.2113248654, 0.5393446629, 0.8151390870])
    there, back = _sorted(i * size + j, height), _sorted(j * size + i, -height)
    answer = torch.empty_like(there)
    answer[there] = back
    return answer


def _sorted(key: Tensor, height: Tensor) -> Tensor:
    """Indices by key, and by height where it is the same."""
    order = torch.argsort(height)
    return order[torch.argsort(key[order], stable=True)]


class PET(Adapter):
    """Atomic energies of the Point Edge Transformer with its default hyperparameters.

    Args:
        elements: chemical symbols or atomic numbers.
        cutoff: in Angstrom.
    """

    def __init__(self, elements: list[str], cutoff: float = 4.5) -> None:
        with plain_torch():
            from metatrain.pet.modules.backend import PETBackend

        super().__init__(elements, cutoff)
        self.backend = PETBackend(hypers(cutoff), self.elements)
        self.backend.add_output("energy", {"energy___0": [1]})

    def forward(self, z: Tensor, edge_index: Tensor, edge_vec: Tensor) -> Tensor:
        """Atomic energies ``[N]``: of atoms at the origin of a unit cell, whose shifts are the edges."""
        from metatrain.pet.modules import structures

        reverse = reverse_edges(edge_index, edge_vec, z.numel())
        inside = edge_vec.detach().norm(dim=-1) < self.cutoff
        inside = inside & inside[reverse]
        reverse = (inside.cumsum(0) - 1)[reverse[inside]]
        j, i = edge_index[:, inside]
        cells, graph = torch.eye(3).to(edge_vec).unsqueeze(0), one_graph(z)
        with patch.object(structures, "get_corresponding_edges", lambda *_: reverse):
            data = self.backend.preprocess(
                edge_vec.new_zeros(z.numel(), 3), i, j, z, cells, edge_vec[inside], graph, cutoff_width_adaptive=1.0
            )
        features = self.backend.calculate_features(data)
        return self.backend.predict(*features, data, cells, graph, ["energy"])[0]["energy"][0].squeeze(-1)

    def own_calculator(self) -> Calculator:
        """Metatomic's calculator; it finds neighbours and their edges back on its own."""
        with plain_torch():
            from metatomic_ase import MetatomicCalculator
            from metatrain.pet import PET as Whole
        from metatrain.utils.data import DatasetInfo
        from metatrain.utils.data.target_info import get_energy_target_info

        target = get_energy_target_info("energy", {"quantity": "energy", "unit": "eV"})
        whole = Whole(hypers(self.cutoff), DatasetInfo("angstrom", self.elements, {"energy": target}))
        whole.to(next(self.parameters()).dtype).backend.load_state_dict(self.backend.state_dict())
        return MetatomicCalculator(whole.export(), device="cpu")


ENVIRONMENT = Environment(
    "pet",
    (
        "metatrain==2026.4.1",
        "metatensor-core==0.2.6",
        "metatensor-learn==0.5.0",
        "metatensor-operations==0.5.0",
        "metatensor-torch==0.10.8",
        "metatomic-torch==0.1.19",
        "metatomic-ase==0.1.4",
        "ctypes-dlpack==0.1.1",
        "wigners==0.4.1",
        "omegaconf==2.4.0",
        "python_hostlist==2.3.0",
        "pydantic==2.14.4",
        "pydantic_core==2.50.5",
        "annotated-types==0.8.0",
        "typing-inspection==0.4.5",
        "huggingface_hub==2.4.0",
        "httpx2==2.16.2",
        "httpcore2==2.16.2",
        "h11==0.16.0",
        "anyio==4.16.0",
        "truststore==0.10.5",
    ),
    ("--no-deps",),
)
"""With what it imports only."""

KNOWN = {
    "rotation, reflection": "learns it from data: untrained, a rotation changes energies by up to 5 %, forces by 30-100 %",
    "batches": "empty places among neighbours copy other atoms with weight 1e-15 in the attention: gradients of 1e-30",
    "cutoff": "its bump function is zero in double precision from 0.008 Angstrom before the cutoff: too little to compare",
}

PEERS = (
    Peer(
        "PET (metatrain)",
        published("experiments.benchmark.peers.pet.PET", lr=1e-4, batch_size=16),
        "defaults of metatrain 2026.4.1: Adam at 1e-4, batches of 16",
        ENVIRONMENT,
        package=("metatrain", "metatomic-torch"),
        derivatives=2,
        known=KNOWN,
        remark="its own trainer turns and mirrors every frame at random, ours does not",
    ),
)
