"""Take one part of EquiREANN-plus away at a time, or add one, and train what is left.

    python -m experiments.non_local.ablation [--quick] [--data FOLDER] [--model "order 3"]

On 3BPA (accuracy) and the torsion of C9H4 (non-locality), for a small, equal number of epochs. Adds to ablation.csv.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import asdict, replace
from pathlib import Path

from torch import Tensor

from equireann_pyg.models.network import OrbitalNetwork
from experiments.accuracy.cases import CASES as ACCURACY
from experiments.non_local.cases import CASES
from experiments.runs.models import Plan, Recipe, WarmStarted, models, standard
from experiments.runs.results import Row
from experiments.runs.run import Suite, run_suite
from experiments.runs.tables import Sheet, chosen, distinct, energy_and_forces

FULL = models()[standard()]
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


class Unstandardised(OrbitalNetwork):
    """A network that takes its features as they come."""

    def fit_statistics(self, z: Tensor, edge_index: Tensor, edge_vec: Tensor) -> None:
        """Fit, and forget the statistics of the features."""
        super().fit_statistics(z, edge_index, edge_vec)
        for scaling in self.scalings:
            scaling.reset_parameters()


def of_class(kind: type[OrbitalNetwork]) -> Recipe:
    """The full model as another class."""
    return replace(FULL, plan={**deepcopy(FULL.plan), "class_path": f"experiments.non_local.ablation.{kind.__name__}"})


DECAYING: Plan = FULL.plan["init_args"]["radial"]["init_args"]["envelope"]
COSINE: Plan = {"class_path": "CosineCutoff"}
CHANNELS = FULL.plan["init_args"]["descriptor"]["init_args"]["num_channels"]

VARIANTS = {
    "full": FULL,
    "no mixing, no coupling: Filtered": without(rule=rule("Filtered")),
    "and no filter: Equivariant": without(rule=rule("Equivariant")),
    "and no orbitals: Invariant": without(rule=rule("Invariant")),
    "readout of the last iteration": without(
        readout={"class_path": "LastReadout", "init_args": {"hidden_channels": HIDDEN}}
    ),
    "order 3": without(descriptor__order=3),
    "order 2, a density for each degree": without(descriptor__order=2),
    "a density for all degrees": without(
        descriptor={"class_path": "Density", "init_args": {"num_density": 4 * CHANNELS}}
    ),
    "messages decay too": without(envelope=DECAYING, radial__envelope=None),
    "radial functions do not decay": without(radial__envelope=None),
    "cosine envelope for both": without(envelope=COSINE, radial__envelope=None),
    "features not standardised": of_class(Unstandardised),
    "ridge regression first": replace(FULL, training=WarmStarted(**asdict(FULL.training))),
    "half the channels of products": without(descriptor__num_channels=CHANNELS // 2),
}

SMALL = {
    "3bpa": replace(ACCURACY["3bpa"], epochs=15),
    "c9h4-200": replace(CASES["c9h4-200"], epochs=25),
}
SUITE = Suite(Path(__file__).parent, SMALL, VARIANTS, "ablation", quick_cases=("c9h4-200",))
SHOWN = {"3bpa": ("300K", "600K"), "c9h4-200": ("test",)}


def sheets(fast: bool) -> list[Sheet]:
    """Variants in rows, tests in columns."""
    rows = chosen(SUITE.rows(SUITE.name, fast), config_type="all")
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
