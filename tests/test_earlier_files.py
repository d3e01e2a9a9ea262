"""Files of earlier versions: tests/earlier holds small random potentials that version 0.1 saved, and what it predicted."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from ase import Atoms
from torch_geometric.data import Data

from equireann_pyg import EANN, REANN, EquiREANN, OrbitalNetwork, from_ase, load_potential, save_potential
from equireann_pyg.cli.recipe import stored_recipe
from equireann_pyg.nn import ElementGaussians, Local, PairGaussians
from equireann_pyg.potential.checkpoint import build, present, recipe
from equireann_pyg.testing import assert_close

FOLDER = Path(__file__).parent / "earlier"
EXPECTED = json.loads((FOLDER / "expected.json").read_text())
KINDS = {
    "equireann": EquiREANN,
    "equireann-shared": OrbitalNetwork,
    "equireann-element": OrbitalNetwork,
    "reann": REANN,
    "reann-element-shared": OrbitalNetwork,
    "eann": OrbitalNetwork,  # with radial functions of the neighbour's element
    "plus": OrbitalNetwork,
    "power-filtered": OrbitalNetwork,
    "moments": OrbitalNetwork,
    "properties": EquiREANN,
}
CUTOFF = 3.5
ROUNDING = {"plus": 1e-4, "power-filtered": 1e-4}
"""Relative, where it is more than 1e-5: random weights whose large terms cancel, so that float32 hangs on the order of sums. In
float64 all files are compared to 1e-12 with what was predicted before the kernels summed in another order."""


def graphs() -> list[Data]:
    """Ethanol and a distorted cell of diamond."""
    return [from_ase(Atoms(**frame), CUTOFF) for frame in EXPECTED["frames"]]


def test_every_file_is_compared() -> None:
    assert {path.stem for path in FOLDER.glob("*.ckpt")} == set(KINDS) == set(EXPECTED["outputs"])


@pytest.mark.parametrize("name", KINDS)
def test_the_same_numbers(name: str, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        potential = load_potential(FOLDER / f"{name}.ckpt")
    assert type(potential.model) is KINDS[name]
    save_potential(potential, tmp_path / "again.ckpt")
    for loaded in (potential, load_potential(tmp_path / "again.ckpt")):
        for data, expected in zip(graphs(), EXPECTED["outputs"][name], strict=True):
            output = loaded(data)
            references = loaded.reference_energies[data.z].sum()
            for key, value in expected.items():
                actual, known = output[key], torch.tensor(value, dtype=torch.float64)
                if key == "energy":  # most of which are references
                    actual, known = actual - references, known - references
                assert float(known.abs().max()) > 1e-3
                assert_close(actual, known, ROUNDING.get(name, 1e-5), key)


@pytest.mark.parametrize("name", KINDS)
def test_the_same_numbers_in_double_precision(name: str) -> None:
    potential = load_potential(FOLDER / f"{name}.ckpt").double()
    for data, expected in zip(graphs(), EXPECTED["outputs_float64"][name], strict=True):
        output = potential(data)
        for key, value in expected.items():
            assert_close(output[key], torch.tensor(value, dtype=torch.float64), 1e-12, key)


def test_a_run_that_goes_on_keeps_the_repulsion_of_its_file() -> None:
    stored = stored_recipe(str(FOLDER / "plus.ckpt"))
    assert stored["repulsion"]["init_args"] == {"reach": 1.0}
    assert build(stored["repulsion"]).reach == 1.0


@pytest.mark.parametrize("name", KINDS)
def test_recipes_in_present_terms(name: str) -> None:
    plan = stored_recipe(str(FOLDER / f"{name}.ckpt"))["model"]
    assert present(plan) == plan
    assert recipe(build(plan))["init_args"].keys() == plan["init_args"].keys()


def earlier(name: str, **arguments: Any) -> dict[str, Any]:
    """Recipe of version 0.1."""
    return {"class_path": name, "init_args": {"elements": ["H"], "cutoff": 3.0, "num_radial": 5, **arguments}}


def test_what_becomes_of_the_arguments() -> None:
    envelope = {"class_path": "equireann_pyg.nn.CosineCutoff", "init_args": {}}
    flags = {"pair_radial": False, "radial_envelope": envelope, "radial_width": 1.5}
    network: Any = build(earlier("equireann_pyg.OrbitalNetwork", **flags))
    assert isinstance(network.radial, ElementGaussians)
    assert (network.radial.num_radial, network.radial.width) == (5, 1.5)
    assert type(network.radial_envelope).__name__ == "CosineCutoff"
    network = build(earlier("equireann_pyg.OrbitalNetwork"))
    assert isinstance(network.radial, PairGaussians)
    assert network.radial_envelope is network.envelope
    network = build(earlier("equireann_pyg.EANN", pair_radial=False, num_density=6, hidden_channels=[4]))
    assert isinstance(network.given["rule"], Local)
    assert (network.num_iterations, network.num_features) == (0, 6)
    assert type(build(earlier("equireann_pyg.EANN", pair_radial=True))) is EANN


class Own(EquiREANN):
    """A class of somebody else."""


def test_classes_of_others() -> None:
    path = f"{__name__}.Own"
    assert type(build(earlier(path, pair_radial=True, share_contraction=False))) is Own
    with pytest.raises(ValueError, match=r"Own does not take the stored arguments \(.*share_contraction"):
        build(earlier(path, share_contraction=True))
