"""Large systems in blocks: the same numbers with less memory."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from ase.build import bulk
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from equireann_pyg import REANN, EquiREANN, EquiREANNPlus, Potential, from_ase
from equireann_pyg.inference.blocks import BlockPotential
from equireann_pyg.inference.calculator import EquiREANNCalculator
from equireann_pyg.models.blocks import in_blocks
from equireann_pyg.nn import ZBL, SphericalHarmonics
from equireann_pyg.ops import by_reference
from equireann_pyg.ops.values import readable, waiting
from equireann_pyg.testing import assert_close, random_cluster, random_crystal, randomize


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
        with by_reference():
            return evaluate(graph)

    return call


def test_rows_of_a_function_and_its_derivative() -> None:
    x, y = torch.randn(11, 32, dtype=torch.float64), torch.randn(11, dtype=torch.float64)
    rows: list[int] = []

    def function(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        rows.append(len(x))
        return x.sin() * y.unsqueeze(1), x.square().sum(1) + y

    def gradients(evaluate: Callable[..., tuple[Tensor, ...]]) -> list[Tensor]:
        leaves = [x.clone().requires_grad_(), y.clone().requires_grad_()]
        first, second = evaluate(*leaves)
        return [first.detach(), second.detach(), *torch.autograd.grad(first.cos().sum() + (second**3).sum(), leaves)]

    expected = gradients(function)
    assert rows == [11]
    actual = gradients(partial(in_blocks, 2, function))
    assert rows[1:] == [4, 4, 3, 4, 4, 3]  # forward, and once more for the derivative
    for mine, theirs in zip(actual, expected, strict=True):
        assert_close(mine, theirs, 1e-14, "rows")


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

    def most(evaluate: Potential | BlockPotential) -> int:
        Kept.now = Kept.most = 0
        with torch.autograd.graph.saved_tensors_hooks(Kept, lambda kept: kept.tensor), by_reference():
            evaluate(graph)
        return Kept.most

    assert most(BlockPotential(made, 1)) < 0.5 * most(made.eval())


def test_blocks_are_refused_in_training() -> None:
    """There they would lose the gradients of the parameters."""
    graph, made = random_cluster([1, 29], 3.0, 8), potential().train()
    output = BlockPotential(made, 1)(graph)
    assert made.training
    assert not output["energy"].requires_grad
    made(graph)["forces"].square().sum().backward()
    assert sum(p.grad is not None for p in made.parameters()) > 20
    made.model.block_size = 1
    with pytest.raises(RuntimeError, match="no gradients of parameters"):
        made(graph)


def test_blocks_follow_the_potential() -> None:
    """Its weights and statistics, also those that are put in the place of others."""
    graph, made = random_cluster([1, 29], 3.0, 8), potential().eval().float()
    blocks = BlockPotential(made, 2)

    def agree() -> None:
        assert_close(blocks(graph)["forces"], made(graph)["forces"], 1e-11, "forces")

    randomize(made)
    made.double()
    agree()
    made.model.scalings[0].mean.normal_()
    agree()
    made.model.coefficient = torch.nn.Parameter(2 * made.model.coefficient.detach())
    agree()


def test_orbitals_of_degree_zero() -> None:
    """Their angular part does not vary."""
    model = EquiREANN(["H"], 3.0, SphericalHarmonics(0), num_radial=4, num_density=4, hidden_channels=[4])
    randomize(model)
    made, graph = Potential(model.double()).eval(), random_cluster([1], 3.0, 8)
    with by_reference():
        assert_close(BlockPotential(made, 1)(graph)["forces"], made(graph)["forces"], 1e-11, "forces")


class Constant(torch.nn.Module):
    """A model that knows nothing of blocks."""

    cutoff, elements = 3.0, (1,)


def test_models_without_blocks_are_refused() -> None:
    with pytest.raises(TypeError, match="Constant cannot be evaluated in blocks"):
        BlockPotential(Potential(Constant()), 2)


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


def test_from_ase_graph_of_a_large_cell_is_not_altered() -> None:
    graph = from_ase(bulk("Cu", cubic=True).repeat(2), 3.0)
    before = graph.pos.clone()
    BlockPotential(potential(), 16)(graph)
    assert torch.equal(graph.pos, before)


class Alive(TorchDispatchMode):
    """Largest number of bytes that tensors hold at once."""

    def __init__(self) -> None:
        super().__init__()
        self.alive, self.peak = dict[StorageWeakRef, int](), 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_iter(out):
            if isinstance(tensor, Tensor):
                self.alive[StorageWeakRef(tensor.untyped_storage())] = tensor.untyped_storage().nbytes()
        self.alive = {storage: size for storage, size in self.alive.items() if not storage.expired()}
        self.peak = max(self.peak, sum(self.alive.values()))
        return out


@pytest.mark.parametrize(("kind", "largest"), [(EquiREANN, 1.4), (EquiREANNPlus, 1.1)])
def test_memory_is_known_before(kind: type[EquiREANN], largest: float) -> None:
    model = kind(["Cu"], 5.0)
    evaluate = BlockPotential(Potential(model, repulsion=ZBL()).requires_grad_(False), 16)
    evaluate.potential.allow_untrained = True
    atoms = bulk("Cu", cubic=True) * (4, 4, 4)
    with Alive() as found:
        graph = from_ase(atoms.copy(), 5.0)
        evaluate(graph, stress=False)
    expected = evaluate.expected_bytes(len(atoms), graph.edge_index.size(1))
    assert expected > 1e6
    assert expected / 1.1 < found.peak < largest * expected
    assert evaluate.expected_bytes(2 * len(atoms), 2 * graph.edge_index.size(1)) == 2 * expected


def test_blocks_look_at_values_on_any_device() -> None:
    elsewhere = torch.empty(2, device="meta")
    assert not readable(elsewhere)
    with waiting():
        assert readable(elsewhere)
    assert not readable(elsewhere)
