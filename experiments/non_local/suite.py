"""The models of the experiment on non-locality, and the cases that they are trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from experiments.benchmarks.models import Plan, Recipe, models
from experiments.benchmarks.run import Suite
from experiments.non_local.cases import CASES

QUICK = ("c9h4-200", "gnl", "cumulene", "lode", "au2-4g")


def far_reaching(shipped: Mapping[str, Recipe]) -> dict[str, Recipe]:
    """The shipped models, with messages of EquiREANN that travel under an envelope which is flat at a bond length.

    One that falls off does so once more for every hop. The radial functions keep the paper's envelope, as those of REANN, which
    passes on no orbitals.
    """
    recipe = shipped["EquiREANN"]
    given = recipe.plan["init_args"]
    hidden = {"hidden_channels": given["hidden_channels"]}
    radial = {"num_radial": given["num_radial"], "envelope": {"class_path": "CosineCutoff"}}
    arguments: Plan = {
        "descriptor": {"class_path": "Density", "init_args": {"num_density": given["num_density"]}},
        "rule": {"class_path": "Equivariant", "init_args": hidden},
        "readout": {"class_path": "LastReadout", "init_args": hidden},
        "envelope": {"class_path": "PolynomialCutoff"},
        "radial": {"class_path": "PairRadial", "init_args": radial},
        "num_iterations": given["num_iterations"],
    }
    return {**shipped, "EquiREANN": replace(recipe, plan={"class_path": "OrbitalNetwork", "init_args": arguments})}


SUITE = Suite(Path(__file__).parent, CASES, far_reaching(models()), scans="scans", quick_cases=QUICK)
