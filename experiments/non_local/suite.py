"""The models of the experiment on non-locality, and the cases that they are trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from experiments.non_local.cases import CASES
from experiments.runs.models import Plan, Recipe, models
from experiments.runs.run import Suite

QUICK = ("c9h4-200", "gnl", "cumulene", "lode", "au2-4g")
ENVELOPE: Plan = {"class_path": "PolynomialCutoff"}
"""Flat at a bond length: what falls off there does so once more for every hop along a chain."""


def for_chains(shipped: Mapping[str, Recipe]) -> dict[str, Recipe]:
    """The shipped models; those of the paper as chains of many cutoffs need them.

    They get an envelope that is flat at a bond length, and EquiREANN's messages are strong in all channels, so that what has
    come along a whole chain is not drowned by what is near.
    """
    named = {name: _with_envelope(shipped[name]) for name in ("EANN", "REANN")}
    return {**shipped, **named, "EquiREANN": _strong(shipped["EquiREANN"])}


def _with_envelope(recipe: Recipe) -> Recipe:
    return replace(recipe, plan={**recipe.plan, "init_args": {**recipe.plan["init_args"], "envelope": ENVELOPE}})


def _strong(recipe: Recipe) -> Recipe:
    given = recipe.plan["init_args"]
    hidden = {"hidden_channels": given["hidden_channels"]}
    arguments: Plan = {
        "descriptor": {"class_path": "Density", "init_args": {"num_density": given["num_density"]}},
        "rule": {"class_path": "Equivariant", "init_args": {**hidden, "grading": 0.0}},
        "readout": {"class_path": "LastReadout", "init_args": hidden},
        "envelope": ENVELOPE,
        "radial": {"class_path": "PairRadial", "init_args": {"num_radial": given["num_radial"]}},
        "num_iterations": given["num_iterations"],
    }
    return replace(recipe, plan={"class_path": "OrbitalNetwork", "init_args": arguments})


SUITE = Suite(Path(__file__).parent, CASES, for_chains(models()), scans="scans", quick_cases=QUICK)
