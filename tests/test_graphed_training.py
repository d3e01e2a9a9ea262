"""Tasks that train by recorded evaluations: the same steps as without."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from torch_geometric.data import Data
from torch_geometric.loader import DataLoader

from equireann_pyg import Potential
from equireann_pyg.inference.graphed import GraphedPotential
from equireann_pyg.testing import random_cluster, random_crystal
from equireann_pyg.training import Evaluation, ExponentialMovingAverage, PotentialTask, prepare_potential
from equireann_pyg.training.task import adamw
from tests.recorders import EagerlyGraphed
from tests.test_padding import CUTOFF, potential

ON_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
WHERE = [
    pytest.param("cpu", EagerlyGraphed(), id="without CUDA"),
    pytest.param("gpu", Evaluation(graphed=True), marks=ON_GPU, id="CUDA"),
]
pytestmark = [
    pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers"),
    pytest.mark.filterwarnings("ignore:Trying to infer the `batch_size`"),
]


def labelled_graphs() -> list[Data]:
    """Seven graphs, open and periodic, of different sizes, with the energies and forces of another potential."""
    teacher = potential("reann")
    graphs = [random_cluster([1, 6], CUTOFF, size, seed=size) for size in (3, 9, 5, 12)]
    graphs += [random_crystal([1, 6], CUTOFF, size, seed=size) for size in (2, 3, 4)]
    for graph in graphs:
        output = teacher(graph, stress=False)
        graph.energy, graph.forces, graph.dipole = output["energy"], output["forces"], output["dipole"]
    return graphs


def sgd(parameters: Any) -> torch.optim.Optimizer:
    """Steps that do not blow up what is nothing but rounding, as Adam's do."""
    return torch.optim.SGD(parameters, lr=1e-2, momentum=0.9)


def trained(
    made: Potential, graphs: list[Data], evaluation: Evaluation, accelerator: str, **options: Any
) -> PotentialTask:
    """A task after a run of several epochs, whose validation has the averaged weights."""
    precision = "64-true" if made.dtype == torch.float64 else "32-true"
    task = PotentialTask(
        deepcopy(made).train(), optimizer=adamw if precision == "64-true" else sgd, evaluation=evaluation
    )
    loader = DataLoader(graphs, batch_size=2)  # the last batch has one graph
    trainer = lightning.Trainer(
        accelerator=accelerator,
        devices=1,
        precision=precision,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        inference_mode=False,
        callbacks=[ExponentialMovingAverage(0.9)],
        gradient_clip_val=1.0,
        **options,
    )
    trainer.fit(task, loader, loader)
    return task


@pytest.mark.parametrize(("accelerator", "evaluation"), WHERE)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)], ids=["64", "32"])
@pytest.mark.parametrize(
    "options", [{"max_epochs": 1}, {"max_epochs": 2, "accumulate_grad_batches": 2}], ids=["steps", "accumulated"]
)
def test_a_run_ends_with_the_same_weights(
    options: dict[str, int], dtype: torch.dtype, tolerance: float, accelerator: str, evaluation: Evaluation
) -> None:
    made, graphs = potential("plus", dtype), labelled_graphs()
    prepare_potential(made, graphs)
    before = {name: value.clone() for name, value in made.state_dict().items()}
    expected = trained(made, graphs, Evaluation(), accelerator, **options)
    actual = trained(made, graphs, evaluation, accelerator, **options)
    assert isinstance(actual.evaluate, GraphedPotential)
    assert not actual.evaluate._recorded  # given back
    assert expected.trainer.global_step == actual.trainer.global_step >= 3
    moved = 0.0
    for name, value in expected.potential.state_dict().items():
        largest = float(value.double().abs().max()) if value.numel() else 0.0
        mine = actual.potential.state_dict()[name]
        torch.testing.assert_close(
            mine, value, rtol=tolerance, atol=tolerance * largest, msg=lambda m, n=name: f"{n}: {m}"
        )
        moved = max(moved, float((value.double() - before[name].double()).abs().max()) if value.numel() else 0.0)
    assert moved > 1e-3
    losses = [float(task.trainer.callback_metrics["val/loss"]) for task in (expected, actual)]
    assert losses[1] == pytest.approx(losses[0], rel=10 * tolerance)


def test_a_run_refuses_to_record_beside_cuda(tmp_path: Path) -> None:
    task = PotentialTask(potential(), evaluation=Evaluation(graphed=True))
    trainer = lightning.Trainer(
        accelerator="cpu", logger=False, default_root_dir=tmp_path, enable_checkpointing=False, max_steps=1
    )
    with pytest.raises(ValueError, match=r"model.evaluation.graphed: .* on CUDA devices, and this run is on cpu"):
        trainer.fit(task, DataLoader([]), DataLoader([]))


def test_compiled_or_recorded() -> None:
    with pytest.raises(ValueError, match="compiled and graphed exclude each other"):
        Evaluation(compiled=True, graphed=True)


def test_a_copy_of_a_task_has_recordings_of_its_own() -> None:
    task = PotentialTask(potential(), evaluation=EagerlyGraphed())
    task.evaluate(labelled_graphs()[0])
    copy = deepcopy(task)
    assert copy.evaluate.potential is copy.potential is not task.potential
    assert not copy.evaluate._recorded  # type: ignore[union-attr]
