"""TF32 is refused wherever a potential is trained or evaluated in float32 on a GPU; here by places that take a CPU for one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import lightning
import pytest
import torch
from ase.build import molecule

from equireann_pyg import EquiREANN, EquiREANNCalculator, Potential
from equireann_pyg.potential.devices import refuse_tf32
from equireann_pyg.testing import random_cluster, randomize
from equireann_pyg.training import PotentialTask

CUDA, CPU = torch.device("cuda"), torch.device("cpu")
PRODUCTS: Any = torch.backends.cuda.matmul
WAYS = {
    "high": lambda: torch.set_float32_matmul_precision("high"),
    "medium": lambda: torch.set_float32_matmul_precision("medium"),
    "allow_tf32": lambda: setattr(PRODUCTS, "allow_tf32", True),
}
if hasattr(PRODUCTS, "fp32_precision"):
    WAYS["fp32_precision"] = lambda: setattr(PRODUCTS, "fp32_precision", "tf32")


@pytest.fixture(params=WAYS)
def tf32(request: pytest.FixtureRequest) -> Iterator[None]:
    """TF32 is on, by every way in which torch lets it be."""
    WAYS[request.param]()
    yield
    torch.set_float32_matmul_precision("highest")


def potential() -> Potential:
    model = EquiREANN(["H", "O"], 3.0, num_radial=4, num_density=8, num_iterations=1, hidden_channels=[8])
    randomize(model)
    return Potential(model).eval()


def as_if_on_a_gpu(monkeypatch: pytest.MonkeyPatch, room: str) -> None:
    """Has a module ask for CUDA wherever it asks."""
    monkeypatch.setattr(f"equireann_pyg.{room}.refuse_tf32", lambda device, dtype: refuse_tf32(CUDA, dtype))


@pytest.mark.usefixtures("tf32")
def test_float32_on_a_gpu_is_refused() -> None:
    with pytest.raises(ValueError, match=r'TF32 is on, and .* on cuda.*set_float32_matmul_precision\("highest"\)'):
        refuse_tf32(CUDA, torch.float32)
    refuse_tf32(CUDA, torch.float64)
    refuse_tf32(CPU, torch.float32)


def test_torch_as_it_is_by_default() -> None:
    assert torch.get_float32_matmul_precision() == "highest"
    refuse_tf32(CUDA, torch.float32)


@pytest.mark.usefixtures("tf32")
def test_potentials(monkeypatch: pytest.MonkeyPatch) -> None:
    made, data = potential(), random_cluster([1, 8], 3.0)
    made(data)  # on a CPU
    as_if_on_a_gpu(monkeypatch, "potential.potential")
    with pytest.raises(ValueError, match="TF32 is on"):
        made(data)
    made.double()(data)


@pytest.mark.usefixtures("tf32")
def test_calculators(monkeypatch: pytest.MonkeyPatch) -> None:
    EquiREANNCalculator(potential())
    as_if_on_a_gpu(monkeypatch, "inference.calculator")
    with pytest.raises(ValueError, match="TF32 is on"):
        EquiREANNCalculator(potential())
    double = EquiREANNCalculator(potential(), dtype="float64", allow_untrained=True)
    assert double.get_potential_energy(molecule("H2O")) != 0


@pytest.mark.usefixtures("tf32")
@pytest.mark.parametrize("precision", ["32-true", "64-true"])
def test_training(precision: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    task = PotentialTask(potential())
    options: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    task.trainer = lightning.Trainer(accelerator="cpu", precision=precision, enable_model_summary=False, **options)
    task.setup("fit")
    monkeypatch.setattr(type(task.trainer.strategy), "root_device", property(lambda strategy: CUDA))
    if precision == "64-true":
        task.setup("fit")
    else:
        with pytest.raises(ValueError, match="TF32 is on"):
            task.setup("fit")
