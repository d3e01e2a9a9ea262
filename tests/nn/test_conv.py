"""The orbital convolution: value, symmetry, gradients, and that it stays a PyG layer."""

from __future__ import annotations

import copy
import pickle
import shutil
import subprocess
import sys
import warnings

import pytest
import torch
from torch import Tensor
from torch_geometric.nn import MessagePassing, Sequential
from torch_geometric.nn.aggr import SumAggregation

from equireann_pyg.nn import Angular, CartesianMoments, OrbitalConv, SphericalHarmonics
from equireann_pyg.testing import assert_close, random_orthogonal, representation

ANGULAR = [SphericalHarmonics(2), CartesianMoments(2, unit=False)]
NUM_NODES, NUM_EDGES, NUM_RADIAL, NUM_COMPONENTS = 5, 14, 3, 9


def arguments(num_nodes: int = NUM_NODES, num_edges: int = NUM_EDGES, with_orbital: bool = True) -> list[Tensor]:
    """Random inputs; the last node is in no edge."""
    edge_index = torch.randint(0, num_nodes - 1, (2, num_edges))
    return [
        torch.randn(num_nodes, NUM_RADIAL),
        torch.randn(num_nodes, NUM_COMPONENTS, NUM_RADIAL) if with_orbital else None,
        edge_index,
        torch.rand(num_edges, NUM_RADIAL),
        torch.randn(num_edges, NUM_COMPONENTS),
        torch.rand(num_edges),
    ]


def loops(
    coefficient: Tensor, orbital: Tensor | None, edge_index: Tensor, radial: Tensor, angular: Tensor, envelope: Tensor
) -> Tensor:
    """The equation of the layer, term by term."""
    psi = torch.zeros(coefficient.size(0), angular.size(1), coefficient.size(1), dtype=coefficient.dtype)
    for edge, (j, i) in enumerate(edge_index.T.tolist()):
        for lm in range(angular.size(1)):
            psi[i, lm] += coefficient[j] * radial[edge] * angular[edge, lm]
            if orbital is not None:
                psi[i, lm] += envelope[edge] * orbital[j, lm]
    return psi


@pytest.mark.parametrize("with_orbital", [True, False])
def test_against_loops(with_orbital: bool, dtype: torch.dtype) -> None:
    inputs = arguments(with_orbital=with_orbital)
    psi = OrbitalConv()(*inputs)
    assert psi.dtype == dtype
    assert_close(psi, loops(*inputs), 5e-6 if dtype == torch.float32 else 1e-14, "orbital convolution")
    assert not bool(psi[-1].any())  # a node without neighbours keeps its row


def test_one_filter_per_channel() -> None:
    inputs = arguments()
    inputs[-1] = torch.rand(NUM_EDGES, NUM_RADIAL)
    assert_close(OrbitalConv()(*inputs), loops(*inputs), 5e-6, "filter per channel")


@pytest.mark.parametrize("reflect", [False, True])
@pytest.mark.parametrize("angular", ANGULAR, ids=repr)
def test_equivariance(angular: Angular, reflect: bool, dtype: torch.dtype) -> None:
    q = random_orthogonal(seed=5, reflect=reflect)
    matrix = representation(angular, q)
    vec = torch.randn(NUM_EDGES, 3, dtype=torch.float64)
    coefficient, _, edge_index, radial, _, envelope = arguments()
    orbital = torch.randn(NUM_NODES, matrix.size(0), NUM_RADIAL, dtype=torch.float64)

    def psi(vec: Tensor, orbital: Tensor) -> Tensor:
        y = angular(vec, vec.norm(dim=-1)).to(dtype)
        return OrbitalConv()(coefficient, orbital.to(dtype), edge_index, radial, y, envelope)

    turned = psi(vec @ q.T, torch.einsum("ab,ibn->ian", matrix, orbital))
    expected = torch.einsum("ab,ibn->ian", matrix.to(dtype), psi(vec, orbital))
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    assert_close(turned, expected, tolerance, "orbitals of the turned system")
    assert float((turned - psi(vec, orbital)).abs().max()) > 0.1


def test_permutation() -> None:
    coefficient, orbital, edge_index, *edges = (x.double() if x.is_floating_point() else x for x in arguments())
    nodes, order = torch.randperm(NUM_NODES), torch.randperm(NUM_EDGES)
    mixed_index = torch.argsort(nodes)[edge_index][:, order]
    mixed = OrbitalConv()(coefficient[nodes], orbital[nodes], mixed_index, *(edge[order] for edge in edges))
    expected = OrbitalConv()(coefficient, orbital, edge_index, *edges)[nodes]
    assert_close(mixed, expected, 1e-14, "permutation")


def test_many_neighbours() -> None:
    """All 60 neighbours of an atom count."""
    edge_index = torch.stack([torch.arange(1, 61), torch.zeros(60, dtype=torch.int64)])
    psi = OrbitalConv()(torch.ones(61, 2), None, edge_index, torch.ones(60, 2), torch.ones(60, 1), torch.ones(60))
    assert torch.equal(psi[0], torch.full((1, 2), 60.0))


def test_no_edges() -> None:
    psi = OrbitalConv()(*arguments(3, 0))
    assert torch.equal(psi, torch.zeros(3, NUM_COMPONENTS, NUM_RADIAL))


def test_gradcheck(double: torch.dtype) -> None:
    coefficient, orbital, edge_index, *edges = arguments(3, 4)
    inputs = [x.requires_grad_() for x in (coefficient, orbital, *edges)]

    def function(coefficient: Tensor, orbital: Tensor, *edges: Tensor) -> Tensor:
        return OrbitalConv()(coefficient, orbital, edge_index, *edges)

    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs)


def test_inputs_are_left_alone() -> None:
    inputs = arguments()
    before = copy.deepcopy(inputs)
    OrbitalConv()(*inputs)
    assert all(torch.equal(a, b) for a, b in zip(inputs, before, strict=True))


def test_propagate_is_generated_for_this_layer() -> None:
    """PyG falls back to a slow generic `propagate` silently when it cannot read the annotations of `message`."""
    conv = OrbitalConv()
    assert conv.propagate.__module__ != MessagePassing.__module__
    conv._set_jittable_templates(raise_on_error=True)


def test_keyword_arguments_reach_message_passing() -> None:
    inputs = arguments()
    degree = torch.bincount(inputs[2][1], minlength=NUM_NODES).clamp(min=1).view(-1, 1, 1)
    assert_close(OrbitalConv(aggr="mean")(*inputs), OrbitalConv()(*inputs) / degree, 1e-6, "mean over the neighbours")
    assert_close(OrbitalConv(aggr=SumAggregation())(*inputs), OrbitalConv()(*inputs), 1e-6, "aggregation module")
    flipped = list(inputs)
    flipped[2] = inputs[2].flip(0)
    assert_close(OrbitalConv(flow="target_to_source")(*flipped), OrbitalConv()(*inputs), 1e-6, "flow")


def test_sequential() -> None:
    names = "c, m, edge_index, radial, angular, envelope"
    net = Sequential(
        names,
        [
            (OrbitalConv(), f"{names} -> psi"),
            (torch.nn.Linear(NUM_RADIAL, NUM_RADIAL, bias=False), "psi -> psi"),
            (OrbitalConv(), "c, psi, edge_index, radial, angular, envelope -> psi"),
        ],
    )
    inputs = arguments()
    first = OrbitalConv()(*inputs) @ net[1].weight.T
    expected = OrbitalConv()(inputs[0], first, *inputs[2:])
    assert_close(net(*inputs), expected, 1e-6, "Sequential")
    net.reset_parameters()
    assert "OrbitalConv()" in repr(net)


def test_explain_masks_edges() -> None:
    conv, inputs = OrbitalConv(), arguments()
    mask = torch.linspace(-2, 2, NUM_EDGES)
    conv.explain, conv._edge_mask = True, mask
    weight = mask.sigmoid()
    expected = loops(*inputs[:3], inputs[3] * weight.unsqueeze(1), inputs[4], inputs[5] * weight)
    assert_close(conv(*inputs), expected, 5e-6, "masked edges")


def test_hooks() -> None:
    conv, inputs, seen = OrbitalConv(), arguments(), {}
    conv.register_message_forward_hook(lambda _module, _inputs, output: seen.update(message=output.shape))
    conv.register_propagate_forward_hook(lambda _module, _inputs, output: seen.update(output=output.shape))
    conv(*inputs)
    assert seen == {
        "message": (NUM_EDGES, NUM_COMPONENTS, NUM_RADIAL),
        "output": (NUM_NODES, NUM_COMPONENTS, NUM_RADIAL),
    }


@pytest.mark.parametrize("fuse", [True, False])
@pytest.mark.parametrize("field", [0, 1], ids=["coefficient", "orbital"])
def test_two_sets_of_nodes_are_refused(field: int, fuse: bool) -> None:
    conv, inputs = OrbitalConv(), arguments()
    conv.fuse = fuse
    for pair in ((inputs[field], inputs[field][:2]), (inputs[field], None), [inputs[field]] * 2):
        mixed = [*inputs[:field], pair, *inputs[field + 1 :]]
        with pytest.raises(
            ValueError, match=r"^OrbitalConv: expected one tensor as \w+, got a .*needs one set of nodes"
        ):
            conv(*mixed)


def test_sparse_adjacency() -> None:
    inputs = arguments()
    edges = torch.stack([torch.arange(4), torch.tensor([1, 2, 3, 0])])  # every edge once, sorted by centre
    edges = edges[:, edges[1].argsort()]
    inputs[2:] = [edges, *(edge[:4] for edge in inputs[3:])]
    expected = OrbitalConv()(*inputs)
    for columns in (NUM_NODES, NUM_NODES + 1):
        shape = (NUM_NODES, columns)
        inputs[2] = torch.sparse_coo_tensor(edges.flip(0), torch.ones(4), shape, check_invariants=True).coalesce()
        if columns == NUM_NODES:
            assert_close(OrbitalConv()(*inputs), expected, 1e-6, "sparse adjacency")
            continue
        with pytest.raises(ValueError, match=r"expected a square adjacency matrix, got 5 x 6: .*one set of nodes"):
            OrbitalConv()(*inputs)


def test_copies() -> None:
    inputs = arguments()
    expected = OrbitalConv()(*inputs)
    for twin in (copy.deepcopy(OrbitalConv()), pickle.loads(pickle.dumps(OrbitalConv()))):
        assert torch.equal(twin(*inputs), expected)
    conv = OrbitalConv()
    conv.reset_parameters()
    assert not list(conv.parameters())
    assert repr(conv) == "OrbitalConv()"


COMPILE = """
from functools import partial
import torch
from tests.nn.test_conv import arguments
from tests.nn.test_conv_concat import concat_arguments
from equireann_pyg.nn import OrbitalConv
plain = [(OrbitalConv(), partial(arguments, with_orbital=which)) for which in (True, False)]
for conv, make in (*plain, (OrbitalConv(concat=True), concat_arguments)):
    compiled = torch.compile(conv, fullgraph=True, dynamic=True)
    for num_nodes, num_edges in ((5, 14), (9, 40)):
        inputs = make(num_nodes, num_edges)
        torch.testing.assert_close(compiled(*inputs), conv(*inputs))
"""


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_compile() -> None:
    """One graph for all sizes; in a process of its own, since the compiler is loud and keeps state."""
    result = subprocess.run([sys.executable, "-c", COMPILE], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_export() -> None:
    nodes, edges = torch.export.Dim("nodes", min=2), torch.export.Dim("edges", min=2)
    shapes = ({0: nodes}, {0: nodes}, {1: edges}, {0: edges}, {0: edges}, {0: edges})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch itself, while tracing
        program = torch.export.export(OrbitalConv(), tuple(arguments()), dynamic_shapes=shapes)
    inputs = arguments(8, 31)
    assert_close(program.module()(*inputs), OrbitalConv()(*inputs), 1e-6, "exported layer")


def test_torch_scatter_agrees() -> None:
    """torch_scatter is never needed; where it is installed its sum is ours."""
    torch_scatter = pytest.importorskip("torch_scatter")
    inputs = arguments()
    j, i = inputs[2]
    message = OrbitalConv().message(inputs[0][j], inputs[1][j], inputs[3], inputs[4], inputs[5].unsqueeze(-1))
    expected = torch_scatter.scatter(message, i, dim=0, dim_size=NUM_NODES, reduce="sum")
    assert_close(OrbitalConv()(*inputs), expected, 1e-6, "torch_scatter")
