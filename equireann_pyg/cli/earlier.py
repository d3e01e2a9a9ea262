"""Options, classes and arguments of the model by the names of version 0.1: they work until 0.3, and say so."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from copy import deepcopy
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from jsonargparse import get_loader
from lightning.pytorch.utilities import rank_zero_warn

from equireann_pyg.cli.earlier_plan import PlanSoFar
from equireann_pyg.cli.words import CONFIG
from equireann_pyg.moved import GONE, RENAMED, home

OPTIONS: Mapping[str, Sequence[str]] = {
    "data.batch_size": ["data.batches.size"],
    "data.max_atoms": ["data.batches.max_atoms"],
    "data.max_edges": ["data.batches.max_edges"],
    "data.num_workers": ["data.batches.num_workers"],
    "data.seed": ["data.split.seed", "data.batches.seed"],
    "data.val_fraction": ["data.split.fraction"],
    "model.compile": ["model.evaluation.compiled"],
    "model.compiled": ["model.evaluation.compiled"],
    "model.lr_interval": ["model.schedule.interval"],
    "model.lr_scheduler": ["model.schedule.lr_scheduler"],
    "model.warmup_steps": ["model.schedule.warmup_steps"],
}
"""What earlier options are called now; one of them is two."""

CLASSES = RENAMED["loss"]
"""What classes are called now that go by their short names."""

SUBCOMMANDS = ("fit", "validate", "test", "predict")
ROOMS = ("model", "data", "trainer")
PLAN = "model.model"
ARGUMENTS = "init_args"

Option = tuple[str, str | None]
"""An option with its value, or a word that is none."""


def present_words(words: Sequence[str], closing: ExitStack) -> list[str]:
    """A command line in present terms; whatever has another name now is named in a warning, one for each file.

    Configurations with earlier entries are replaced by translated copies, of the same file name.

    Args:
        words: arguments of the command line, with the paths of its configurations.
        closing: removes the copies when it closes.

    Raises:
        ValueError: for an earlier model that has arguments which only the general one has.
    """
    said, options = Translation("the command line"), list(_options(words))
    made: list[Option] = []
    for name, value in options:
        if name in CONFIG and value is not None:
            made.append((name, _present_file(value, said.plan, closing)))
        else:
            made.extend(said.option(name, value) if name.startswith("--") else [(name, value)])
    said.warn()
    if made == options:
        return list(words)
    return [name if value is None else f"{name}={value}" for name, value in made]


def _options(words: Sequence[str]) -> Iterator[Option]:
    """The words of a command line, options with their values."""
    rest = list(words)
    while rest:
        name, equals, value = rest.pop(0).partition("=")
        if not name.startswith("--") and name not in CONFIG:
            yield f"{name}{equals}{value}", None
        elif equals:
            yield name, value
        else:
            yield name, None if not rest or rest[0].startswith("--") else rest.pop(0)


def _present_file(file: str, plan: PlanSoFar, closing: ExitStack) -> str:
    """A configuration in present terms: the file itself, or a copy."""
    entry = _with_parts(_loaded(Path(file).read_text(encoding="utf-8")), Path(file).parent)
    said = Translation(file, plan)
    present = said.entry(entry)
    said.warn()
    if present == entry:
        return file
    copy = Path(closing.enter_context(TemporaryDirectory(prefix="equireann-")), Path(file).name)
    copy.write_text(yaml.safe_dump(present, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return str(copy)


def _loaded(text: str) -> Any:
    try:
        return get_loader("yaml")(text)
    except yaml.YAMLError:
        return None  # the parser will say what is wrong


def _with_parts(entry: Any, folder: Path) -> Any:
    """The entries of a configuration, with those of the files that it names for whole sections."""
    if not isinstance(entry, dict):
        return entry
    found = {name: _content(value, folder) for name, value in entry.items()}
    for name in ("model", *SUBCOMMANDS):
        if name in found:
            found[name] = _with_parts(found[name], folder)
    return found


def _content(value: Any, folder: Path) -> Any:
    """What a nested configuration holds, with its own parts; any other value as it is."""
    if isinstance(value, str) and value.endswith((".yaml", ".yml")) and (path := folder / value).is_file():
        return _with_parts(_loaded(path.read_text(encoding="utf-8")), path.parent)
    return value


class Translation:
    """Puts the entries of one place into present terms, and says once what they are called now.

    Args:
        place: the file, for what is said.
        plan: what has been said of the model before, elsewhere.
    """

    def __init__(self, place: str, plan: PlanSoFar | None = None) -> None:
        self.place = place
        self.plan = plan or PlanSoFar()
        self.pairs: dict[str, str] = {}

    def warn(self) -> None:
        """Say in one line what has another name now."""
        if self.pairs:
            pairs = ", ".join(f"{old} -> {new}" for old, new in self.pairs.items())
            rank_zero_warn(f"{self.place}: {pairs}; the earlier names will go with version {GONE}")

    def entry(self, entry: Any) -> Any:
        """The entries of a configuration in present terms."""
        present = deepcopy(entry)
        if not isinstance(present, dict):
            return present
        for section in (present, *(present[name] for name in SUBCOMMANDS if isinstance(present.get(name), dict))):
            self._rename(section)
            for room in ROOMS:
                if room in section:
                    section[room] = self._classes(section[room])
            if _at(section, PLAN) is not None:
                section["model"]["model"] = self._plan(section["model"]["model"])
        return present

    def option(self, name: str, value: str | None) -> list[Option]:
        """An option by its present name, or several; its value may be a section, or the file of one."""
        for old, news in OPTIONS.items():
            if re.fullmatch(rf"--{re.escape(old)}(\+|\..*)?", name):
                self.pairs[f"--{old}"] = " and ".join(f"--{new}" for new in news)
                return [self._value(f"--{new}{name.removeprefix(f'--{old}')}", value) for new in news]
        if re.fullmatch(rf"--{PLAN}(\.[^+]*)?", name) and value is not None:
            return self._plan_option(name, value)
        return [self._value(name, value)]

    def _rename(self, section: dict[str, Any]) -> None:
        for old, news in OPTIONS.items():
            room, _, name = old.partition(".")
            if isinstance(section.get(room), dict) and name in section[room]:
                value = section[room].pop(name)
                for new in news:
                    _put(section, new.split("."), value)
                self.pairs[old] = " and ".join(news)

    def _classes(self, entry: Any) -> Any:
        """Names of classes, and their paths in this package."""
        if isinstance(entry, dict):
            return {name: self._classes(value) for name, value in entry.items()}
        if isinstance(entry, list):
            return [self._classes(value) for value in entry]
        if not isinstance(entry, str):
            return entry
        present = home(CLASSES.get(entry, entry))
        if present == entry:
            return entry
        module, _, name = present.rpartition(".")
        room = module.rpartition(".")[0]
        if room.startswith("equireann_pyg.") and hasattr(import_module(room), name):
            present = f"{room}.{name}"  # of rooms the paths last
        self.pairs[entry] = present
        return present

    def _plan(self, plan: Any) -> Any:
        """Class and arguments of the model."""
        present, pairs = self.plan.add(plan)
        self.pairs |= pairs
        return present

    def _plan_option(self, name: str, value: str) -> list[Option]:
        """An option of the model."""
        parts = name.removeprefix(f"--{PLAN}").split(".")[1:]
        if parts and parts[0] not in ("class_path", ARGUMENTS):
            parts.insert(0, ARGUMENTS)
        inner = self._classes(_section(value))
        if not parts and not isinstance(inner, dict):
            parts = ["class_path"]
        given: Any = inner if inner is not None else _loaded(self._named(value))
        for part in reversed(parts):
            given = {part: given}
        present = self._plan(given)
        if present == given:
            return [(name, json.dumps(inner) if inner != _section(value) else self._named(value))]
        if not isinstance(present, dict) or "class_path" in present:
            return [(f"--{PLAN}", json.dumps(present))]
        return list(_leaves(f"--{PLAN}", present))

    def _value(self, name: str, value: str | None) -> Option:
        """An option with its value in present terms."""
        room = name.removeprefix("--").partition(".")[0]
        if value is None or room not in ROOMS:
            return name, value
        inner = given = _section(value)
        if inner is None:
            return name, self._named(value) if room == "model" else value
        parts = name.removeprefix("--").removesuffix("+").split(".")
        for part in reversed(parts):
            given = {part: given}
        found = _at(self.entry(given), ".".join(parts))
        return name, value if found == inner else json.dumps(found)

    def _named(self, value: str) -> str:
        """A value that may be the name of a class."""
        for old, new in CLASSES.items():
            if re.search(rf"\b{old}\b", value):
                self.pairs[old] = new
                value = re.sub(rf"\b{old}\b", new, value)
        return value


def _section(value: str) -> Any:
    """The section that the value of an option is, or whose file it names; or nothing."""
    inner = _content(value, Path())
    inner = _loaded(value) if inner is value and value.lstrip().startswith(("{", "[")) else inner
    return _with_parts(inner, Path()) if isinstance(inner, dict | list) else None


def _at(entry: Any, name: str) -> Any:
    for part in name.split("."):
        entry = entry.get(part) if isinstance(entry, dict) else None
    return entry


def _put(section: dict[str, Any], names: Sequence[str], value: Any) -> None:
    """Set an entry, unless it is there under its present name, too."""
    *rooms, name = names
    for room in rooms:
        if not isinstance(section.get(room), dict):
            section[room] = {}
        section = section[room]
    section.setdefault(name, value)


def _leaves(name: str, entry: Any) -> Iterator[Option]:
    """Options for the class and the arguments of a plan."""
    if not isinstance(entry, dict) or not entry.keys() <= {"class_path", ARGUMENTS}:
        yield name, entry if isinstance(entry, str) else json.dumps(entry)
        return
    if "class_path" in entry:
        yield name, entry["class_path"]
    for argument, value in entry.get(ARGUMENTS, {}).items():
        yield from _leaves(f"{name}.{ARGUMENTS}.{argument}", value)
