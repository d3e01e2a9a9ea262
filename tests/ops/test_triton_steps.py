"""What a training step of EquiREANN-plus adds on a GPU in an order that differs from run to run: nothing."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch_geometric.data import Data

import equireann_pyg
from equireann_pyg import ops
from equireann_pyg.ops.gpu import DEVICE
from equireann_pyg.training import Muon
from tests.ops.test_triton_plus import batch, potential
from tests.ops.triton_cases import SINGLE, on_device
from tests.waiting import training_step

PACKAGE = Path(equireann_pyg.__file__).parent

UNORDERED = {
    f"{name}{suffix}"
    for name in ("index_add", "scatter_add", "scatter_reduce", "index_reduce", "put", "cumsum", "histc", "bincount")
    for suffix in ("", "_")
} | {"embedding_dense_backward", "index_put", "index_put_", "_unsafe_index_put", "_index_put_impl_"}
"""Operations of torch which, for real numbers on CUDA, may round otherwise from run to run."""


class Additions(TorchDispatchMode):
    """Notes such operations, also inside of kernels, and the file of the package or the derivative that makes them."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[tuple[str, str]] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func.namespace == "equireann":
            with self:
                return func._op_dk(getattr(torch._C.DispatchKey, DEVICE.upper()), *args, **kwargs)
        name = func.overloadpacket.__name__
        if name in UNORDERED and any(isinstance(x, Tensor) and x.is_floating_point() for x in args):
            self.found[name, place()] += 1
        return func(*args, **kwargs)


def place() -> str:
    """The innermost file of the package that is at work, or else the derivative."""
    frame: Any = sys._getframe(2)
    while frame is not None and PACKAGE not in Path(frame.f_code.co_filename).parents:
        frame = frame.f_back
    if frame is not None:
        return str(Path(frame.f_code.co_filename).relative_to(PACKAGE))
    node = torch._C._current_autograd_node()
    return "" if node is None else node.name()


@pytest.fixture
def without_choices(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU, where nobody looks at values."""
    for module in ("potential.potential", "models.network", "nn.repulsion"):
        monkeypatch.setattr(f"equireann_pyg.{module}.readable", lambda tensor: False)
    monkeypatch.setattr("equireann_pyg.training.loss.chosen", lambda values, where: torch.where(where, values, 0.0))


def labelled() -> Data:
    data = batch()
    data.energy = torch.ones(3, dtype=torch.float64, device=DEVICE)
    data.forces = torch.ones_like(data.pos)
    data.stress = torch.ones_like(data.cell)
    return data


@on_device
@pytest.mark.usefixtures("without_choices")
def test_a_training_step_adds_in_a_fixed_order() -> None:
    step = training_step(potential(SINGLE, degree=1), labelled(), Muon)
    with Additions() as made:
        step()
    assert not made.found, "remove what is new, by ops.row_sum or ops.rows_of"


@on_device
@pytest.mark.usefixtures("without_choices")
def test_unordered_additions_are_found() -> None:
    """Those of the references, and of torch's derivatives."""
    step = training_step(potential(SINGLE, degree=1), labelled(), Muon)
    with ops.by_reference(), Additions() as made:
        step()
    assert made.found.keys() >= {("index_add", "ops/rows.py"), ("index_add", "IndexSelectBackward0")}
