"""Tables, figures and a page of what was measured."""

from experiments.benchmark.report.page import publish

__all__ = ["publish"]
