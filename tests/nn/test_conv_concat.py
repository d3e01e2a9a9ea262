"""The orbital convolution with messages in channels of their own: all that holds of the layer holds of it, too."""

from __future__ import annotations

import copy
import pickle
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import equireann_pyg.nn.conv
from equireann_pyg.nn import OrbitalConv, SphericalHarmonics
from equireann_pyg.ops import by_reference, orbital_sum
from equireann_pyg.testing import assert_close, random_orthogonal, representation
from tests.nn.test_conv import NUM_COMPONENTS, NUM_EDGES, NUM_NODES, NUM_RADIAL, arguments

NUM_MESSAGES = 2
WIDTH = NUM_RADIAL + NUM_MESSAGES


def concat_arguments(num_nodes: int = NUM_NODES, num_edges: int = NUM_EDGES, wide: bool = True) -> list[Tensor]:
    """Random inputs; the last node is in no edge."""
    inputs = arguments(num_nodes, num_edges)
    inputs[1] = torch.randn(num_nodes, NUM_COMPONENTS, NUM_MESSAGES)
    inputs[5] = torch.rand(num_edges, NUM_MESSAGES) if wide else torch.rand(num_edges)
    return inputs


def expected(coefficient: Tensor, orbital: Tensor, edge_index: Tensor, *edges: Tensor) -> Tensor:
    """Both terms, edge by edge, side by side."""
    radial, angular, envelope = edges
    psi = torch.zeros(coefficient.size(0), angular.size(1), WIDTH, dtype=coefficient.dtype)
    for edge, (j, i) in enumerate(edge_index.T.tolist()):
        psi[i, :, :NUM_RADIAL] += torch.outer(angular[edge], coefficient[j] * radial[edge])
        psi[i, :, NUM_RADIAL:] += envelope[edge] * orbital[j]
    return psi


@pytest.mark.parametrize("wide", [True, False], ids=["filters", "one filter"])
def test_against_loops(wide: bool, dtype: torch.dtype) -> None:
    inputs = concat_arguments(wide=wide)
    psi = OrbitalConv(concat=True)(*inputs)
    assert psi.dtype == dtype
    assert_close(psi, expected(*inputs), 5e-6 if dtype == torch.float32 else 1e-14, "orbital convolution")
    assert not bool(psi[-1].any())  # a node without neighbours keeps its row


def test_without_orbital_there_are_local_channels_only() -> None:
    inputs = arguments(with_orbital=False)
    assert torch.equal(OrbitalConv(concat=True)(*inputs), OrbitalConv()(*inputs))


def watched() -> OrbitalConv:
    """A layer with a hook."""
    conv = OrbitalConv(concat=True)
    conv.register_message_forward_hook(lambda *given: None)
    return conv


def unfused() -> OrbitalConv:
    """A layer that goes through `propagate`."""
    conv = OrbitalConv(concat=True)
    conv.fuse = False
    return conv


ROUTES: dict[str, Callable[[], OrbitalConv]] = {
    "fused": lambda: OrbitalConv(concat=True),
    "unfused": unfused,
    "watched": watched,
    "by the other row": lambda: OrbitalConv(concat=True, flow="target_to_source"),
}


@pytest.mark.parametrize("plain", [False, True], ids=["kernels", "plain"])
@pytest.mark.parametrize("route", ROUTES)
def test_every_route(route: str, plain: bool, double: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs, calls = concat_arguments(), []
    monkeypatch.setattr(equireann_pyg.nn.conv, "orbital_sum", lambda *given: calls.append(1) or orbital_sum(*given))
    given = [*inputs[:2], inputs[2].flip(0) if route == "by the other row" else inputs[2], *inputs[3:]]
    leaves = [x.requires_grad_() for x in (*given[:2], *given[3:])]
    if plain:
        with by_reference():
            psi = ROUTES[route]()(*given)
    else:
        psi = ROUTES[route]()(*given)
    assert calls == ([1] if route == "fused" else [])
    assert_close(psi, expected(*inputs), 1e-14, "orbital convolution")
    slopes = torch.autograd.grad(psi.square().sum(), leaves)
    for mine, theirs in zip(slopes, torch.autograd.grad(expected(*inputs).square().sum(), leaves), strict=True):
        assert_close(mine, theirs, 1e-13, "gradient")


def test_messages_are_seen_before_they_are_summed() -> None:
    conv, inputs, seen = OrbitalConv(concat=True), concat_arguments(), {}
    conv.register_message_forward_hook(lambda _module, _inputs, output: seen.update(message=output.shape))
    conv(*inputs)
    assert seen == {"message": (NUM_EDGES, NUM_COMPONENTS, WIDTH)}
    degree = torch.bincount(inputs[2][1], minlength=NUM_NODES).clamp(min=1).view(-1, 1, 1)
    mean = OrbitalConv(concat=True, aggr="mean")(*inputs)
    assert_close(mean, expected(*inputs) / degree, 1e-6, "mean over the neighbours")


@pytest.mark.parametrize("reflect", [False, True])
def test_equivariance(reflect: bool, double: torch.dtype) -> None:
    angular, q = SphericalHarmonics(2), random_orthogonal(seed=5, reflect=reflect)
    matrix, vec = representation(angular, q), torch.randn(NUM_EDGES, 3)
    coefficient, orbital, edge_index, radial, _, envelope = concat_arguments()

    def psi(vec: Tensor, orbital: Tensor) -> Tensor:
        return OrbitalConv(True)(coefficient, orbital, edge_index, radial, angular(vec, vec.norm(dim=-1)), envelope)

    assert_close(psi(vec @ q.T, matrix @ orbital), matrix @ psi(vec, orbital), 1e-12, "orbitals of the turned system")
    assert float((psi(vec @ q.T, matrix @ orbital) - psi(vec, orbital)).abs().max()) > 0.1


def test_copies() -> None:
    inputs, conv = concat_arguments(), OrbitalConv(concat=True)
    for twin in (copy.deepcopy(conv), pickle.loads(pickle.dumps(conv))):
        assert torch.equal(twin(*inputs), conv(*inputs))
    assert repr(conv) == "OrbitalConv(concat=True)"


def test_export() -> None:
    nodes, edges = torch.export.Dim("nodes", min=2), torch.export.Dim("edges", min=2)
    shapes = ({0: nodes}, {0: nodes}, {1: edges}, {0: edges}, {0: edges}, {0: edges})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch itself, while tracing
        given = tuple(concat_arguments())
        program = torch.export.export(OrbitalConv(concat=True), given, dynamic_shapes=shapes)
    inputs = concat_arguments(8, 31)
    assert_close(program.module()(*inputs), OrbitalConv(concat=True)(*inputs), 1e-6, "exported layer")
