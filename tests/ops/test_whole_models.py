"""Whole models through the kernels and through plain torch."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import pytest
import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

from equireann_pyg import EANN, REANN, EquiREANN, Potential
from equireann_pyg.nn import CartesianMoments
from equireann_pyg.ops import by_reference, edge_order
from equireann_pyg.testing import assert_close, make_graph, random_cluster, random_crystal, sample_graphs
from tests.test_golden import GOLDEN, POSITIONS, golden_model

GRAPHS: dict[str, Callable[[], Data]] = {
    "cluster": lambda: random_cluster([1, 6], 3.0, 12),
    "one element": lambda: random_cluster([6], 3.0, 6),
    "crystal": lambda: random_crystal([1, 6], 3.0, 3),
    "batch": lambda: Batch.from_data_list(sample_graphs([1, 6], 3.0)),
}


def both_paths(function: Callable[[], dict[str, Tensor]]) -> list[tuple[str, Tensor, Tensor]]:
    """Name, kernels' value and plain value of every result."""
    actual = function()
    with by_reference():
        expected = function()
    return [(name, actual[name].detach(), expected[name].detach()) for name in expected]


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("kind", [EquiREANN, REANN, EANN])
def test_energy_forces_and_stress(
    kind: type[EquiREANN], graph: str, make_potential: Callable[..., Potential], dtype: torch.dtype
) -> None:
    torch.manual_seed(1)  # with 0 a stress is what two large numbers leave: plain float32 is 4e-5 from float64
    potential, data = make_potential(kind).eval(), GRAPHS[graph]()
    for name, actual, expected in both_paths(lambda: potential(data)):
        known = expected.isfinite()
        assert torch.equal(known, actual.isfinite())
        assert_close(actual[known], expected[known], 1e-5 if dtype == torch.float32 else 1e-11, name)


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("options", [{}, {"angular": CartesianMoments(2, unit=False), "num_radial": 3}], ids=str)
@pytest.mark.parametrize("kind", [EquiREANN, REANN, EANN])
def test_gradient_of_a_force_loss(
    kind: type[EquiREANN], options: dict[str, object], make_potential: Callable[..., Potential], double: torch.dtype
) -> None:
    potential, data = make_potential(kind, **options).train(), random_cluster([1, 6], 3.0, 12)

    def gradients() -> dict[str, Tensor]:
        parameters = {
            name: p for name, p in potential.named_parameters() if not name.endswith("readout.network.out.bias")
        }
        loss = potential(data)["forces"].square().sum()
        return dict(zip(parameters, torch.autograd.grad(loss, list(parameters.values())), strict=True))

    for name, actual, expected in both_paths(gradients):
        assert_close(actual, expected, 1e-9, name, smallest=1e-6)


@pytest.mark.parametrize("path", ["kernels", "plain"])
@pytest.mark.parametrize(("unit", "kind"), GOLDEN, ids=lambda value: getattr(value, "__name__", f"unit={value}"))
def test_golden_values_on_both_paths(unit: bool, kind: type[EquiREANN], path: str, kernels: None) -> None:
    _, energy, force = GOLDEN[unit, kind]
    potential = Potential(golden_model(kind, unit)).eval()
    data = make_graph(torch.full((4,), 6), torch.tensor(POSITIONS, dtype=torch.float64), cutoff=3.0)
    with by_reference() if path == "plain" else nullcontext():
        assert (edge_order.serving((data.edge_index, 4)) is not None) == (path == "kernels")
        output = potential(data)
    assert float(output["energy"]) == pytest.approx(energy, abs=1e-9)
    assert output["forces"][0].tolist() == pytest.approx(force, abs=1e-9)
