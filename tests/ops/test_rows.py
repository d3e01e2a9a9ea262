"""Sums of rows with the same number, the rows of numbers, and the order of edges that both may be given."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from equireann_pyg import EquiREANN, Potential
from equireann_pyg.ops import edge_order, more_atoms, row_sum, rows_of
from equireann_pyg.ops.operator import Operator
from equireann_pyg.potential.derivatives import position_gradient
from equireann_pyg.testing import assert_close, make_graph, random_cluster, randomize

INDEX = torch.tensor([2, 0, 2, 2, 4, 0])


@pytest.mark.parametrize("shape", [(6,), (6, 3), (6, 2, 2)])
def test_sums_and_rows_are_transposes(shape: tuple[int, ...]) -> None:
    x, y = torch.randn(shape), torch.randn(5, *shape[1:])
    made = row_sum(x, INDEX, None, 5)
    assert_close(made[2], x[0] + x[2] + x[3], 1e-6, "sum")
    assert torch.equal(made[[1, 3]], torch.zeros(2, *shape[1:]))
    assert torch.equal(rows_of(y, INDEX), y[INDEX])
    assert_close((made * y).sum(), (x * rows_of(y, INDEX)).sum(), 1e-5, "scalar product")
    assert row_sum(x[:0], INDEX[:0], None, 5).shape == y.shape


def test_more_atoms() -> None:
    edge_index = torch.tensor([[0, 3, 1, 0], [1, 0, 3, 3]])
    order = edge_order(edge_index, 4)
    for more in (0, 2):
        assert torch.equal(more_atoms(order, 4, more), edge_order(edge_index, 4 + more))


class Told(torch.nn.Module):
    """A model that asks for the order of the edges."""

    cutoff, elements = 3.0, [1, 6]

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))

    def forward(self, z: Tensor, edge_index: Tensor, edge_vec: Tensor, edge_order: Tensor) -> Tensor:
        self.told = z.numel(), edge_index, edge_order
        return row_sum(self.weight * edge_vec.square().sum(1), edge_index[1], edge_order[1], z.numel())


def test_models_are_told_the_order_of_the_edges() -> None:
    """Among all atoms that they are given, which are more where one of them is alone."""
    model = Told()
    alone = make_graph(torch.tensor([6, 1]), torch.tensor([[0.0, 0.0, 0.0], [2.9, 0.0, 0.0]]).double(), 3.0)
    for data, more in ((random_cluster([1, 6], 3.0, 8, 1.0), 0), (alone, 2)):
        assert float(Potential(model).eval()(data)["forces"].abs().max()) > 1e-2
        number, edge_index, order = model.told
        assert number == data.num_nodes + more
        assert torch.equal(order, edge_order(edge_index, number))


def test_edges_are_put_in_order_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model, calls, call = EquiREANN(["H", "C"], 3.0, num_density=4, hidden_channels=[4]), [], Operator.__call__
    randomize(model)

    def noted(self: Operator[..., Tensor], *args: object) -> Tensor:
        calls.append(self)
        return call(self, *args)

    monkeypatch.setattr(Operator, "__call__", noted)
    Potential(model)(random_cluster([1, 6], 3.0))
    assert calls.count(edge_order) == 1


def test_forces_with_and_without_the_order() -> None:
    data = random_cluster([1, 6], 3.0)
    graph, gradient = Potential(EquiREANN(["H", "C"], 3.0)).tensors(data), torch.randn(data.num_edges, 3)
    known = position_gradient([gradient], graph, edge_order(data.edge_index, data.num_nodes))
    assert torch.equal(known, position_gradient([gradient], graph))
    assert_close(known.sum(0) + 1, torch.ones(3), 1e-4, "no net force")
