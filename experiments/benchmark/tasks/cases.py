"""Sets that the models are trained on: a molecule, a torsion, chains that no cutoff spans, a crystal; and the package's own."""

from __future__ import annotations

from dataclasses import replace

from experiments.accuracy.cases import CASES as PUBLISHED
from experiments.non_local.cases import CASES as NON_LOCAL
from experiments.non_local.cases import CUMULENE
from experiments.runs.case import Case

ALL = PUBLISHED | NON_LOCAL
SHORT = {"config_types": ("C4H4", "C5H4")}

TWIST = Case(
    "twist",
    "C4H4 and C5H4 of the package, cutoff 3 Å",
    ("H", "C"),
    CUMULENE("train", "::2", options=SHORT),
    CUMULENE("val", options=SHORT),
    {"test": CUMULENE("test", options=SHORT)},
    cutoff=3.0,
    iterations=3,
    energy_weight=9.0,
    remark="comes with the package; no atom sees hydrogen of both ends",
)

CASES = {
    case.name: case
    for case in (
        *(replace(ALL[name], minutes=10.0, longer={}) for name in ("3bpa", "c9h4-200", "gnl", "mlearn-Mo")),
        TWIST,
    )
}
"""By name; ten minutes of one core for each model."""
