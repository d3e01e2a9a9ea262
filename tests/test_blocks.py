"""Large systems in blocks: the same numbers with less memory."""

from __future__ import annotations

import pytest
import torch
from ase.build import bulk
from torch import Tensor

from equireann_pyg import REANN, EquiREANN, Potential, from_ase
from equireann_pyg.inference.blocks import BlockPotential
from equireann_pyg.inference.calculator import EquiREANNCalculator
from equireann_pyg.nn.blocks import by_rows, row_blocks
from equireann_pyg.ops import plain_path
from equireann_pyg.testing import assert_close, predict, random_cluster, random_crystal, randomize


def potential(kind: type[EquiREANN] = EquiREANN, width: int = 8) -> Potential:
    """A small potential for H and Cu, always with the same parameters."""
    torch.manual_seed(0)
    model = kind(["H", "Cu"], 3.0, num_radial=4, num_density=width, num_iterations=2, hidden_channels=[width])
    randomize(model)
    return Potential(model.double())


@pytest.mark.parametrize("kind", [EquiREANN, REANN])
@pytest.mark.parametrize("size", [1, 2, 1000])
def test_blocks_of_any_size_give_the_same_numbers(kind: type[EquiREANN], size: int) -> None:
    for graph in (random_cluster([1, 29], 3.0, 8), random_crystal([1, 29], 3.0, 3)):
        expected = potential(kind).eval()(graph)
        for path in (BlockPotential(potential(kind), size), _plain(BlockPotential(potential(kind), size))):
            output = path(graph)
            assert output.keys() == expected.keys()
            for name, value in expected.items():
                assert_close(output[name], value, 1e-11, name)


def _plain(evaluate: BlockPotential):
    def call(graph):
        with plain_path():
            return evaluate(graph)

    return call


def test_rows_of_a_function_and_its_derivative() -> None:
    x, y = torch.randn(11, 32, dtype=torch.float64), torch.randn(11, dtype=torch.float64)
    rows: list[int] = []

    def function(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        rows.append(len(x))
        return x.sin() * y.unsqueeze(1), x.square().sum(1) + y

    def gradients() -> list[Tensor]:
        leaves = [x.clone().requires_grad_(), y.clone().requires_grad_()]
        first, second = by_rows(function, *leaves)
        return [first.detach(), second.detach(), *torch.autograd.grad(first.cos().sum() + (second**3).sum(), leaves)]

    expected = gradients()
    assert rows == [11]
    with row_blocks(2):
        actual = gradients()
    assert rows[1:] == [4, 4, 3, 4, 4, 3]  # forward, and once more for the derivative
    for mine, theirs in zip(actual, expected, strict=True):
        assert_close(mine, theirs, 1e-14, "rows")
    assert gradients()[0].shape == (11, 32)  # the context is over


class Kept:
    """Numbers that autograd keeps for the way back: now, and at most."""

    now = most = 0

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor
        Kept.now += tensor.numel()
        Kept.most = max(Kept.most, Kept.now)

    def __del__(self) -> None:
        Kept.now -= self.tensor.numel()


def test_memory_stays_with_the_blocks() -> None:
    graph, made = random_crystal([29], 3.0, 3), potential(width=256).requires_grad_(False)

    def most() -> int:
        Kept.now = Kept.most = 0
        with torch.autograd.graph.saved_tensors_hooks(Kept, lambda kept: kept.tensor), plain_path():
            predict(made, graph)
        return Kept.most

    whole = most()
    with row_blocks(1):
        assert most() < 0.5 * whole


def test_calculator_in_blocks() -> None:
    atoms = bulk("Cu", cubic=True).repeat(2)
    atoms.rattle(0.05, seed=1)
    atoms.calc = EquiREANNCalculator(potential())
    energy, forces = atoms.get_potential_energy(), atoms.get_forces()
    atoms.calc = EquiREANNCalculator(potential(), block_size=10)
    assert atoms.get_potential_energy() == pytest.approx(energy, rel=1e-12)
    assert atoms.get_forces() == pytest.approx(forces, rel=1e-9, abs=1e-12)


def test_bad_sizes() -> None:
    with pytest.raises(ValueError, match="block_size"):
        BlockPotential(potential(), 0)
    with pytest.raises(ValueError, match="row_blocks"), row_blocks(0):
        pass


def test_from_ase_graph_of_a_large_cell_is_not_altered() -> None:
    graph = from_ase(bulk("Cu", cubic=True).repeat(2), 3.0)
    before = graph.pos.clone()
    BlockPotential(potential(), 16)(graph)
    assert torch.equal(graph.pos, before)
