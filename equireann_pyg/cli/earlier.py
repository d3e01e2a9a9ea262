"""Options, classes and arguments of the model by the names of version 0.1: they work until 0.3, and say so."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from copy import deepcopy
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from jsonargparse import get_loader
from lightning.pytorch.utilities import rank_zero_warn

from equireann_pyg import models
from equireann_pyg.cli.words import CONFIG, explicit, files_of
from equireann_pyg.models.earlier import RADIAL
from equireann_pyg.moved import GONE, RENAMED, home

OPTIONS: Mapping[str, Sequence[str]] = {
    "data.batch_size": ["data.batches.size"],
    "data.max_atoms": ["data.batches.max_atoms"],
    "data.max_edges": ["data.batches.max_edges"],
    "data.num_workers": ["data.batches.num_workers"],
    "data.seed": ["data.split.seed", "data.batches.seed"],
    "data.val_fraction": ["data.split.fraction"],
    "model.compile": ["model.compiled"],
    "model.lr_interval": ["model.schedule.interval"],
    "model.lr_scheduler": ["model.schedule.lr_scheduler"],
    "model.warmup_steps": ["model.schedule.warmup_steps"],
}
"""What earlier options are called now; one of them is two."""

CLASSES = RENAMED["loss"]
"""What classes are called now that go by their short names."""

FLAGS = {"pair_radial": True, "share_contraction": False}
"""Earlier flags of the model, with their values by default."""

SUBCOMMANDS = ("fit", "validate", "test", "predict")
INIT = "model.model.init_args"
ARGUMENT = re.compile(rf"--model\.model\.(?:init_args\.)?({'|'.join([*RADIAL, *FLAGS])})((?:\..*)?)")

Option = tuple[str, str | None]
"""An option with its value, or a word that is none."""


def present_words(words: Sequence[str], closing: ExitStack) -> list[str]:
    """A command line in present terms; whatever has another name now is named in a warning.

    Configurations with earlier entries are replaced by translated copies, of the same file name.

    Args:
        words: arguments of the command line, with the paths of its configurations.
        closing: removes the copies when it closes.

    Raises:
        ValueError: for a flag of the model that only another class has now.
    """
    entries = {file: _loaded(Path(file)) for file in files_of(words)}
    kind, planned = _kind(words, entries), f"--{INIT}.radial" in words
    for file, entry in entries.items():
        present = present_entries(entry, kind, file)
        planned = planned or _at(present, f"{INIT}.radial") is not None
        if present != entry:
            copy = Path(closing.enter_context(TemporaryDirectory(prefix="equireann-")), Path(file).name)
            copy.write_text(yaml.safe_dump(present, sort_keys=False, allow_unicode=True), encoding="utf-8")
            words = [_replaced(before, word, file, str(copy)) for before, word in pairwise(["", *words])]
    options = list(_options(words))
    present_options = _present_model([new for old in options for new in _present_option(*old)], kind, planned)
    if present_options == options:
        return list(words)
    return [name if value is None else f"{name}={value}" for name, value in present_options]


def _loaded(path: Path) -> Any:
    try:
        return get_loader("yaml")(path.read_text(encoding="utf-8"))
    except yaml.YAMLError:
        return None  # the parser will say what is wrong


def _kind(words: Sequence[str], entries: Mapping[str, Any]) -> str:
    """Last name of the class of the model that configurations and words name."""
    found = ""
    said = explicit(words, "model.model")
    plans = [_at(entry, "model.model") for entry in entries.values()]
    for plan in (*plans, said.get("model.model"), said.get("model.model.class_path")):
        path = plan.get("class_path") if isinstance(plan, dict) else plan
        found = path.rpartition(".")[2] if isinstance(path, str) else found
    return found


def _at(entry: Any, name: str) -> Any:
    for part in name.split("."):
        entry = entry.get(part) if isinstance(entry, dict) else None
    return entry


def _replaced(before: str, word: str, file: str, copy: str) -> str:
    option, equals, name = word.partition("=")
    if equals and option in CONFIG and name == file:
        return f"{option}={copy}"
    return copy if before in CONFIG and word == file else word


def present_entries(entry: Any, kind: str, file: str) -> Any:
    """The entries of a configuration in present terms.

    Args:
        entry: what the file holds.
        kind: last name of the class of the model, for entries that do not name one.
        file: its name, for what is said.
    """
    present = deepcopy(entry)
    if not isinstance(present, dict):
        return present
    for section in (present, *(present[name] for name in SUBCOMMANDS if isinstance(present.get(name), dict))):
        for old, news in OPTIONS.items():
            room, _, name = old.partition(".")
            if isinstance(section.get(room), dict) and name in section[room]:
                value = section[room].pop(name)
                for new in news:
                    _put(section, new.split("."), value)
                _say(f"{file}: {old}", " and ".join(news))
        for room in ("model", "trainer"):
            if room in section:
                section[room] = _present_classes(section[room], file)
        if isinstance(_at(section, "model.model"), dict):
            section["model"]["model"] = _present_plan(section["model"]["model"], kind, file)
    return present


def _put(section: dict[str, Any], names: Sequence[str], value: Any) -> None:
    """Set an entry, unless it is there under its present name, too."""
    *rooms, name = names
    for room in rooms:
        if not isinstance(section.get(room), dict):
            section[room] = {}
        section = section[room]
    section.setdefault(name, value)


def _present_classes(entry: Any, file: str) -> Any:
    """Names of classes, and their paths in this package."""
    if isinstance(entry, dict):
        return {name: _present_classes(value, file) for name, value in entry.items()}
    if isinstance(entry, list):
        return [_present_classes(value, file) for value in entry]
    if not isinstance(entry, str):
        return entry
    present = home(CLASSES.get(entry, entry))
    if present == entry:
        return entry
    module, _, name = present.rpartition(".")
    room = module.rpartition(".")[0]
    if room.startswith("equireann_pyg.") and hasattr(import_module(room), name):
        present = f"{room}.{name}"  # of rooms the paths last
    _say(f"{file}: {entry}", present)
    return present


def _present_plan(plan: dict[str, Any], kind: str, file: str) -> dict[str, Any]:
    """Class and arguments of a model."""
    path, arguments = str(plan.get("class_path", kind)), plan.get("init_args")
    package, _, name = path.rpartition(".")
    if (
        not isinstance(arguments, dict)
        or name not in models.__all__
        or package.partition(".")[0] not in ("", "equireann_pyg")
    ):
        return plan
    full = f"equireann_pyg.models.{name}"
    present = getattr(models, name).upgraded({"class_path": full, "init_args": arguments})
    gone = [argument for argument in arguments if argument not in present["init_args"]]
    if not gone:
        return plan
    made = [argument for argument in present["init_args"] if argument not in arguments]
    _say(f"{file}: {', '.join(gone)} of {name}", ", ".join(made) or "the only choice")
    return present if present["class_path"] != full else {**plan, "init_args": present["init_args"]}


def _options(words: Sequence[str]) -> Iterator[Option]:
    """The words of a command line, options with their values."""
    rest = list(words)
    while rest:
        name, equals, value = rest.pop(0).partition("=")
        if not name.startswith("--") or equals:
            yield (name, value) if name.startswith("--") else (f"{name}{equals}{value}", None)
        else:
            yield name, None if not rest or rest[0].startswith("--") else rest.pop(0)


def _present_option(name: str, value: str | None) -> Iterator[Option]:
    """An option by its present name, or several."""
    if name.startswith("--model.") and value is not None:
        for old, new in CLASSES.items():
            if re.search(rf"\b{old}\b", value):
                _say(f"{name} {old}", new)
                value = re.sub(rf"\b{old}\b", new, value)
    for old, news in OPTIONS.items():
        if name in (f"--{old}", f"--{old}+") or name.startswith(f"--{old}."):
            _say(f"--{old}", " and ".join(f"--{new}" for new in news))
            yield from ((f"--{new}{name.removeprefix(f'--{old}')}", value) for new in news)
            return
    yield name, value


def _present_model(options: Sequence[Option], kind: str, planned: bool) -> list[Option]:
    """Options in which the model's radial functions have a plan of their own, and flags are gone.

    Args:
        options: of the command line.
        kind: last name of the class of the model.
        planned: whether there is a plan already, whose arguments are set.

    Raises:
        ValueError: for a flag that only another class has now.
    """
    kept: list[Option] = []
    radial: dict[str, Option] = {}
    plan = ""
    for name, value in options:
        match = ARGUMENT.fullmatch(name)
        if match is None or (match[1] == "num_radial" and kind != "OrbitalNetwork"):
            kept.append((name, value))
        elif match[1] not in FLAGS:
            new = f"--{INIT}.radial.init_args.{RADIAL[match[1]]}"
            radial[name] = (new + match[2], value)
            _say(f"--{INIT}.{match[1]}", new)
        elif match[1] == "pair_radial" and kind == "OrbitalNetwork":
            plan = "PairRadial" if yaml.safe_load(str(value)) else "ElementRadial"
            _say(f"--{INIT}.pair_radial", f"--{INIT}.radial {plan}")
        elif yaml.safe_load(str(value)) != FLAGS[match[1]]:
            raise ValueError(
                f"{name} {value}: {kind} has no such flag any more; make it of --model.model OrbitalNetwork, with the plan "
                "Shared(Density) of a descriptor, or ElementRadial of radial functions"
            )
    if plan or (radial and not planned):
        kept.append((f"--{INIT}.radial", plan or "PairRadial"))  # before its arguments
    return [*kept, *radial.values()]


def _say(old: str, new: str) -> None:
    rank_zero_warn(f"{old} is now {new}; the earlier name will go with version {GONE}")
