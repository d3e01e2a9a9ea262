"""EquiREANNPlus in Python and the shipped sizes in configurations are the same models."""

from __future__ import annotations

from pathlib import Path

import pytest

from equireann_pyg import EquiREANNPlus, Potential, load_potential, save_potential
from equireann_pyg.nn import Directed, Separate
from equireann_pyg.potential.checkpoint import build, recipe
from equireann_pyg.testing import assert_close, random_cluster, randomize
from experiments.runs.models import from_config

SIZES: dict[str, dict[str, int]] = {
    "s": {"num_radial": 64, "num_products": 48},
    "m": {},
    "l": {"num_radial": 128, "num_products": 128, "num_messages": 32, "num_iterations": 2},
}


def test_files_of_before_have_messages_of_all_degrees() -> None:
    """Up to version 0.1 the rule was ``Separate``, and files did not say so."""
    model = EquiREANNPlus(["H", "C"], 4.0, None, 16, 8, 4, hidden_channels=[8], directed_degree=None)
    plan = recipe(model)
    del plan["init_args"]["directed_degree"]
    again = build(plan)
    assert type(again.given["rule"]) is Separate
    again.load_state_dict(model.state_dict())
    assert type(EquiREANNPlus(["H"]).given["rule"]) is Directed


@pytest.mark.parametrize("size", SIZES)
def test_sizes_are_those_of_the_configurations(size: str) -> None:
    configured = from_config(f"equireann-plus-{size}").build(["H", "C"], 4.0)
    model = EquiREANNPlus(["H", "C"], 4.0, **SIZES[size])
    names = ("descriptor", "rule", "readout", "radial")
    assert [recipe(model.given[name]) for name in names] == [recipe(configured.given[name]) for name in names]
    assert recipe(model.angular) == recipe(configured.angular)
    assert model.num_iterations == configured.num_iterations
    shapes = {name: weight.shape for name, weight in model.state_dict().items()}
    assert shapes == {name: weight.shape for name, weight in configured.state_dict().items()}


def test_a_file_gives_the_same_numbers(tmp_path: Path) -> None:
    data = random_cluster([1, 6], 4.0)
    model = EquiREANNPlus(["H", "C"], 4.0, None, 16, 8, 4, num_iterations=2, hidden_channels=[8])
    randomize(model)
    potential = Potential(model).eval()
    save_potential(potential, tmp_path / "plus.pt")
    again = load_potential(tmp_path / "plus.pt")
    assert type(again.model) is EquiREANNPlus
    expected = potential(data)["forces"]
    assert float(expected.abs().max()) > 1e-4
    assert_close(again(data)["forces"], expected, 1e-6, "forces")
