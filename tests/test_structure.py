"""The shape of the code: rooms and imports, number of arguments, length of files and functions, docstrings."""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "equireann_pyg"
FILES = sorted(PACKAGE.rglob("*.py"))
SOURCES = [*FILES, *sorted((ROOT / "experiments").rglob("*.py"))]
ALL_FILES = [
    *SOURCES,
    *(path for name in ("tests", "examples", "docs") for path in sorted((ROOT / name).rglob("*.py"))),
]
KERNELS = sorted(path for ending in ("cpp", "h") for path in PACKAGE.rglob(f"*.{ending}"))
LAYERS = [  # a room imports only from layers above its own
    {"elements", "moved", "wording"},
    {"files"},
    {"lazy"},
    {"ops"},
    {"nn"},
    {"graph", "models"},
    {"properties"},
    {"potential"},
    {"data", "inference", "testing"},
    {"engines", "training"},
    {"datasets", "evaluation", "simulation"},
    {"cli"},
    {"__main__"},
]
LIGHTNING = {"cli", "data", "evaluation", "training"}
ASE = {"cli", "data", "datasets", "engines", "evaluation", "graph", "inference", "simulation"}


def room_of(path: Path) -> str:
    """First name below the package: ``nn`` for nn/conv.py."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imports(path: Path) -> Iterator[str]:
    """Every module or name that a file imports, wherever in the file, except for type checkers."""
    tree = ast.parse(path.read_text())
    typing_only = {
        node
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and ast.unparse(branch.test) == "TYPE_CHECKING"
        for node in ast.walk(branch)
    }
    for node in ast.walk(tree):
        if node in typing_only:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imported_files(path: Path) -> Iterator[Path]:
    """Files of the package or of the experiments that a file imports from."""
    for name in imports(path):
        parts = name.split(".")
        for place in (ROOT.joinpath(*parts), ROOT.joinpath(*parts[:-1])):
            for file in (place.with_suffix(".py"), place / "__init__.py"):
                if file in SOURCES:
                    yield file
                    break
            else:
                continue
            break


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_import_direction(path: Path) -> None:
    room, imported = room_of(path), list(imports(path))
    if room == "__init__":
        return
    rank = {name: level for level, layer in enumerate(LAYERS) for name in layer}
    assert room in rank, f"{room} is new: give it a layer"
    own = {name.split(".")[1] for name in imported if name.startswith("equireann_pyg.")} - {room, "__version__"}
    wrong = {name for name in own if rank[name] >= rank[room]}
    assert not wrong, f"{room} must not import {wrong}"
    others = {name.split(".")[0] for name in imported} - {"equireann_pyg", "__future__"}
    if room == "nn":
        assert own <= {"elements", "moved", "ops"}
        assert others <= {"torch", "torch_geometric", "e3nn"} | set(sys.stdlib_module_names)
    if room == "potential":
        assert "models" not in own
    assert "lightning" not in others or room in LIGHTNING
    assert "ase" not in others or room in ASE


def test_no_circle_of_files() -> None:
    arrows = {path: set(imported_files(path)) - {path} for path in SOURCES}
    assert sum(map(len, arrows.values())) > len(SOURCES)
    TopologicalSorter(arrows).prepare()  # raises with the circle


def test_no_circle_of_folders() -> None:
    arrows: dict[Path, set[Path]] = {}
    for path in SOURCES:
        files = set(imported_files(path)) if path != PACKAGE / "__init__.py" else set()
        arrows.setdefault(path.parent, set()).update({file.parent for file in files} - {path.parent, PACKAGE})
    TopologicalSorter(arrows).prepare()


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_at_most_ten_arguments(path: Path) -> None:
    for node in ast.parse(path.read_text()).body:
        functions = node.body if isinstance(node, ast.ClassDef) else [node]
        if getattr(node, "name", "_").startswith("_"):  # type: ignore[attr-defined]
            continue
        for function in functions:
            if isinstance(function, ast.FunctionDef) and any(
                ast.unparse(decorator).startswith("triton.jit") for decorator in function.decorator_list
            ):
                continue  # a kernel takes a bare pointer for each tensor, as those in C++ do
            if isinstance(function, ast.FunctionDef) and (function.name == "__init__" or function.name[0] != "_"):
                names = [argument.arg for argument in ast.walk(function.args) if isinstance(argument, ast.arg)]
                assert len(set(names) - {"self", "cls"}) <= 10, f"{path}: {node.name}.{function.name}"  # type: ignore[attr-defined]


LIGHT = ["nn", "graph", "models", "potential", "inference", "training.loss", "cli.configurations", "testing"]


@pytest.mark.parametrize("name", LIGHT)
def test_import_is_light(name: str) -> None:
    heavy = {"lightning", "ase", "matplotlib", "scipy", "e3nn"}
    code = f"import sys, equireann_pyg.{name}; print(*sorted({heavy} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == ""


@pytest.mark.parametrize("path", [*ALL_FILES, *KERNELS], ids=lambda path: str(path.relative_to(ROOT)))
def test_length_of_files(path: Path) -> None:
    assert path.read_text().count("\n") <= 300


@pytest.mark.parametrize("path", ALL_FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_length_of_functions(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            length = (node.end_lineno or 0) - (body[0].lineno if body else node.lineno) + 1
            assert length <= 60, f"{node.name} has {length} lines"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_public_name_is_documented(path: Path) -> None:
    parts = path.relative_to(ROOT).with_suffix("").parts
    if parts[-1] == "__main__":
        return
    name = ".".join(part for part in parts if part != "__init__")
    module = importlib.import_module(name)
    assert module.__doc__
    for attribute, value in vars(module).items():
        if attribute.startswith("_") or getattr(value, "__module__", None) != name:
            continue
        if not (inspect.isclass(value) or inspect.isfunction(value)):
            continue
        assert value.__doc__, f"{name}.{attribute}"
        members = vars(value).items() if inspect.isclass(value) else ()
        for member, method in members:
            function = (
                method.fget if isinstance(method, property) else inspect.unwrap(getattr(method, "__func__", method))
            )
            if member.startswith("_") or member == "extra_repr" or getattr(function, "__module__", None) != name:
                continue
            assert function.__doc__, f"{name}.{attribute}.{member}"
