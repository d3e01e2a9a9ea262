"""EquiREANN-plus by the kernels for CUDA: its tables, its rule and its repulsion, on a batch of every kind of structure."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

from equireann_pyg import EquiREANNPlus, Potential, ops
from equireann_pyg.nn import ZBL, Directed, SphericalHarmonics
from equireann_pyg.ops.gpu import DEVICE, INTERPRETED
from equireann_pyg.ops.operator import Kernel, Operator
from equireann_pyg.testing import make_graph, random_cluster, random_crystal, randomize
from tests.ops.triton_cases import CASES, DOUBLE, SINGLE, SIZES, moved, on_device

CUTOFF = 2.3
USED = {
    *("orbital_sum", "gaussians", "polynomials", "coupled", "self_coupled", "product_invariants"),
    *("element_linear", "degree_linear", "soft_standardize", "row_sum", "rows_of"),
}
PRECISION = {DOUBLE: 1e-9, SINGLE: 2e-4}
LAUNCHES = Path(import_module("equireann_pyg.ops.cuda").__path__[0])
LOOKS = ("tolist", "item", "__bool__", "__int__", "__float__", "__index__")


def potential(kind: torch.dtype, num_iterations: int = 1, degree: int = 3) -> Potential:
    """A small EquiREANN-plus-m with its repulsion, and by default with harmonics to the same degree."""
    small: dict[str, Any] = {"num_radial": 5, "num_products": 3, "num_messages": 2, "hidden_channels": [4]}
    model = EquiREANNPlus(["H", "C"], CUTOFF, SphericalHarmonics(degree), **small, num_iterations=num_iterations)
    randomize(model)
    assert all(isinstance(rule, Directed) for rule in model.rules)
    made = Potential(model, repulsion=ZBL())
    made.set_references({"H": -1.0, "C": -2.0}, scale=2.0, binding={1: -0.5, 6: -1.0})
    return made.to(DEVICE, kind)


def batch() -> Data:
    """A molecule with atoms that repel each other, a cell whose atoms meet their own images, and an isolated atom."""
    alone = make_graph(torch.tensor([6]), torch.zeros(1, 3, dtype=torch.float64), CUTOFF)
    graphs = [random_cluster([6, 1], CUTOFF, 4, 1.1), random_crystal([6, 1], CUTOFF, 2, 2.2), alone]
    return Batch.from_data_list(graphs).to(DEVICE)


def evaluated(made: Potential, data: Data) -> dict[str, Tensor]:
    """Energy, forces and stress, and the gradients of a loss of forces and stress."""
    output = made.train()(data)
    stress = output["stress"].nan_to_num()
    loss = output["forces"].square().sum() + 100 * stress.square().sum()
    weights = dict(made.named_parameters())
    gradients = torch.autograd.grad(loss, list(weights.values()))
    found = {"energy": output["energy"], "forces": output["forces"], "stress": stress}
    return {name: x.detach() for name, x in (found | dict(zip(weights, gradients, strict=True))).items()}


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> dict[str, set[bool]]:
    """Operators that are called, and whether a kernel has served them, always or sometimes."""
    seen: dict[str, set[bool]] = {}
    serving = Operator.serving

    def noted(self: Operator[..., Any], values: tuple[Any, ...]) -> Kernel | None:
        kernel = serving(self, values)
        seen.setdefault(self.__name__, set()).add(kernel is not None)  # type: ignore[attr-defined]
        return kernel

    monkeypatch.setattr(Operator, "serving", noted)
    return seen


SLOW = [pytest.param(*run, marks=pytest.mark.slow) for run in ((SINGLE, 1, 2), (DOUBLE, 2, 3))]
RUNS = [(DOUBLE, 1, 3), *SLOW]
"""Type, iterations and largest degree."""


@on_device
@pytest.mark.parametrize(("kind", "num_iterations", "degree"), RUNS, ids=str)
def test_energy_forces_stress_and_gradients(
    kind: torch.dtype, num_iterations: int, degree: int, served: dict[str, set[bool]]
) -> None:
    """By the kernels, which serve every operator, and by the references."""
    made, data = potential(kind, num_iterations, degree), batch()
    found = evaluated(made, data)
    by_kernels = {name: set(ways) for name, ways in served.items()}
    for _ in range(0 if INTERPRETED else 5):  # to the last bit; the interpreter has no choice
        assert all(torch.equal(value, found[name]) for name, value in evaluated(made, data).items())
    assert by_kernels.keys() >= USED
    assert {name for name, ways in by_kernels.items() if ways != {True}} == {"edge_order"}
    with ops.by_reference():
        expected = evaluated(made, data)
    for name, theirs in expected.items():
        size = float(theirs.abs().max())
        assert size > 1e-5, name
        assert torch.allclose(found[name], theirs, rtol=PRECISION[kind], atol=PRECISION[kind] * size), name


class LookError(AssertionError):
    """A launch has looked at the values of a tensor, which on a GPU means to wait for it."""


@pytest.fixture
def no_looks(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """What makes it an error, from then on, if a file of ops/cuda itself looks at values."""

    def refused(name: str) -> Callable[..., Any]:
        look = getattr(Tensor, name)

        def looked(self: Tensor) -> Any:
            caller = Path(sys._getframe(1).f_code.co_filename)
            if caller.parent == LAUNCHES:
                raise LookError(f"{caller.name}: {name}")
            return look(self)

        return looked

    def begin() -> None:
        for name in LOOKS:
            monkeypatch.setattr(Tensor, name, refused(name))

    return begin


@on_device
def test_launches_do_not_look_at_values(no_looks: Callable[[], None]) -> None:
    """Once the tables of a model are known."""
    made, data = potential(DOUBLE, degree=1), random_crystal([6, 1], CUTOFF, 2, 2.4).to(DEVICE)
    before = evaluated(made, data)
    no_looks()
    assert torch.allclose(made.eval()(data)["forces"], before["forces"], rtol=1e-9)
    for name, value in evaluated(made, data).items():
        assert torch.allclose(value, before[name], rtol=1e-9), name


@on_device
def test_a_look_is_found(no_looks: Callable[[], None]) -> None:
    arguments = moved(*CASES["coupled"][1](*SIZES[0]), dtype=DOUBLE)
    no_looks()
    with pytest.raises(LookError, match=r"coupled.py: tolist"):  # at a table that is new
        ops.coupled(*arguments)
