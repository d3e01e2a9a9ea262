"""The folder of a run: made once, never shared, never overwritten."""

from __future__ import annotations

import shutil
from itertools import count
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, ProgressBar
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger

from equireann_pyg.evaluation.report import TrainingReport
from equireann_pyg.files import replacing
from equireann_pyg.training.callbacks import BestCheckpoint, LastCheckpoint, OptimizerOptions
from equireann_pyg.training.progress import OneLineProgress

ROOT = Path("runs")
"""Where runs without a name go."""


class RunFolder:
    """A folder that belongs to one process as long as that lives.

    Args:
        path: the folder; made if it does not exist.
        resume: go on in a folder that holds a run.

    Raises:
        ValueError: if the folder holds a run already, or another process is at work in it.
        OSError: if it cannot be made.
    """

    def __init__(self, path: Path, resume: bool = False) -> None:
        self.path = path
        self.made = not path.exists()
        path.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(path / ".lock")
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise ValueError(f"--run {path}: another run is at work there; name another folder") from error
        if not resume and holds_run(path):
            self.release()
            raise ValueError(
                f"--run {path} holds a run already, which is not overwritten: name another folder, or resume it with "
                f"--ckpt_path {path / 'last.ckpt'}"
            )

    def release(self) -> None:
        """Give the folder free; one that was made for a run that never began goes away."""
        if self.made and not holds_run(self.path) and not (self.path / "config.yaml").exists():
            shutil.rmtree(self.path)
        self._lock.release()


def holds_run(path: Path) -> bool:
    """Whether there is a model in a folder that a new run would overwrite."""
    return any(path.glob("*.ckpt"))


def new_folder(name: str) -> RunFolder:
    """The first free one of ``runs/<name>-1``, ``runs/<name>-2``, ...; two processes never get the same."""
    for number in count(1):
        path = ROOT / f"{name}-{number}"
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            continue
        folder = RunFolder(path)
        folder.made = True
        return folder
    raise AssertionError  # count() does not end


def next_version(folder: Path) -> int:
    """Number of the next subfolder ``version_<n>``."""
    used = [int(path.name.removeprefix("version_")) for path in folder.glob("version_*") if path.name[8:].isdecimal()]
    return max(used, default=-1) + 1


def loggers(folder: Path) -> list[Logger]:
    """CSV and TensorBoard logs in one new subfolder ``logs/version_<n>``."""
    version = next_version(folder / "logs")
    return [CSVLogger(folder, "logs", version), TensorBoardLogger(folder, "logs", version)]


class SaveConfig(Callback):
    """Writes the whole configuration of a run to a file when its training begins; a resumed run keeps what is there.

    Args:
        path: the file.
        text: the configuration.
    """

    def __init__(self, path: Path, text: str) -> None:
        self.path, self.text = path, text

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the file, whole or not at all."""
        if trainer.is_global_zero and (trainer.ckpt_path is None or not self.path.exists()):
            with replacing(self.path) as partial:
                partial.write_text(self.text, encoding="utf-8")


def callbacks(settings: Any, folder: Path, config: str | None) -> list[Callback]:
    """Callbacks of a configuration, and of ours what it does not have and has not switched off.

    Args:
        settings: arguments of the trainer.
        folder: of the run.
        config: the configuration of a training to be kept; None where nothing is trained.
    """
    found = settings.callbacks or []
    found = list(found) if isinstance(found, list) else [found]
    ours: list[tuple[type[Callback], bool | None, list[Callback]]]
    ours = [(ProgressBar, settings.enable_progress_bar, [OneLineProgress()])]
    if config is not None:
        kept: list[Callback] = [BestCheckpoint(str(folder)), LastCheckpoint(str(folder))]
        ours.append((Checkpoint, settings.enable_checkpointing, kept))
        found += [SaveConfig(folder / "config.yaml", config), TrainingReport(folder), OptimizerOptions()]
    for kind, wanted, added in ours:
        if wanted is False:
            found = [callback for callback in found if not isinstance(callback, kind)]
        elif not any(isinstance(callback, kind) for callback in found):
            found += added
    return found
