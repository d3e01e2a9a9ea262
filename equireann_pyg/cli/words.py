"""What stands in the words of a command line, before any of it is parsed."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from equireann_pyg.cli import configurations

PARTS = ("model", "properties", "repulsion")
"""What of ``model`` a checkpoint holds."""

CONFIG = ("--config", "-c")
"""Options that name a configuration."""


def with_paths(words: Sequence[str]) -> list[str]:
    """A command line with the files of the configurations that it names."""
    found = [str(configurations.find(word)) if before in CONFIG else word for before, word in pairwise(["", *words])]
    for index, word in enumerate(found):
        option, equals, name = word.partition("=")
        if equals and option in CONFIG:
            found[index] = f"{option}={configurations.find(name)}"
    return found


def files_of(words: Sequence[str]) -> list[str]:
    """Files of all configurations of a command line."""
    parts = [part for word in words for part in (word.split("=", 1) if word.startswith(CONFIG) else [word])]
    return [name for option, name in pairwise(parts) if option in CONFIG]


def name_of(words: Sequence[str]) -> str:
    """Name for the runs of a command line: that of its first configuration."""
    return next((Path(file).stem for file in files_of(words)), "fit")


def source_of(words: Sequence[str]) -> str | None:
    """File of the potential that a command line starts from, if it names one."""
    for option in ("ckpt_path", "model.init_from"):
        if option in (found := explicit(words, option)):
            return str(found[option])
    return None


def without_model(words: Sequence[str]) -> list[str]:
    """A command line without what it says of the model."""
    kept, skip = [], False
    for word in words:
        name, equals, _ = word.removeprefix("--").partition("=")
        said = word.startswith("--") and any(name.startswith(f"model.{part}") for part in PARTS)
        if not (said or skip):
            kept.append(word)
        skip = said and not equals
    return kept


def explicit(words: Sequence[str], prefix: str) -> dict[str, Any]:
    """Options of a command line under a prefix: their names, and their values where these are in the same word or the next."""
    found: dict[str, Any] = {}
    for word, follower in pairwise([*words, ""]):
        name, equals, value = word.removeprefix("--").partition("=")
        if word.startswith("--") and (name == prefix or name.startswith(prefix + ".")):
            found[name.removesuffix("+")] = yaml.safe_load(value if equals else follower)
    return found


def configured(files: Sequence[str], prefix: str) -> dict[str, Any]:
    """Entries of configuration files under a prefix, later files over earlier ones."""
    found: dict[str, Any] = {}
    for file in files:
        entry = yaml.safe_load(Path(file).read_text(encoding="utf-8")) or {}
        for name in prefix.split("."):
            entry = entry.get(name) if isinstance(entry, dict) else None
        if entry is not None:
            found[prefix] = entry
    return found
