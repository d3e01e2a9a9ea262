"""The sum over neighbours: every route of its kernels and its second derivatives, misuse, and watched layers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

import equireann_pyg.nn.conv
from equireann_pyg.nn import OrbitalConv
from equireann_pyg.ops import by_reference, edge_order, orbital_sum
from equireann_pyg.testing import assert_close
from tests.ops.threads import with_threads

pytestmark = pytest.mark.usefixtures("kernels", "one_thread")

NUM_NODES, NUM_EDGES = 40, 160  # several tasks per thread
SHAPES = [(4, 8), (9, 8), (9, 3), (10, 4), (1, 1), (16, 16), (20, 5), (25, 12)]
NAMES = ("coefficient", "orbital", "radial", "angular", "envelope")
Fields = dict[str, Tensor]


def make_fields(lm: int, n: int, num_nodes: int = NUM_NODES, num_edges: int = NUM_EDGES, wide: bool = False) -> Fields:
    """Random inputs by name, without the edges."""
    return {
        "coefficient": torch.randn(num_nodes, n),
        "orbital": torch.randn(num_nodes, lm, n),
        "radial": torch.randn(num_edges, n),
        "angular": torch.randn(num_edges, lm),
        "envelope": torch.rand(num_edges, n) if wide else torch.rand(num_edges),
    }


def make_edges(by_centre: bool = False, num_nodes: int = NUM_NODES, num_edges: int = NUM_EDGES) -> Tensor:
    """Edges ``[2, E]``, in no order or sorted by centre; the last two atoms have none."""
    edge_index = torch.randint(0, num_nodes - 2, (2, num_edges))
    return edge_index[:, torch.argsort(edge_index[1], stable=True)] if by_centre else edge_index


def evaluate(fields: Fields, edge_index: Tensor, conv: OrbitalConv | None = None) -> Tensor:
    """Output of the layer; without "orbital" in the fields there is none."""
    c, M, R, Y, f = (fields.get(name) for name in NAMES)
    return (conv or OrbitalConv())(c, M, edge_index, R, Y, f)


def derivatives(fields: Fields, edge_index: Tensor, wanted: Sequence[str] | None = None) -> dict[str, Tensor]:
    """Value, gradients by the wanted fields, and gradients of a function of these gradients."""
    wanted = wanted or list(fields)
    leaves = {name: x.detach().clone().requires_grad_(name in wanted) for name, x in fields.items()}
    inputs = [leaves[name] for name in wanted]
    value = evaluate(leaves, edge_index)
    first = torch.autograd.grad(value.sin().sum(), inputs, create_graph=True)
    second = torch.autograd.grad(sum(g.square().sum() for g in first), inputs)
    result = {"value": value} | {f"d {name}": g for name, g in zip(wanted, first, strict=True)}
    result |= {f"dd {name}": g for name, g in zip(wanted, second, strict=True)}
    return {name: x.detach() for name, x in result.items()}


def assert_paths_agree(fields: Fields, edge_index: Tensor, tolerance: float, wanted: Sequence[str]) -> None:
    """Kernels and plain path: the same value, first and second derivatives."""
    actual, again = (derivatives(fields, edge_index, wanted) for _ in range(2))
    torch.set_num_threads(1)
    with by_reference():
        expected = derivatives(fields, edge_index, wanted)
    for name, value in expected.items():
        assert_close(actual[name], value, tolerance, name, smallest=1e-2)
        assert torch.equal(again[name], actual[name]), f"{name}: other bits in the second call"


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("by_centre", [True, False])
@pytest.mark.parametrize(("lm", "n"), SHAPES)
def test_against_the_reference(lm: int, n: int, by_centre: bool, threads: int, dtype: torch.dtype) -> None:
    """One thread adds up the gradients of the atoms in another way than several do."""
    tolerance, edge_index = 2e-5 if dtype == torch.float32 else 1e-13, make_edges(by_centre)
    narrow, wide = make_fields(lm, n), make_fields(lm, n, wide=True)
    alone = {name: x for name, x in narrow.items() if name != "orbital"}
    for fields, wanted in ((narrow, NAMES), (wide, NAMES), (alone, ("coefficient", "radial", "angular"))):
        torch.set_num_threads(threads)
        assert_paths_agree(fields, edge_index, tolerance, wanted)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("wanted", ["radial angular envelope", "coefficient orbital", "radial", "envelope", "angular"])
def test_derivatives_by_some_fields_only(wanted: str, threads: int, double: torch.dtype) -> None:
    torch.set_num_threads(threads)
    assert_paths_agree(make_fields(9, 8), make_edges(), 1e-13, wanted.split())


@pytest.mark.parametrize("wanted", [NAMES, ("coefficient", "radial", "angular")], ids=["all", "without orbital"])
def test_by_differences(wanted: tuple[str, ...], double: torch.dtype) -> None:
    edge_index, fields = make_edges(False, 4, 6), make_fields(4, 1, 4, 6)
    fields = {name: x for name, x in fields.items() if name in (*wanted, "envelope")}

    def function(*inputs: Tensor) -> Tensor:
        return evaluate(fields | dict(zip(wanted, inputs, strict=True)), edge_index)

    inputs = [fields[name].requires_grad_() for name in wanted]
    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs)


@pytest.mark.parametrize("num_nodes", [0, 3])
def test_derivatives_without_edges(num_nodes: int, dtype: torch.dtype) -> None:
    leaves = [x.requires_grad_() for x in make_fields(9, 8, num_nodes, 0).values()]
    value = evaluate(dict(zip(NAMES, leaves, strict=True)), torch.zeros(2, 0, dtype=torch.long))
    first = torch.autograd.grad((value + 1).square().sum(), leaves, create_graph=True)
    second = torch.autograd.grad(sum(g.sum() for g in first), leaves)
    assert all(torch.equal(g, torch.zeros_like(x)) for g, x in zip((*first, *second), (*leaves, *leaves), strict=True))


def transposed(x: Tensor) -> Tensor:
    """The same numbers with the strides in reverse order."""
    order = range(x.dim())[::-1]
    return x.permute(*order).contiguous().permute(*order)


@pytest.mark.parametrize("lm", [4, 9])
def test_views(lm: int, double: torch.dtype) -> None:
    """Fields that are transposed or expanded, edges of other strides, and a constant upstream gradient."""
    fields, edge_index = make_fields(lm, 8), make_edges()
    views = {name: transposed(x) for name, x in fields.items()} | {"envelope": torch.full((1,), 0.7).expand(NUM_EDGES)}
    copies = {name: x.contiguous() for name, x in views.items()}
    gradients = []
    for some, edges in ((views, transposed(edge_index)), (copies, edge_index)):
        leaves = [x.requires_grad_() for x in some.values()]
        gradients.append(torch.autograd.grad(evaluate(some, edges).sum(), leaves))
    for mine, theirs in zip(*gradients, strict=True):
        assert_close(mine, theirs, 1e-14, "gradient")


def differing(lm: int, n: int, by_centre: bool) -> list[str]:
    """Results that have other bits with two threads than with one."""
    fields, edge_index = make_fields(lm, n), make_edges(by_centre)
    one, two = with_threads(lambda: derivatives(fields, edge_index))
    return [name for name in one if not torch.equal(one[name], two[name])]


def test_threads_give_the_same_bits(dtype: torch.dtype) -> None:
    """For edges sorted by centre, as in every graph of this package, and the common numbers of components."""
    assert [differing(lm, n, by_centre=True) for lm, n in ((4, 8), (9, 8), (10, 4), (16, 16))] == [[]] * 4


WRONG: dict[str, Callable[[Tensor], Tensor]] = {  # by the first word
    "radial of one dimension": lambda x: x[:, 0],
    "radial of 3 dimensions": lambda x: x.unsqueeze(2).expand(-1, -1, 2),
    "angular of more components": lambda x: torch.cat([x, x], 1),
    "angular of 3 dimensions": lambda x: x.unsqueeze(2).expand(-1, -1, 2),
    "envelope of other channels": lambda x: x.unsqueeze(1).expand(-1, 3),
    "envelope of 3 dimensions": lambda x: x.view(-1, 1, 1).expand(-1, 1, 8),
    "coefficient of fewer atoms": lambda x: x[1:],
    "coefficient of 3 dimensions": lambda x: x.unsqueeze(2).expand(-1, -1, 2),
    "edge_index of 32 bits": lambda x: x.int(),
    "edge_index of 3 rows": lambda x: torch.cat([x, x[:1]]),
    "order of 64 bits": lambda x: x.long(),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_inputs_are_refused(case: str) -> None:
    edge_index, field = make_edges(), case.split()[0]
    inputs: Any = make_fields(4, 8) | {"edge_index": edge_index, "order": edge_order(edge_index, NUM_NODES)}
    inputs[field] = WRONG[case](inputs[field])
    with pytest.raises((ValueError, IndexError, RuntimeError)):
        orbital_sum(**inputs)


MISUSE = """
import torch
from equireann_pyg.ops import edge_order, load_kernels, orbital_sum
load_kernels()
edges = torch.randint(0, 5, (2, 14))
fields = dict(coefficient=torch.randn(5, 8), orbital=torch.randn(5, 4, 8), radial=torch.randn(14, 8))
fields |= dict(angular=torch.randn(14, 4), envelope=torch.rand(14))
try:
    {misuse}
except (ValueError, IndexError, RuntimeError):
    print("refused")
"""


MISUSES = {
    "negative number of atoms": "edge_order(edges[:, :0], -1)",
    "order of one row": "orbital_sum(**fields, edge_index=edges, order=edge_order(edges, 5)[:1])",
    "order of other edges": "orbital_sum(**fields, edge_index=edges + 10**9, order=edge_order(edges, 5))",
}


@pytest.mark.parametrize("misuse", MISUSES)
def test_misuse_is_refused(misuse: str) -> None:
    """In a process of its own, which may die."""
    command = [sys.executable, "-c", MISUSE.format(misuse=MISUSES[misuse])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "refused"), done.stderr


class Atomic(OrbitalConv):
    """A layer with messages of its own."""

    def message(self, coefficient_j: Tensor, radial: Tensor, angular: Tensor) -> Tensor:  # type: ignore[override]
        return angular.unsqueeze(-1) * (coefficient_j * radial).unsqueeze(-2)


def changed(step: str = "", **attributes: Any) -> OrbitalConv:
    """A layer with a hook and attributes."""
    conv = OrbitalConv()
    if step:
        getattr(conv, f"register_{step}_hook")(lambda *arguments: None)
    for name, value in attributes.items():
        setattr(conv, name, value)
    return conv


LAYERS: dict[str, Callable[[], OrbitalConv]] = {
    "default": OrbitalConv,
    "add": lambda: OrbitalConv(aggr="add"),
    "message of its own": Atomic,
    "unfused": lambda: changed(fuse=False),
    "explained": lambda: changed(explain=True, _edge_mask=torch.linspace(-2, 2, NUM_EDGES)),
    "mean": lambda: OrbitalConv(aggr="mean"),
    "other flow": lambda: OrbitalConv(flow="target_to_source"),
    "hook": lambda: changed("message_forward"),
    "hook around": lambda: changed("propagate_forward"),
}


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows with every fused sum."""
    seen: list[int] = []
    monkeypatch.setattr(equireann_pyg.nn.conv, "orbital_sum", lambda *x: seen.append(1) or orbital_sum(*x))
    return seen


@pytest.mark.parametrize("name", LAYERS)
def test_which_route_is_taken(name: str, calls: list[int]) -> None:
    fields, edge_index = make_fields(4, 8), make_edges()
    actual = evaluate(fields, edge_index, LAYERS[name]())
    fused = [1] if name in ("default", "add") else []
    assert calls == fused
    with by_reference():
        assert_close(actual, evaluate(fields, edge_index, LAYERS[name]()), 1e-5, "sum")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert_close(actual, evaluate(fields, edge_index, LAYERS[name]()).float(), 1e-5, "autocast")
    mixed = fields | {"radial": fields["radial"].double()}
    assert_close(actual, evaluate(mixed, edge_index, LAYERS[name]()).float(), 1e-5, "float32 and float64")
    assert calls == 4 * fused


@pytest.mark.filterwarnings("ignore:Sparse (CSR tensor support|invariant checks):UserWarning")
@pytest.mark.parametrize("layout", [torch.sparse_coo, torch.sparse_csr])
def test_sparse_adjacency(layout: torch.layout, calls: list[int]) -> None:
    """The transposed adjacency matrix, with the edges in its order, gives value and derivatives of ``edge_index``."""
    i, j = torch.unique(make_edges().flip(0), dim=1)  # sorted by centre, then by neighbour
    matrix = torch.sparse_coo_tensor(torch.stack([i, j]), torch.ones(len(i)), (NUM_NODES, NUM_NODES)).coalesce()
    fields = make_fields(9, 8, num_edges=len(i))
    expected = derivatives(fields, torch.stack([j, i]))
    for name, value in derivatives(fields, matrix.to_sparse(layout=layout)).items():
        assert torch.equal(value, expected[name]), name
    assert calls == [1, 1]


@pytest.mark.parametrize("contiguous", [True, False])
@pytest.mark.parametrize("wide", [False, True])
def test_derivative_operators_tell_torch_the_truth(wide: bool, contiguous: bool) -> None:
    fields, edge_index = make_fields(4, 8, 6, 14, wide), make_edges(num_nodes=6, num_edges=14)
    values = [x if contiguous else transposed(x) for x in fields.values()]
    tangents, order, operators = [torch.randn_like(x) for x in values], edge_order(edge_index, 6), torch.ops.equireann
    grad, c, M, R, Y, f = (x.requires_grad_() for x in (torch.randn(6, 4, 8), *values))
    torch.library.opcheck(operators.orbital_sum_backward.default, (grad, c, M, edge_index, order, R, Y, f, False))
    constants = [x.detach() for x in (grad, c, M, edge_index, order, R, Y, f)]
    torch.library.opcheck(operators.orbital_sum_double_backward.default, (*tangents, *constants, False))
