"""Train every descriptor with every message rule, at equal sizes and a small budget.

    python -m experiments.non_local.descriptors [--quick] [--data FOLDER] [--model "Density + Equivariant"]

The rules are the package's; a descriptor knows nothing of messages. Adds to descriptors.csv.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from equireann_pyg import nn
from experiments.non_local.cases import CASES
from experiments.runs.models import Plan, Recipe, Training
from experiments.runs.results import Row
from experiments.runs.run import Suite, run_suite
from experiments.runs.tables import Sheet, chosen, distinct, energy_and_forces

HARMONICS: Plan = {"class_path": "SphericalHarmonics", "init_args": {"max_degree": 2}}
MOMENTS: Plan = {"class_path": "CartesianMoments", "init_args": {"max_degree": 2}}
DESCRIPTORS: dict[str, tuple[Plan, Plan]] = {
    "Density": ({"class_path": "Density", "init_args": {"num_density": 64}}, HARMONICS),
    "PowerSpectrum": ({"class_path": "PowerSpectrum", "init_args": {"num_channels": 6}}, HARMONICS),
    "ACEProducts": ({"class_path": "ACEProducts", "init_args": {"num_channels": 6, "order": 4}}, HARMONICS),
}
"""Descriptor and angular part: about 64 features each, except where ACEProducts has 60."""

if hasattr(nn, "MomentContractions"):
    DESCRIPTORS["MomentContractions"] = ({"class_path": "MomentContractions"}, MOMENTS)

RULES = ("Local", "Invariant", "Equivariant", "Filtered", "Coupled", "Separate", "Directed")
HIDDEN = [64, 64]


def recipe(descriptor: Plan, angular: Plan, rule: str) -> Recipe:
    """A network of a descriptor and a rule."""
    arguments: Plan = {
        "descriptor": descriptor,
        "angular": angular,
        "rule": {"class_path": rule, "init_args": {"hidden_channels": HIDDEN}},
        "readout": {"class_path": "LastReadout", "init_args": {"hidden_channels": HIDDEN}},
        "radial": {"class_path": "PairRadial", "init_args": {"num_radial": 8}},
        "num_iterations": 0 if rule == "Local" else 3,
    }
    return Recipe({"class_path": "equireann_pyg.models.network.OrbitalNetwork", "init_args": arguments}, Training())


def pairs() -> dict[str, Recipe]:
    """All pairs that can be built: coupling needs spherical harmonics."""
    return {
        f"{name} + {rule}": recipe(descriptor, angular, rule)
        for name, (descriptor, angular) in DESCRIPTORS.items()
        for rule in RULES
        if not (rule in ("Coupled", "Separate", "Directed") and angular is MOMENTS)
    }


SMALL = {"c9h4-200": replace(CASES["c9h4-200"], epochs=60, quick=(5, 40)), "gnl": replace(CASES["gnl"], epochs=40)}
SUITE = Suite(Path(__file__).parent, SMALL, pairs(), "descriptors", quick_cases=("c9h4-200",))
SHOWN = {"c9h4-200": ("all",), "gnl": ("in-domain", "out-domain-nc-11,12", "out-domain-nc-15,16")}


def sheets(fast: bool) -> list[Sheet]:
    """Descriptors in rows, rules in columns, one table for each kind of test frames."""
    rows = chosen(SUITE.rows(SUITE.name, fast), split="test")
    return [
        _sheet(chosen(rows, case=case, config_type=kind), case, kind)
        for (case,) in distinct(rows, "case")
        for kind in SHOWN[case]
        if chosen(rows, case=case, config_type=kind)
    ]


def _sheet(rows: Sequence[Row], case: str, kind: str) -> Sheet:
    title = f"Descriptor and rule: {case}{'' if kind == 'all' else f', {kind}'}, {rows[0]['epochs']} epochs"
    sheet = Sheet(title, ("RMSE, energy meV / forces meV/Å", *RULES))
    for name in DESCRIPTORS:
        cells = [chosen(rows, model=f"{name} + {rule}") for rule in RULES]
        if any(cells):
            sheet.rows.append([name, *(energy_and_forces(cell) for cell in cells)])
    return sheet


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; number of jobs that failed."""
    return run_suite(SUITE, __doc__, arguments)


if __name__ == "__main__":
    sys.exit(min(main(), 1))
