"""Pages made from the package itself: one of the API for each room, and the options of the command line."""

from __future__ import annotations

import importlib
import inspect
import os
import pkgutil
import re
import shutil
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from sphinx.pycode import ModuleAnalyzer

import equireann_pyg
from equireann_pyg.cli import configurations
from equireann_pyg.cli.command import PotentialCLI

PACKAGE = "equireann_pyg"
HERE = Path(__file__).parent
INTERNAL = ("lazy", "moved", "cuda")
"""Modules that are of no use to anybody else."""

TRAINER = "trainer"
OF_FIT = ("model", "data")
"""Groups of options that validate, test and predict share with fit."""


def rooms() -> list[str]:
    """Sub-packages, by full name."""
    return [f"{PACKAGE}.{part.name}" for part in pkgutil.iter_modules(equireann_pyg.__path__) if part.ispkg]


def modules(room: str) -> list[ModuleType]:
    """The room itself and what is in it, modules with public names first; of the package only its own modules."""
    package = importlib.import_module(room)
    parts: list[ModuleType] = []
    for part in pkgutil.iter_modules(getattr(package, "__path__", [])):
        name = f"{room}.{part.name}"
        if part.name.startswith("_") or part.name in INTERNAL:
            continue
        if not part.ispkg:
            parts.append(importlib.import_module(name))
        elif room != PACKAGE:
            parts += modules(name)
    return [package, *sorted(parts, key=is_inner)]


def is_inner(module: ModuleType) -> bool:
    """Whether no name of a module is public in its room."""
    room = importlib.import_module(module.__name__.rpartition(".")[0])
    return not set(objects(module)) & {*getattr(room, "__all__", ()), *equireann_pyg.__all__}


def is_function(value: Any) -> bool:
    """Whether a value is a function, or an operator made of one."""
    return callable(value) and inspect.isfunction(inspect.unwrap(value))


def objects(module: ModuleType) -> list[str]:
    """Public classes and functions that a module defines, in its order."""
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and getattr(value, "__module__", None) == module.__name__
        and (inspect.isclass(value) or is_function(value))
    ]


def constants(module: ModuleType) -> list[str]:
    """Public values with a docstring, in the order of the module."""
    documented = ModuleAnalyzer.for_module(module.__name__).find_attr_docs()
    return [name for scope, name in documented if not scope and not name.startswith("_") and hasattr(module, name)]


def public_name(module: str, name: str) -> str:
    """Shortest public path of what a module defines: that of the package, of the room, or of the module."""
    for home in (PACKAGE, ".".join(module.split(".")[:2])):
        room = importlib.import_module(home)
        if name in getattr(room, "__all__", ()) and f"{home}.{name}" not in sys.modules:
            return f"{home}.{name}"
    return f"{module}.{name}"


def found(path: str) -> Any:
    """What a dotted path names, or None; a class or function goes before a module of its name."""
    owner, _, name = path.rpartition(".")
    for parent in (sys.modules.get(owner), found(owner) if owner else None):
        if (value := getattr(parent, name, None)) is not None:
            return value
    return sys.modules.get(path)


def documented_name(target: str, module: str | None, cls: str | None) -> str | None:
    """Name under which the object that ``target`` means, seen from a module and a class, is documented."""
    for path in (target, f"{module}.{target}", f"{module}.{cls}.{target}"):
        if not path.startswith(f"{PACKAGE}."):
            continue
        owner, _, name = path.rpartition(".")
        for defined, member in ((found(path), ""), (found(owner), f".{name}")):
            named = inspect.isclass(defined) or (is_function(defined) and not member)
            if named and defined.__module__.startswith(PACKAGE) and "." not in defined.__qualname__:
                return public_name(defined.__module__, defined.__qualname__) + member
        if name.isupper() and owner in sys.modules:
            return next((f"{home.__name__}.{name}" for home in modules(owner) if name in constants(home)), None)
    return None


def heading(text: str, line: str) -> list[str]:
    """Title of a page or section."""
    return [text, line * len(text), ""]


def section(module: ModuleType) -> list[str]:
    """Docstring of a module and everything public in it."""
    name = module.__name__
    lines = [f".. automodule:: {name}", "   :no-members:", ""]
    for constant in constants(module):
        lines += [f".. autodata:: {name}.{constant}", "   :no-value:", ""]
    for item in objects(module):
        kind = "class" if inspect.isclass(getattr(module, item)) else "function"
        lines += [f".. auto{kind}:: {public_name(name, item)}"]
        lines += ["   :members:", "   :show-inheritance:", ""] if kind == "class" else [""]
    return lines


def api_page(room: str) -> str:
    """One page: a section for each module of a room."""
    lines = heading(room, "=")
    for module in modules(room):
        if module.__name__ != room:
            if not (objects(module) or constants(module)):
                continue
            lines += heading(module.__name__.removeprefix(f"{PACKAGE}."), "-")
        lines += section(module)
    return "\n".join(lines)


class _Parsed(Exception):
    """The parsers are there."""


class _Parsers(PotentialCLI):
    """The command line as far as its parsers."""

    def parse_arguments(self, parser: Any, args: Any) -> None:
        raise _Parsed


def parsers() -> dict[str, Any]:
    """Parser of each subcommand."""
    command = _Parsers.__new__(_Parsers)
    with suppress(_Parsed):
        command.__init__(["fit"], ExitStack())  # type: ignore[misc]
    return dict(command.parser._subcommands_action._name_parser_map)


def option(action: Any) -> list[str]:
    """One option: its name, help and default."""
    names = [name for name in action.option_strings if not name.endswith("+")] or [action.dest]
    values = str(getattr(action, "metavar", None) or names[-1].lstrip("-").rpartition(".")[2].upper())
    text = re.sub(r"(?<!`)(--[\w.]+)", r"``\1``", " ".join(str(action.help or "").split()).replace("*", r"\*"))
    default = action.default
    silent = default is None or default is False or default in ("", []) or str(default).startswith("==")
    shown = "" if silent else f" Default: ``{default}``."
    shape = "" if not action.option_strings or action.nargs == 0 else f" {values}"
    return [f".. option:: {', '.join(f'{name}{shape}' for name in names)}", "", f"   {text}{shown}", ""]


def is_shown(action: Any, subcommand: str) -> bool:
    """Whether an option is listed: those of Lightning's trainer are not, nor those of ``fit`` a second time."""
    kind, group = type(action).__name__, action.dest.partition(".")[0]
    hidden = kind in ("_HelpAction", "_ActionHelpClassPath", "ActionLink", "_ActionConfigLoad", "_ActionPrintConfig")
    again = subcommand in ("validate", "test", "predict") and group in OF_FIT
    return not hidden and not again and group not in (TRAINER, "weights_only", "verbose")


def commands_page() -> str:
    """Every subcommand with its options."""
    lines: list[str] = []
    for name, parser in parsers().items():
        lines += heading(f"equireann {name}", "-")
        lines += [str(parser.description), "", f".. program:: equireann {name}", ""]
        seen = set()
        for action in (action for group in parser._action_groups for action in group._group_actions):
            if action.dest not in seen and is_shown(action, name):
                seen.add(action.dest)
                lines += option(action)
        if name in ("validate", "test", "predict"):
            lines += ["Options ``--data.*`` and ``--trainer.*`` are those of ``equireann fit``.", ""]
    return "\n".join(lines)


def configurations_page() -> str:
    """Every shipped configuration."""
    lines: list[str] = []
    for name in configurations.names():
        path = (configurations.FOLDER / f"{name}.yaml").resolve()
        lines += [*heading(name, "-"), f".. literalinclude:: {os.path.relpath(path, HERE)}", "   :language: yaml", ""]
    return "\n".join(lines)


def table(rows: dict[str, Any]) -> str:
    """Links beside the first line of what they lead to says of itself."""
    lines = [".. list-table::", "   :widths: 25 75", ""]
    for link, value in rows.items():
        lines += [f"   * - {link}", f"     - {(value.__doc__ or '').strip().splitlines()[0]}"]
    return "\n".join(lines)


def names_page() -> str:
    """What can be imported from the package itself."""
    values = {name: getattr(equireann_pyg, name) for name in equireann_pyg.__all__}
    return table({f":obj:`~{PACKAGE}.{name}`": value for name, value in values.items() if not inspect.ismodule(value)})


def rooms_page() -> str:
    """All rooms, each with a link to its page."""
    return table({f":doc:`{room} <generated/api/{room}>`": importlib.import_module(room) for room in rooms()})


def write_all(folder: Path) -> None:
    """Write all pages anew."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "api").mkdir(parents=True)
    for room in [PACKAGE, *rooms()]:
        (folder / "api" / f"{room}.rst").write_text(api_page(room) + "\n")
    for page in (commands_page, configurations_page, names_page, rooms_page):
        (folder / f"{page.__name__.removesuffix('_page')}.rst").write_text(page() + "\n")
