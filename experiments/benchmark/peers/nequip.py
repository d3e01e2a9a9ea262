"""NequIP, https://github.com/mir-group/nequip, and what all models of its framework share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import torch
from ase.calculators.calculator import Calculator
from torch import Tensor, nn

from equireann_pyg.elements import SYMBOLS
from experiments.benchmark.peers.adapter import Adapter, mean_neighbours, within
from experiments.benchmark.peers.environments import Environment
from experiments.benchmark.peers.peer import Peer, published


class Framework(Adapter, ABC):
    """Atomic energies of a model of NequIP's framework, which takes a dictionary.

    A subclass names the function that builds the model, by :meth:`builder`.

    Args:
        elements: chemical symbols or atomic numbers.
        cutoff: in Angstrom.
        sizes: further arguments of the subclass, for its ``config``.
    """

    def __init__(self, elements: list[str], cutoff: float, **sizes: Any) -> None:
        super().__init__(elements, cutoff, **sizes)
        builder, arguments = self.builder()
        start()
        self.graph: nn.Module = builder(
            seed=int(torch.randint(2**31, ())),
            model_dtype=str(torch.get_default_dtype())[6:],
            type_names=[SYMBOLS[number] for number in self.elements],
            r_max=cutoff,
            avg_num_neighbors=1.0,
            **arguments,
        )
        self.to(torch.get_default_dtype())
        for part in self.norms():  # a number that a file has to keep
            part.register_buffer("norm_const", part.norm_const)

    @abstractmethod
    def builder(self) -> tuple[Callable[..., nn.Module], dict[str, Any]]:
        """Function of the package that makes the model, and its arguments."""

    def norms(self) -> list[nn.Module]:
        """Modules that divide by the root of the average number of neighbours."""
        return [part for part in self.graph.modules() if hasattr(part, "norm_const")]

    def fit_statistics(self, z: Tensor, edge_index: Tensor, edge_vec: Tensor) -> None:
        """Tell the layers the average number of neighbours."""
        for part in self.norms():
            part.norm_const.fill_((mean_neighbours(z, edge_index) or 1.0) ** -0.5)

    def _apply(self, *arguments: Any, **options: Any) -> Framework:
        """Go to another type or place, and let the embeddings of edges know the type."""
        super()._apply(*arguments, **options)
        dtype = next(self.parameters()).dtype
        for part in self.graph.modules():
            if hasattr(part, "_output_dtype"):
                part._output_dtype = dtype
        return self

    def forward(self, z: Tensor, edge_index: Tensor, edge_vec: Tensor) -> Tensor:
        """Atomic energies ``[N]``: the energy model alone, on given edges (NequIP's go from i to j)."""
        edge_index, edge_vec = within(edge_index, edge_vec, self.cutoff)
        fields = {"atom_types": self.species[z], "edge_index": edge_index.flip(0), "edge_vectors": edge_vec}
        return self.graph.model.func(fields)["atomic_energy"].squeeze(-1).to(edge_vec)

    def own_calculator(self) -> Calculator:
        """NequIP's calculator, with double precision as the default type, as the package has it for all data."""
        from nequip.ase import NequIPCalculator
        from nequip.integrations.utils import basic_transforms
        from nequip.utils import torch_default_dtype

        class InDouble(NequIPCalculator):  # type: ignore[misc]
            def calculate(self, *arguments: Any, **options: Any) -> None:
                with torch_default_dtype(torch.float64):
                    super().calculate(*arguments, **options)

        graph, names = self.graph.eval(), [SYMBOLS[number] for number in self.elements]
        transforms = basic_transforms(graph.metadata, self.cutoff, names, {name: name for name in names})
        return InDouble(graph, "cpu", transforms=transforms)


def start() -> None:
    """Let the package set what it sets for a process, but for the default type, random numbers and their seed."""
    from lightning.pytorch.utilities.seed import isolate_rng
    from nequip.utils import torch_default_dtype
    from nequip.utils.global_state import set_global_state

    with patch.dict("os.environ"), isolate_rng(), torch_default_dtype(torch.get_default_dtype()):
        set_global_state()


class NequIP(Framework):
    """Atomic energies of NequIP.

    Args:
        elements: chemical symbols or atomic numbers.
        cutoff: in Angstrom.
        preset: size of the foundation potentials, ``"S"`` to ``"XL"``; without it, the size of the tutorial.
    """

    def __init__(self, elements: list[str], cutoff: float = 5.0, preset: str = "") -> None:
        self.preset = preset
        super().__init__(elements, cutoff, preset=preset)

    def builder(self) -> tuple[Callable[..., nn.Module], dict[str, Any]]:
        """NequIP's builders."""
        from nequip.model import NequIPGNNModel, PresetNequIPGNNModel

        if self.preset:
            return PresetNequIPGNNModel, {"preset": self.preset}
        return NequIPGNNModel, TUTORIAL


TUTORIAL = {
    "num_layers": 4,
    "l_max": 1,
    "parity": True,
    "num_features": 32,
    "radial_mlp_depth": 2,
    "radial_mlp_width": 64,
}
"""configs/tutorial.yaml of NequIP."""

ENVIRONMENT = Environment("nequip", ("nequip==0.19.1", "nequip-allegro==0.8.3"))
PRECISION = "in single precision its own calculator embeds the edges in double; here all is in single"
TRAINING = "batches of 5, Adam at 0.01"


def _peer(name: str, preset: str, source: str, program: str = "") -> Peer:
    recipe = published("experiments.benchmark.peers.nequip.NequIP", {"preset": preset}, lr=0.01, batch_size=5)
    words = {"program": program, "remark": PRECISION}
    return Peer(name, recipe, source, ENVIRONMENT, (), ("nequip", "e3nn"), derivatives=2, **words)  # type: ignore[arg-type]


PEERS = (
    _peer(
        "NequIP (tutorial)",
        "",
        f"configs/tutorial.yaml of 0.19.1 without its ZBL: 4 layers, l = 1, 32 features; {TRAINING}",
        "nequip",
    ),
    _peer(
        "NequIP-S",
        "S",
        f"preset S of 0.19.1 (arXiv:2607.28461): 2 layers, 128x0e + 64x1o; trained as in the tutorial: {TRAINING}",
    ),
)
