"""Take one part of EquiREANN-plus away at a time, and train what is left.

    python -m experiments.non_local.ablation [--quick] [--data FOLDER] [--model "order 3"]

On 3BPA (accuracy) and the torsion of C9H4 (non-locality), for a small, equal number of epochs. Adds to ablation.csv.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

from experiments.accuracy.cases import CASES as ACCURACY
from experiments.benchmarks import results
from experiments.benchmarks.models import Plan, Recipe, models
from experiments.benchmarks.results import Row
from experiments.benchmarks.run import Suite, run_suite
from experiments.benchmarks.tables import Sheet, chosen, distinct, energy_and_forces
from experiments.non_local.cases import CASES

FULL = models()["EquiREANN-plus"]
HIDDEN = FULL.plan["init_args"]["rule"]["init_args"]["hidden_channels"]


def without(**changes: Plan | int) -> Recipe:
    """The full model with other arguments; ``a__b`` sets argument b of part a."""
    plan = deepcopy(FULL.plan)
    for name, value in changes.items():
        part, _, inner = name.partition("__")
        if inner:
            plan["init_args"][part]["init_args"][inner] = value
        else:
            plan["init_args"][part] = value
    return replace(FULL, plan=plan)


def rule(name: str) -> Plan:
    """Plan of another message rule with the same networks."""
    return {"class_path": name, "init_args": {"hidden_channels": HIDDEN}}


VARIANTS = {
    "full": FULL,
    "rule Filtered (no mixing, no coupling)": without(rule=rule("Filtered")),
    "rule Equivariant (and no filter)": without(rule=rule("Equivariant")),
    "rule Invariant (and no orbitals)": without(rule=rule("Invariant")),
    "LastReadout": without(readout={"class_path": "LastReadout", "init_args": {"hidden_channels": HIDDEN}}),
    "order 3": without(descriptor__order=3),
    "order 2": without(descriptor__order=2),
    "CosineCutoff": without(envelope={"class_path": "CosineCutoff"}),
    "half the channels of products": without(
        descriptor__num_channels=FULL.plan["init_args"]["descriptor"]["init_args"]["num_channels"] // 2
    ),
    "half the channels of messages": without(
        rule__num_channels=FULL.plan["init_args"]["rule"]["init_args"]["num_channels"] // 2
    ),
}

SMALL = {
    "3bpa": replace(ACCURACY["3bpa"], epochs=60),
    "c9h4-200": replace(CASES["c9h4-200"], epochs=100, quick=(5, 40)),
}
SUITE = Suite(Path(__file__).parent, SMALL, VARIANTS, "ablation", quick_cases=("c9h4-200",))
SHOWN = {"3bpa": ("300K", "600K"), "c9h4-200": ("test",)}


def sheets(fast: bool) -> list[Sheet]:
    """Variants in rows, tests in columns."""
    rows = chosen(results.read(SUITE.table(SUITE.name, fast)), config_type="all")
    return [_sheet(rows)] if rows else []


def _sheet(rows: Sequence[Row]) -> Sheet:
    columns = [(case, split) for (case,) in distinct(rows, "case") for split in SHOWN[case]]
    budgets = ", ".join(f"{case} {epochs} epochs" for case, epochs in distinct(rows, "case", "epochs"))
    heading = ("RMSE, energy meV / forces meV/Å", "parameters", *(f"{case}, {split}" for case, split in columns))
    sheet = Sheet("Ablation of EquiREANN-plus", heading, note=f"Budgets: {budgets}.")
    for name in VARIANTS:
        own = chosen(rows, model=name)
        if own:
            cells = [energy_and_forces(chosen(own, case=case, split=split)) for case, split in columns]
            sheet.rows.append([name, own[0]["parameters"], *cells])
    return sheet


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; number of jobs that failed."""
    return run_suite(SUITE, __doc__, arguments)


if __name__ == "__main__":
    sys.exit(min(main(), 1))
