"""The models of the accuracy experiment, and the cases that they are trained on."""

from __future__ import annotations

from pathlib import Path

from experiments.accuracy.cases import CASES
from experiments.runs.models import models
from experiments.runs.run import Suite

MODELS = {name: recipe for name, recipe in models().items() if name != "EANN"}
QUICK = ("3bpa", "acac", "rmd17-aspirin", "rmd17-ethanol", "co2-ni100", "water", "li6ps5cl", "mlearn-Mo")
SUITE = Suite(Path(__file__).parent, CASES, MODELS, scans="scans", progress="progress", quick_cases=QUICK)
