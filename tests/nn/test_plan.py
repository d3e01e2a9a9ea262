"""What follows from constructor arguments: configurations, copies, building and resetting."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from equireann_pyg import OrbitalNetwork, nn
from equireann_pyg.potential.checkpoint import build, recipe
from equireann_pyg.testing import assert_close, random_cluster


class Squares(nn.Descriptor):
    """A user's own descriptor: building and evaluating, no more."""

    def build(self, layout: nn.Layout) -> None:
        """One dot product."""
        self.layers = torch.nn.ModuleList([nn.ScaledLinear(layout.components, layout.num_radial, 3)])
        self.dot = nn.DegreeDot(layout.components)
        self.num_features = 3 * (layout.max_degree + 1)

    def forward(self, orbital: Tensor, species: Tensor) -> Tensor:
        """Squares of mixed channels."""
        mixed = self.layers[0](orbital)
        return self.dot(mixed, mixed)


class Sized(Squares):
    """A user's own descriptor with arguments."""

    def __init__(self, size: int, parts: nn.Envelope | None = None, *, names: tuple[str, ...] = ("a",)) -> None:
        super().__init__()
        self.size, self.parts, self.names = size, parts, names


class Forgetful(Squares):
    """One whose argument is gone."""

    def __init__(self, size: int = 3) -> None:
        super().__init__()


class Greedy(Squares):
    """One that takes arguments without names."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__()


class Stated(Squares):
    """One that says by itself what its arguments are."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.number = size

    @property
    def config(self) -> dict[str, Any]:
        """Arguments."""
        return {"size": self.number}


class Last(nn.MessageRule):
    """A user's own rule: passes on the last orbital."""

    def forward(self, features: Tensor, coefficient: Tensor, orbital: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        """The coefficient as it is."""
        return coefficient, orbital


def network(descriptor: nn.Descriptor) -> OrbitalNetwork:
    return OrbitalNetwork(["H", "C"], 3.0, descriptor, Last([4]), radial=nn.PairRadial(4), num_iterations=1)


def energies(model: OrbitalNetwork) -> Tensor:
    data = random_cluster([1, 6], 3.0)
    vec = (data.pos[data.edge_index[0]] - data.pos[data.edge_index[1]]).to(model.coefficient.dtype)
    return model(data.z, data.edge_index, vec)


@pytest.mark.parametrize(
    ("plan", "config"),
    [
        (Squares(), {}),
        (Sized(3, names=("b", "c")), {"size": 3, "parts": None, "names": ("b", "c")}),
        (Stated(4), {"size": 4}),
        (nn.Density(6), {"num_density": 6}),
        (nn.Coupled((5,), 3), {"hidden_channels": [5], "num_channels": 3}),
        (nn.ACEProducts(5, 3), {"num_channels": 5, "order": 3}),
        (nn.AllReadout([5, 4]), {"hidden_channels": [5, 4]}),
        (nn.ElementRadial(5, 2), {"num_radial": 5, "width": 2.0, "envelope": None}),
        (nn.CartesianMoments(3, unit=False), {"max_degree": 3, "unit": False}),
        (nn.ZBL(), {"reach": 0.75}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_config_follows_from_the_signature(plan: nn.Plan, config: dict[str, Any]) -> None:
    assert plan.config == config
    again = build(recipe(plan))
    assert type(again) is type(plan)
    assert recipe(again) == recipe(plan)
    assert repr(again) == repr(plan)


def test_parts_among_the_arguments() -> None:
    envelope = nn.DecayingCutoff(5, 3)
    assert Sized(3, envelope).config["parts"] is envelope
    assert recipe(nn.PairRadial(4, envelope=envelope))["init_args"]["envelope"] == recipe(envelope)
    assert repr(nn.PairRadial(4, 1.5)) == "PairRadial(num_radial=4, width=1.5, envelope=None)"


def test_what_cannot_be_known_is_said() -> None:
    with pytest.raises(
        TypeError, match=r"Forgetful has no attribute of its argument `size`: set self.size in __init__"
    ):
        recipe(Forgetful())
    with pytest.raises(TypeError, match="Greedy takes arguments without names: name all of them"):
        recipe(Greedy())
    assert repr(Greedy()) == "Greedy()"


@pytest.mark.parametrize("plan", [Squares(), Sized(2), Stated(2), nn.Shared(Sized(2))], ids=lambda p: type(p).__name__)
def test_own_descriptors_and_rules(plan: nn.Descriptor, double: torch.dtype) -> None:
    model = network(plan)
    torch.nn.init.normal_(model.readout.network.out.weight)
    rebuilt: Any = build(recipe(model))
    rebuilt.load_state_dict(model.state_dict())
    assert repr(rebuilt) == repr(model)
    assert_close(energies(rebuilt), energies(model), 1e-14, "energies")
    assert not list(plan.parameters())  # only copies are built
    weights = [part.layers[0].weight for part in model.descriptors]
    before = copy.deepcopy(weights)
    model.descriptors[0].reset_parameters()
    assert not torch.equal(weights[0], before[0])
    assert torch.equal(weights[1], before[1]) == (weights[1] is not weights[0])


def test_plans_are_no_parts_of_a_network() -> None:
    model = OrbitalNetwork(["H"], radial=nn.ElementRadial(4, envelope=nn.DecayingCutoff()))
    keys = {name.split(".")[0] for name, _ in model.named_modules()} - {""}
    assert keys == {
        "angular",
        "envelope",
        "radial_envelope",
        "radial",
        "conv",
        "descriptors",
        "scalings",
        "rules",
        "readout",
    }
    assert {key.split(".", 1)[1] for key in model.state_dict() if key.startswith("radial")} == {
        "centre",
        "raw_exponent",
    }
    twin = copy.deepcopy(model)
    assert twin.given["radial"].envelope is twin.radial_envelope
    assert twin.given["radial"] is not model.given["radial"]
