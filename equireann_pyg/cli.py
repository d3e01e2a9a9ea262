"""Command line: ``equireann fit | validate | test | predict | evaluate | export``."""

from __future__ import annotations

import os
import sys
from typing import Any

from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI

import equireann_pyg.nn
import equireann_pyg.properties
from equireann_pyg.callbacks import ExponentialMovingAverage, PredictionWriter, StopAtSmallestLearningRate
from equireann_pyg.data import AtomsDataModule
from equireann_pyg.models import EANN, REANN, EquiREANN
from equireann_pyg.training import PotentialTask

__all__ = ["EANN", "REANN", "EquiREANN", "ExponentialMovingAverage", "StopAtSmallestLearningRate", "main"]


class PotentialCLI(LightningCLI):
    """Lightning's command line with one link: the data take the cutoff of the model."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Link the cutoff; name the file of predictions."""
        parser.link_arguments("model", "data.cutoff", compute_fn=_cutoff, apply_on="instantiate")
        parser.add_lightning_class_args(PredictionWriter, "predictions")


def _cutoff(task: PotentialTask) -> float:
    return task.potential.cutoff


def main(args: ArgsType = None) -> int:
    """Run the command line.

    Args:
        args: arguments instead of those of the process.

    Returns:
        exit status: 0, or 2 after a one-line error.
    """
    words: Any = sys.argv[1:] if args is None else args
    os.environ.setdefault("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "1")  # checkpoints are never unpickled
    os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "off")  # they concern lightning, not its users
    try:
        if isinstance(words, list) and words[:1] == ["evaluate"]:
            from equireann_pyg.evaluation import run

            run(words[1:])
        elif isinstance(words, list) and words[:1] == ["export"]:
            from equireann_pyg.export import run as export

            export(words[1:])
        else:
            PotentialCLI(
                PotentialTask,
                AtomsDataModule,
                args=args,
                trainer_defaults={"inference_mode": False, "use_distributed_sampler": False},
                auto_configure_optimizers=False,
                save_config_kwargs={"overwrite": True},
                parser_kwargs={"default_env": False},
            )
    except (ValueError, OSError) as error:
        print(f"equireann: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


_ = equireann_pyg.nn, equireann_pyg.properties  # short class names in YAML
