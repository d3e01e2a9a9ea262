"""Everything that was measured, one record each, in one file that grows and can be taken up again."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import date
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from equireann_pyg.files import replacing
from experiments.benchmark.peers import Peer
from experiments.benchmark.peers.environments import ROOT
from experiments.runs.results import locked
from experiments.runs.rows import cpu

Options = Mapping[str, Any]


TASKS = 2
"""Version of the tasks: another one when what they measure changes, so that old records are measured again."""

PLACE = ("cpu", "gpu", "torch")
"""What must be the same for numbers to be compared."""


@dataclass(frozen=True)
class Measurement:
    """Something to measure of a model.

    Args:
        task: of the worker.
        options: of the task.
    """

    task: str
    options: Options = field(default_factory=dict)

    @property
    def title(self) -> str:
        """Short text."""
        return " ".join([self.task, *(str(value) for value in self.options.values())])


@dataclass
class Record:
    """What came of a measurement.

    Args:
        model: name of the peer.
        task: see :class:`Measurement`.
        options: likewise.
        mark: of the model's sizes and training.
        answer: numbers; empty after an error.
        error: why there are none.
        machine: processor, threads, versions, date and commit.
    """

    model: str
    task: str
    options: dict[str, Any]
    mark: str
    answer: dict[str, Any]
    error: str
    machine: dict[str, Any]

    @property
    def key(self) -> tuple[Any, ...]:
        """What tells it from others: of a training that is tested, its learning rate does not."""
        options = {name: value for name, value in self.options.items() if name != "rate" or "test" in self.options}
        return (self.model, self.task, options, *(self.machine.get(name) for name in PLACE))

    def matches(self, peer: Peer, measurement: Measurement, here: Mapping[str, Any]) -> bool:
        """Whether it is of this measurement of this model, as both are now, on this machine."""
        same = self.task == measurement.task and self.options == dict(measurement.options)
        return same and self.is_of(peer, here)

    def is_of(self, peer: Peer | None, here: Mapping[str, Any]) -> bool:
        """Whether it is of a model as that is now, on this machine."""
        place = all(self.machine.get(name) == here.get(name) for name in PLACE)
        return peer is not None and place and (self.model, self.mark) == (peer.name, mark_of(peer))


def mark_of(peer: Peer) -> str:
    """Changes with the sizes, the training and the package of a model."""
    place = peer.environment
    package = [] if place is None else [place.packages, place.options, place.checkout]
    settings = [TASKS, peer.version, peer.recipe.plan, asdict(peer.recipe.training), peer.recipe.repulsion, package]
    return sha256(json.dumps(settings, sort_keys=True, default=repr).encode()).hexdigest()[:8]


def machine(device: str) -> dict[str, Any]:
    """What a record says about where and when it was made."""
    commit = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    card = {"gpu": torch.cuda.get_device_name()} if device == "cuda" else {}
    return {
        "cpu": cpu(),
        **card,
        "torch": torch.__version__,
        "date": str(date.today()),
        "commit": commit.stdout.strip(),
    }


class Records:
    """Records in a JSON file.

    Args:
        path: the file; it need not be there yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __iter__(self) -> Iterator[Record]:
        """All of them.

        Raises:
            ValueError: if the file is damaged.
        """
        if not self.path.is_file():
            return
        try:
            entries = [Record(**entry) for entry in json.loads(self.path.read_text(encoding="utf-8"))]
        except (json.JSONDecodeError, TypeError) as error:
            raise ValueError(
                f"{self.path}: no records of the benchmark ({error}): restore the file or move it away"
            ) from error
        yield from entries

    def find(self, peer: Peer, measurement: Measurement, here: Mapping[str, Any]) -> Record | None:
        """Record of a measurement on this machine, if it was made."""
        return next((record for record in self if record.matches(peer, measurement, here)), None)

    def add(self, record: Record) -> None:
        """Keep a record, in the place of an older one of the same."""
        with locked(self.path):
            kept = [old for old in self if old.key != record.key]
            with replacing(self.path) as partial:
                lines = ",\n".join(json.dumps(asdict(entry), sort_keys=True) for entry in [*kept, record])
                partial.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
