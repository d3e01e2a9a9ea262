"""The models of the experiment on non-locality, and the cases that they are trained on."""

from __future__ import annotations

from pathlib import Path

from experiments.benchmarks.models import models
from experiments.benchmarks.run import Suite
from experiments.non_local.cases import CASES

QUICK = ("c9h4-200", "gnl", "cumulene", "lode", "au2-4g")
SUITE = Suite(Path(__file__).parent, CASES, models(), scans="scans", quick_cases=QUICK)
