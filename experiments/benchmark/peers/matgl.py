"""TensorNet of MatGL, https://github.com/materialyzeai/matgl."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
from ase.calculators.calculator import Calculator
from torch import Tensor

from equireann_pyg.elements import SYMBOLS
from experiments.benchmark.peers.adapter import Adapter
from experiments.benchmark.peers.environments import Environment
from experiments.benchmark.peers.peer import Peer, published


class TensorNet(Adapter):
    """Atomic energies of TensorNet with smooth Bessel functions, as in the models that MatGL has trained on MatPES.

    Args:
        elements: chemical symbols or atomic numbers.
        cutoff: in Angstrom.
        units: channels.
        blocks: interactions.
        radial: number of radial functions.
    """

    def __init__(
        self, elements: list[str], cutoff: float = 5.0, units: int = 128, blocks: int = 2, radial: int = 3
    ) -> None:
        from matgl.models import TensorNet as Net

        super().__init__(elements, cutoff, units=units, blocks=blocks, radial=radial)
        self.tensornet = Net(
            element_types=tuple(SYMBOLS[number] for number in self.elements),
            units=units,
            nblocks=blocks,
            rbf_type="SphericalBessel",
            use_smooth=True,
            max_n=radial,
            cutoff=cutoff,
            is_intensive=False,
            use_warp=False,
        )

    def forward(self, z: Tensor, edge_index: Tensor, edge_vec: Tensor) -> Tensor:
        """Atomic energies ``[N]``: of atoms at the origin, whose shifts are the edges (MatGL's start at the centre i)."""
        graph = SimpleNamespace(
            node_type=self.species[z],
            pos=edge_vec.new_zeros(z.numel(), 3),
            edge_index=edge_index.flip(0),
            pbc_offshift=edge_vec,
        )
        features = self.tensornet.forward_features(graph)
        return self.tensornet.final_layer(features["readout"]).view(-1)

    def own_calculator(self) -> Calculator:
        """MatGL's calculator, with its graphs in double precision."""
        from matgl.apps.pes import Potential
        from matgl.ext.ase import PESCalculator

        potential = Potential(self.tensornet, calc_stresses=False)
        calculator = PESCalculator(potential.to(next(self.parameters()).dtype), stress_unit="eV/A3")
        calculator._atoms2graph.get_graph = in_double(calculator._atoms2graph.get_graph)
        return calculator


def in_double(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with double precision as the type that MatGL gives to new numbers."""
    import matgl

    @wraps(function)
    def call(*arguments: Any) -> Any:
        with patch.object(matgl, "float_th", torch.float64):
            return function(*arguments)

    return call


ENVIRONMENT = Environment(
    "matgl",
    (
        "matgl==4.1.2",
        "pymatgen-core==2026.10.16",
        "monty==2026.10.21",
        "ruamel.yaml==0.19.1",
        "pandas==3.1.1",
        "python-dateutil==2.9.0.post0",
        "six==1.17.0",
        "orjson==3.13.0",
        "tabulate==0.10.0",
        "huggingface_hub==2.4.0",
        "httpx2==2.16.2",
        "httpcore2==2.16.2",
        "h11==0.16.0",
        "anyio==4.16.0",
        "truststore==0.10.5",
    ),
    ("--no-deps",),
)
"""With what it imports only; all that it asks for is twice as much."""

SOURCE = (
    "pretrained_models/TensorNet-MatPES-PBE-v2025.1-PES: 128 units, 2 blocks, 3 smooth Bessel functions; "
    "README and MGLPotentialTrainer: Adam at 1e-3, batches of 32"
)

PEERS = (
    Peer(
        "TensorNet (MatGL)",
        published("experiments.benchmark.peers.matgl.TensorNet", lr=1e-3, batch_size=32),
        SOURCE,
        ENVIRONMENT,
        package=("matgl",),
    ),
)
