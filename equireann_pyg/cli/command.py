"""Lightning's command line with the project's subcommands, one folder for a run, and the model of the checkpoint."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from jsonargparse import ArgumentParser, Namespace
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities import rank_zero_only, rank_zero_warn

import equireann_pyg
from equireann_pyg.cli import benchmark, evaluate, export, lammps, md, quickstart, recipe, relax
from equireann_pyg.cli.earlier import present_words
from equireann_pyg.cli.runs import RunFolder, callbacks, loggers, new_folder
from equireann_pyg.cli.words import PARTS, configured, explicit, files_of, name_of, source_of, with_paths, without_model
from equireann_pyg.data.dataset import elements_of
from equireann_pyg.data.module import AtomsDataModule
from equireann_pyg.elements import SYMBOLS, describe
from equireann_pyg.evaluation.predictions import PredictionWriter
from equireann_pyg.evaluation.report import print_errors_of
from equireann_pyg.graph.labels import CONDITIONS
from equireann_pyg.training.finetuning import add_elements
from equireann_pyg.training.task import PotentialTask

PREDICTIONS = "predictions.extxyz"
SHARED = "EQUIREANN_RUN"
"""Variable of the environment that tells the other processes of a parallel run its folder."""


class Command(NamedTuple):
    """A subcommand that needs no trainer."""

    parser: Callable[[], ArgumentParser]
    run: Callable[[Any], object]


COMMANDS = {
    "benchmark": Command(benchmark.parser, benchmark.run),
    "evaluate": Command(evaluate.parser, evaluate.run),
    "export": Command(export.parser, export.run),
    "lammps": Command(lammps.parser, lammps.run),
    "md": Command(md.parser, md.run),
    "quickstart": Command(quickstart.parser, quickstart.run),
    "relax": Command(relax.parser, relax.run),
}
SUMMARIES = {
    "fit": "Train a potential, or go on training one.",
    "validate": "Errors of a checkpoint on the validation set.",
    "test": "Errors of a checkpoint on the test set.",
    "predict": "Write the predictions of a checkpoint for new structures.",
}


class PotentialCLI(LightningCLI):
    """Parses a command line and runs it.

    Args:
        words: arguments of the command line.
        closing: gets what is to be done when the command has ended, however it ends.

    Raises:
        ValueError: for whatever a user can get wrong, in one line.
    """

    def __init__(self, words: Sequence[str], closing: ExitStack) -> None:
        self.words = present_words(with_paths(words), closing)
        self.closing = closing
        self.source = source_of(self.words)
        if self.source is not None:
            self._check_model(self.source)
        super().__init__(
            PotentialTask,
            AtomsDataModule,
            save_config_callback=None,
            args=self.words if self.source is None else without_model(self.words),
            seed_everything_default=1,
            trainer_defaults={
                "inference_mode": False,
                "use_distributed_sampler": False,
                "enable_model_summary": False,
            },
            auto_configure_optimizers=False,
            parser_kwargs={
                "default_env": False,
                "exit_on_error": False,
                "prog": "equireann",
                "version": equireann_pyg.__version__,
                "description": "Train, test and use EquiREANN potentials. equireann SUBCOMMAND --help lists its options.",
            },
        )

    def _add_subcommands(self, parser: LightningArgumentParser, **kwargs: Any) -> None:
        """The trainer's subcommands with summaries of our own, and those that need no trainer."""
        self._subcommand_parsers = {}
        subcommands = parser.add_subcommands()
        for name, summary in SUMMARIES.items():
            made = self._prepare_subcommand_parser(Trainer, name, description=summary)
            self._subcommand_parsers[name] = made
            subcommands.add_subcommand(name, made, help=summary)
        for name, command in COMMANDS.items():
            other = command.parser()
            subcommands.add_subcommand(name, other, help=other.description)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """The folder of the run; links from the model to what the data must know of it."""
        parser.add_argument(
            "--run",
            type=str | None,
            default=None,
            help="folder of everything that is written; by default runs/<configuration>-<n>, or that of --ckpt_path",
        )
        parser.add_argument(
            "--allow_untrained", type=bool, default=False, help="evaluate elements without training atoms, too"
        )
        parser.link_arguments("model", "data.cutoff", compute_fn=_cutoff, apply_on="instantiate")
        parser.link_arguments("model", "data.labels", compute_fn=_labels, apply_on="instantiate")
        parser.add_lightning_class_args(PredictionWriter, "predictions")

    def _parse_ckpt_path(self) -> None:
        """Nothing: a checkpoint is read once, as a potential."""

    def _set_seed(self) -> None:
        if self.subcommand not in COMMANDS:
            super()._set_seed()

    def before_instantiate_classes(self) -> None:
        """Take the model from the checkpoint or its elements from the data, and choose the folder."""
        if self.subcommand in COMMANDS:
            return
        config = self.config[self.subcommand]
        self.source = self.source or config.ckpt_path or config.model.init_from  # configurations may name them, too
        if self.subcommand != "fit" and self.source is None:
            raise ValueError(f"{self.subcommand}: which potential? Name its file with --ckpt_path")
        if self.source is None:
            _take_elements(config)
        else:
            self._take_model(config, self.source)
        if "verbose" in config:
            config.verbose = False  # there is a table of our own
        self._choose_folder(config)

    def _check_model(self, source: str) -> None:
        """Refuse options that contradict the model of a file, and say which entries of configurations it replaces."""
        stored = recipe.stored_recipe(source)
        for option, value in explicit(self.words, "model").items():
            for _, given, has in recipe.contradictions(recipe.leaves({option: value}), stored):
                raise ValueError(
                    f"--{option} {given} contradicts {source}, which has {has}: leave it out, or train anew"
                )
        for name, given, has in recipe.contradictions(recipe.leaves(configured(files_of(self.words), "model")), stored):
            rank_zero_warn(
                f"the model is that of {source}, with {name} {has}; {given} of the configuration is not used"
            )

    def _take_model(self, config: Namespace, source: str) -> None:
        """Replace the model of the command line by that of a file."""
        if recipe.stored_recipe(source)["dtype"] == "float64" and config.trainer.precision is None:
            config.trainer.precision = "64-true"
        config.model.init_from = source
        for part in PARTS:
            config.model[part] = None
        if self.subcommand != "fit":
            config.ckpt_path = None  # the file is read as a potential, whatever kind of file it is

    def _choose_folder(self, config: Namespace) -> None:
        """The folder of the run: the one that is named, that of the checkpoint, or a new one."""
        source = config.ckpt_path if self.subcommand == "fit" else self.source
        named = config.run or (str(Path(source).parent) if source else None)
        if self.subcommand == "fit" and rank_zero_only.rank == 0:  # type: ignore[attr-defined]
            self.path = self._claim(named, config.ckpt_path)
            os.environ[SHARED] = str(self.path)
        else:
            self.path = Path(named or os.environ.get(SHARED, "runs"))
        config.run = str(self.path)
        if config.predictions.path == PREDICTIONS:
            config.predictions.path = str(self.path / PREDICTIONS)

    def _claim(self, named: str | None, resumed: str | None) -> Path:
        """Take a folder for as long as this command runs."""
        if named is None:
            folder = new_folder(name_of(self.words))
        else:
            same = resumed is not None and Path(named).resolve() == Path(resumed).parent.resolve()
            folder = RunFolder(Path(named), resume=same)
        self.closing.callback(folder.release)
        return folder.path

    def instantiate_classes(self) -> None:
        """Make task, data and trainer."""
        if self.subcommand in COMMANDS:
            self.config_init = self.parser.instantiate_classes(self.config)
        else:
            super().instantiate_classes()

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Make the trainer, with logs and checkpoints in the folder of the run unless the configuration has its own."""
        settings = self.config_init[self.subcommand].trainer
        if settings.default_root_dir is None:
            kwargs["default_root_dir"] = str(self.path)
        if settings.logger in (None, True):
            kwargs["logger"] = self.subcommand != "predict" and loggers(self.path)
        config = None
        if self.subcommand == "fit" and not settings.fast_dev_run:
            anew = self.config["fit"].clone()  # for a run of its own
            anew.run, anew.predictions.path = None, PREDICTIONS
            config = self._parser("fit").dump(anew, skip_none=False)
        kwargs["callbacks"] = callbacks(settings, self.path, config)
        try:
            return super().instantiate_trainer(**kwargs)
        except MisconfigurationException as error:
            chosen = settings.accelerator
            hint = (
                f" (--trainer.accelerator {chosen}): use --trainer.accelerator cpu" if "backend" in str(error) else ""
            )
            raise ValueError(f"{error}{hint}") from error

    def after_instantiate_classes(self) -> None:
        """Let a potential that is trained further learn the new elements of its data."""
        if self.subcommand in COMMANDS:
            return
        config, potential = self.config[self.subcommand], self.model.potential
        potential.allow_untrained = config.allow_untrained
        if self.subcommand == "fit" and config.model.init_from and not config.ckpt_path and config.data.train:
            add_elements(potential, elements_of(config.data.train))

    def before_fit(self) -> None:
        """Say what is trained, and where it goes."""
        potential = self.model.potential
        count = sum(parameter.numel() for parameter in potential.parameters())
        rank_zero_only(print)(
            f"{self.path}: {type(potential.model).__name__} for {describe(potential.elements)}, cutoff {potential.cutoff:g} Å, "
            f"{count:,} parameters"
        )

    def after_validate(self) -> None:
        """Print the validation errors."""
        rank_zero_only(print_errors_of)(self.trainer, "val")

    def after_test(self) -> None:
        """Print the test errors."""
        rank_zero_only(print_errors_of)(self.trainer, "test")

    def after_predict(self) -> None:
        """Say where the predictions are."""
        rank_zero_only(print)(self.config["predict"].predictions.path)

    def _run_subcommand(self, subcommand: str) -> None:
        if subcommand in COMMANDS:
            COMMANDS[subcommand].run(self.config_init[subcommand])
        else:
            super()._run_subcommand(subcommand)


def _take_elements(config: Namespace) -> None:
    """Give the model the elements of the training set, unless it has elements."""
    plan = config.model.model
    arguments = plan.get("init_args") if plan is not None else None
    if arguments is not None and "elements" in arguments and not arguments.elements:
        if not config.data.train:
            raise ValueError("data.train is not set: name a file, for example --data.train=frames.extxyz")
        arguments.elements = [SYMBOLS[number] for number in elements_of(config.data.train)]


def _cutoff(task: PotentialTask) -> float:
    return task.potential.cutoff


def _labels(task: PotentialTask) -> list[str]:
    """Labels that a task trains or tests on; charges and fields of whole graphs matter to some properties only."""
    properties = [name for name in task.potential.scales() if name not in ("energy", "forces", "stress")]
    field = any(part.uses_field for part in task.potential.properties)
    conditions = [name for name in CONDITIONS if properties and (field or name != "field")]
    return ["energy", "forces", "stress", *properties, *conditions]
