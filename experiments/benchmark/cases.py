"""Sets that the models are trained on: a molecule, a torsion, chains that no cutoff spans, a crystal; and the package's own."""

from __future__ import annotations

from dataclasses import replace

from experiments.accuracy.cases import CASES as PUBLISHED
from experiments.non_local.cases import CASES as NON_LOCAL

ALL = PUBLISHED | NON_LOCAL
CASES = {
    name: replace(ALL[name], minutes=10.0, longer={}) for name in ("3bpa", "c9h4-200", "gnl", "mlearn-Mo", "cumulene")
}
"""By name; ten minutes of one core for each model."""
