"""The shape of the code: direction of imports, weight of the import, length of files and functions, docstrings."""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "equireann_pyg"
FILES = sorted(PACKAGE.rglob("*.py"))
ALL_FILES = [*FILES, *sorted((ROOT / "tests").rglob("*.py")), *sorted((ROOT / "experiments").rglob("*.py"))]
KERNELS = sorted(path for ending in ("cpp", "h") for path in PACKAGE.rglob(f"*.{ending}"))
LAYERS = [  # a module imports only from layers above its own
    {"cache", "configurations", "devices", "elements", "labels", "neighbors", "plots"},
    {"ops"},
    {"nn"},
    {"earlier"},
    {"network", "graph"},
    {"models", "properties"},
    {"derivatives", "loss", "record", "references"},
    {"potential"},
    {"checkpoint", "metrics", "preparation", "testing", "reann_io", "compilation", "blocks", "warm_start"},
    {"export", "finetuning"},
    {"calculator", "data"},
    {"predictions"},
    {"training", "callbacks", "evaluation", "datasets", "progress"},
    {"quickstart", "report"},
    {"cli"},
    {"__main__"},
]
LIGHTNING = {"training", "data", "cli", "callbacks", "predictions", "progress", "quickstart", "report"}
ASE = {"graph", "data", "calculator", "predictions", "quickstart", "reann_io", "datasets"}


def module_of(path: Path) -> str:
    """First name below the package: ``nn`` for nn/conv.py."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imports(path: Path) -> Iterator[str]:
    """Every module a file imports, wherever in the file, except for type checkers."""
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
            if node.module == "equireann_pyg":
                yield from (f"equireann_pyg.{alias.name}" for alias in node.names)
            else:
                yield str(node.module)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_import_direction(path: Path) -> None:
    module, imported = module_of(path), list(imports(path))
    if module == "__init__":
        return
    rank = {name: level for level, layer in enumerate(LAYERS) for name in layer}
    assert module in rank, f"{module} is new: give it a layer"
    own = {name.split(".")[1] for name in imported if name.startswith("equireann_pyg.")} - {module}
    wrong = {name for name in own if rank[name] >= rank[module]}
    assert not wrong, f"{module} must not import {wrong}"
    others = {name.split(".")[0] for name in imported} - {"equireann_pyg", "__future__"}
    if module == "nn":
        assert own <= {"ops"}
        assert others <= {"torch", "torch_geometric", "e3nn"} | set(sys.stdlib_module_names)
    if module == "potential":
        assert "models" not in own
    assert "lightning" not in others or module in LIGHTNING
    assert "ase" not in others or module in ASE


@pytest.mark.parametrize("name", ["equireann_pyg", "equireann_pyg.nn", "equireann_pyg.testing"])
def test_import_is_light(name: str) -> None:
    code = (
        f"import sys, {name}; print(*sorted({{'lightning', 'ase', 'matplotlib', 'scipy', 'e3nn'}} & set(sys.modules)))"
    )
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
