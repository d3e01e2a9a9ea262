"""What check_model says of sound models, and of models with one fault each."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from equireann_pyg import EANN, EquiREANNPlus
from equireann_pyg.nn import polynomial_cutoff
from equireann_pyg.testing import check_model


class Pairs(torch.nn.Module):
    """A sound model: a learned function of the weighted number of neighbours."""

    def __init__(self) -> None:
        super().__init__()
        self.elements, self.cutoff = [1, 6], 3.0
        self.weight = torch.nn.Parameter(torch.ones(100))
        self.power = torch.nn.Parameter(torch.ones(()))

    def pair(self, z: Tensor, edge_index: Tensor, edge_vec: Tensor) -> Tensor:
        r = edge_vec.norm(dim=-1)
        return self.weight[z[edge_index[0]]] * torch.exp(-self.power.square() * r) * self.envelope(r)

    def envelope(self, r: Tensor) -> Tensor:
        return polynomial_cutoff(r, self.cutoff)

    def gathered(self, values: Tensor, edge_index: Tensor, z: Tensor) -> Tensor:
        return values.new_zeros(z.numel()).index_add(0, edge_index[1], values)

    def forward(self, z: Tensor, edge_index: Tensor, edge_vec: Tensor) -> Any:
        return torch.tanh(self.weight[z] * self.gathered(self.pair(z, edge_index, edge_vec), edge_index, z))


class OfGraphs(Pairs):
    """A sound model that is told the graph of each atom."""

    def forward(self, z: Tensor, edge_index: Tensor, edge_vec: Tensor, batch: Tensor) -> Any:  # type: ignore[override]
        first, second = batch[edge_index]
        assert batch.shape == z.shape
        return super().forward(z, edge_index, edge_vec) * (first == second).all()


class Faint(Pairs):
    """A sound model whose neighbours vanish so smoothly that next to the cutoff there is nothing to compare."""

    def envelope(self, r: Tensor) -> Tensor:
        return super().envelope(r).square()


class Pooled(OfGraphs):
    """Takes the mean over a graph."""

    def forward(self, z: Tensor, edge_index: Tensor, edge_vec: Tensor, batch: Tensor) -> Any:  # type: ignore[override]
        energy = super().forward(z, edge_index, edge_vec, batch)
        count = torch.bincount(batch)
        return energy + (energy.new_zeros(count.numel()).index_add(0, batch, energy) / count.clamp(min=1))[batch]


class Unshaped(Pairs):
    def forward(self, *inputs: Tensor) -> Tensor:
        return super().forward(*inputs).unsqueeze(-1)


class Meddling(Pairs):
    def forward(self, z: Tensor, edge_index: Tensor, edge_vec: Tensor) -> Tensor:
        with torch.no_grad():
            edge_vec *= 1.001
        return super().forward(z, edge_index, edge_vec)


class Lonely(Pairs):
    """Fails for atoms without neighbours."""

    def forward(self, z: Tensor, edge_index: Tensor, edge_vec: Tensor) -> Tensor:
        count = self.gathered(torch.ones_like(edge_vec[:, 0]), edge_index, z)
        return super().forward(z, edge_index, edge_vec) / count


class Oriented(Pairs):
    def pair(self, z: Tensor, edge_index: Tensor, edge_vec: Tensor) -> Tensor:
        return super().pair(z, edge_index, edge_vec) * (1 + 0.1 * edge_vec[:, 0])


class Handed(Pairs):
    """Tells a molecule from its mirror image."""

    def forward(self, z: Tensor, edge_index: Tensor, edge_vec: Tensor) -> Tensor:
        pair = super().pair(z, edge_index, edge_vec).unsqueeze(-1)
        r = edge_vec.norm(dim=-1, keepdim=True)
        moments = [
            edge_vec.new_zeros(z.numel(), 3).index_add(0, edge_index[1], pair * r**n * edge_vec) for n in (0, 1, 2)
        ]
        chiral = (moments[0] * torch.linalg.cross(moments[1], moments[2])).sum(-1)
        return super().forward(z, edge_index, edge_vec) + chiral


class Ordered(Pairs):
    def forward(self, z: Tensor, edge_index: Tensor, edge_vec: Tensor) -> Tensor:
        return super().forward(z, edge_index, edge_vec) * torch.arange(z.numel())


class Mixed(Pairs):
    """Graphs of a batch feel each other."""

    def forward(self, z: Tensor, edge_index: Tensor, edge_vec: Tensor) -> Tensor:
        energy = super().forward(z, edge_index, edge_vec)
        return energy * (1 + energy.mean())


class Abrupt(Pairs):
    def envelope(self, r: Tensor) -> Tensor:
        return (r < self.cutoff).to(r) * (1 - r / self.cutoff)


class Boundless(Pairs):
    """Sees neighbours beyond its cutoff."""

    def envelope(self, r: Tensor) -> Tensor:
        return polynomial_cutoff(r, 1.2 * self.cutoff)


class Detached(Pairs):
    """Its forces are not derivatives of its energy."""

    def envelope(self, r: Tensor) -> Tensor:
        return super().envelope(r).detach()


class Forgetful(Pairs):
    def __init__(self) -> None:
        super().__init__()
        self.unused = torch.nn.Parameter(torch.ones(3))


class Once(torch.autograd.Function):
    """A function whose gradient has no gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.square()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return 2 * ctx.saved_tensors[0] * gradient


class OnceDifferentiable(Pairs):
    def forward(self, *inputs: Tensor) -> Any:
        return Once.apply(super().forward(*inputs))


class Single(Pairs):
    """Rounds to float32, so that nothing holds to float64's precision."""

    def forward(self, *inputs: Tensor) -> Tensor:
        return super().forward(*inputs).float()


FAULTS = {
    Unshaped: ("outputs", "expected atomic energies of shape"),
    Meddling: ("outputs", "changed its input `edge_vec`"),
    Single: ("outputs", "float32 for edge vectors of torch.float64"),
    Lonely: ("isolated atom", "not finite"),
    Oriented: ("rotation, reflection", "under rotation"),
    Handed: ("rotation, reflection", "under reflection"),
    Ordered: ("order of atoms and edges", "under permutation"),
    Mixed: ("batches", "batching"),
    Pooled: ("parts far apart", "separation"),
    Abrupt: ("cutoff", "vanishes with power"),
    Boundless: ("cutoff", "cutoff: "),
    Detached: ("forces, stress", "against finite differences"),
    Forgetful: ("training on forces", "parameters without a gradient: ['model.unused']"),
    OnceDifferentiable: ("training on forces", "once_differentiable"),
}


@pytest.mark.parametrize("kind", FAULTS, ids=lambda kind: kind.__name__)
def test_planted_faults(kind: type[Pairs]) -> None:
    report = check_model(kind())
    name, words = FAULTS[kind]
    assert not report.ok
    assert words in report.problems[name], str(report)


SOUND = {
    "Pairs": Pairs,
    "OfGraphs": OfGraphs,
    "Faint": Faint,
    "EANN": partial(EANN, ["H", "C"], 3.0, num_density=8, hidden_channels=[8]),
    "EquiREANNPlus": partial(EquiREANNPlus, ["H", "C"], 3.0, None, 16, 4, 4, 1, [8]),
}


@pytest.mark.parametrize("name", SOUND)
def test_sound_models(name: str) -> None:
    model = SOUND[name]()  # made here, after the seed is set
    before = {name: value.clone() for name, value in model.state_dict().items()}
    report = check_model(model, derivatives=1 if isinstance(model, EANN) else 2)
    assert report.ok, str(report)
    assert len(str(report).splitlines()) == len(report.problems) >= 8
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_what_is_no_model() -> None:
    report = check_model(torch.nn.Linear(2, 2))
    assert "has no `cutoff`" in report.problems["contract"]
    empty = torch.nn.Module()
    empty.cutoff, empty.elements = 3.0, [1]
    assert "no parameters" in check_model(empty).problems["contract"]
