"""Errors and predictions of a potential on files of structures, and their pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from equireann_pyg.lazy import lazy_names

if TYPE_CHECKING:
    from equireann_pyg.evaluation.errors import (
        errors_by_type,
        evaluate,
        parity_plots,
        predict,
        print_errors,
        read_labelled,
        write_errors,
    )
    from equireann_pyg.evaluation.predictions import PredictionWriter, with_predictions, write_frames
    from equireann_pyg.evaluation.report import TrainingReport, print_errors_of

__all__ = [
    "PredictionWriter",
    "TrainingReport",
    "errors_by_type",
    "evaluate",
    "parity_plots",
    "predict",
    "print_errors",
    "print_errors_of",
    "read_labelled",
    "with_predictions",
    "write_errors",
    "write_frames",
]

# Imported at first use, so that a module of this package brings no more than it needs.
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "errors": (
            "errors_by_type",
            "evaluate",
            "parity_plots",
            "predict",
            "print_errors",
            "read_labelled",
            "write_errors",
        ),
        "plots": (),
        "predictions": ("PredictionWriter", "with_predictions", "write_frames"),
        "report": ("TrainingReport", "print_errors_of"),
    },
)
