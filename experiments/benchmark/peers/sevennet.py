"""SevenNet (sevenn), https://github.com/MDIL-SNU/SevenNet."""

from __future__ import annotations

from copy import deepcopy
from functools import partial
from importlib.resources import files
from typing import Any
from unittest.mock import patch

import torch
from ase.calculators.calculator import Calculator
from torch import Tensor, nn

from equireann_pyg.elements import SYMBOLS
from experiments.benchmark.peers.adapter import Adapter, mean_neighbours, within
from experiments.benchmark.peers.environments import Environment
from experiments.benchmark.peers.peer import Peer, published

SWITCH = 0.9
"""Where the switching function of SevenNet-0 begins, in units of the cutoff: 4.5 of 5 Angstrom."""


class SevenNet(Adapter):
    """Atomic energies of SevenNet-0's architecture.

    Args:
        elements: chemical symbols or atomic numbers.
        cutoff: in Angstrom.
    """

    def __init__(self, elements: list[str], cutoff: float = 5.0) -> None:
        from sevenn.model_build import build_E3_equivariant_model

        super().__init__(elements, cutoff)
        made = build_E3_equivariant_model(settings(self.elements, cutoff))
        self.net: nn.Module = deepcopy(made)  # in a copy the coupling coefficients of e3nn are buffers
        self.net.onehot_idx_to_onehot = OneHot(len(self.elements))
        fixed_as_buffers(self.net)

    def denominators(self) -> list[Tensor]:
        """Number by which each layer divides the sum over the neighbours."""
        return [part.denominator for part in self.net.modules() if hasattr(part, "denominator")]

    def fit_statistics(self, z: Tensor, edge_index: Tensor, edge_vec: Tensor) -> None:
        """Tell the layers the average number of neighbours."""
        for value in self.denominators():
            value.fill_(mean_neighbours(z, edge_index) or 1.0)

    def forward(self, z: Tensor, edge_index: Tensor, edge_vec: Tensor) -> Tensor:
        """Atomic energies ``[N]``: the layers up to these, on given edges (SevenNet's go from i to j)."""
        edge_index, edge_vec = within(edge_index, edge_vec, self.cutoff)
        fields = {"x": self.species[z], "edge_index": edge_index.flip(0), "edge_vec": edge_vec}
        for name, part in self.net.named_children():
            fields = part(fields)
            if name == "rescale_atomic_energy":
                break
        return fields["atomic_energy"].squeeze(-1)

    def own_calculator(self) -> Calculator:
        """SevenNet's calculator, which is made to keep the type of the weights."""
        from sevenn import util
        from sevenn.calculator import SevenNetCalculator

        calculator = SevenNetCalculator(self.net, file_type="model_instance", device="cpu")
        typed = partial(util.dtype_correct, float_dtype=next(self.parameters()).dtype)
        single = calculator.calculate

        def calculate(*arguments: Any, **options: Any) -> None:
            with patch.object(util, "dtype_correct", typed):
                single(*arguments, **options)

        calculator.calculate = calculate
        return calculator


class OneHot(nn.Module):
    """Elements as unit vectors; stands in for the package's own layer, which gives single precision alone.

    Args:
        size: number of elements.
    """

    unit: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("unit", torch.eye(size), persistent=False)

    def forward(self, fields: dict[str, Tensor]) -> dict[str, Tensor]:
        """Fields of the package: elements ``x [N]`` become ``atom_type``, and vectors ``x`` and ``node_attr [N, size]``."""
        vectors = self.unit[fields["x"]]
        fields["atom_type"], fields["x"], fields["node_attr"] = fields["x"], vectors, vectors
        return fields


def settings(elements: list[int], cutoff: float) -> dict[str, Any]:
    """Settings of SevenNet-0 that come with the package, for other elements and another cutoff."""
    import yaml
    from sevenn._const import DEFAULT_E3_EQUIVARIANT_MODEL_CONFIG

    preset = yaml.safe_load(files("sevenn").joinpath("presets/sevennet-0.yaml").read_text())["model"]
    own = {
        "cutoff": cutoff,
        "cutoff_function": {**preset["cutoff_function"], "cutoff_on": SWITCH * cutoff},
        "chemical_species": [SYMBOLS[number] for number in elements],
        "_number_of_species": len(elements),
        "_type_map": {number: index for index, number in enumerate(elements)},
        "conv_denominator": 1.0,
        "shift": 0.0,
        "scale": 1.0,
    }
    return DEFAULT_E3_EQUIVARIANT_MODEL_CONFIG | preset | own


def fixed_as_buffers(module: nn.Module) -> None:
    """Let parameters that are not trained be buffers."""
    for part in module.modules():
        for name, value in list(part.named_parameters(recurse=False)):
            if not value.requires_grad:
                delattr(part, name)
                part.register_buffer(name, value.detach())


ENVIRONMENT = Environment(
    "sevennet",
    (
        "sevenn==0.13.0",
        "matscipy==1.3.1",
        "braceexpand==0.1.7",
        "scikit-learn==1.9.1",
        "joblib==1.6.0",
        "cloudpickle==3.1.3",
        "threadpoolctl==3.8.0",
        "narwhals==2.29.0",
    ),
    ("--no-deps",),
)

PEERS = (
    Peer(
        "SevenNet-0",
        published("experiments.benchmark.peers.sevennet.SevenNet", lr=0.004, batch_size=4),
        "architecture of SevenNet-0, random weights; presets/fine_tune.yaml of 0.13.0: batches of 4, Adam at 0.004",
        ENVIRONMENT,
        package=("sevenn", "e3nn"),
        known={
            "rotation, reflection": "is_parity: False knows rotations only: forces of mirror images differ by 0.3 to 46 %"
        },
        remark="rotations hold to 1e-9: coupling coefficients are kept in single precision",
    ),
)
