"""Old import paths: for one version they lead to the new ones, and say so."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from functools import partial
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

PACKAGE, GONE = "equireann_pyg", "0.3"
"""The package, and the version that the old paths will go with."""

MOVED = {
    "blocks": ("inference.blocks",),
    "cache": ("files",),
    "calculator": ("inference.calculator",),
    "callbacks": ("training.callbacks", "evaluation.predictions"),
    "checkpoint": ("potential.checkpoint",),
    "compilation": ("inference.compiled",),
    "configurations": ("cli.configurations",),
    "derivatives": ("potential.derivatives",),
    "devices": ("potential.devices",),
    "export": ("inference.exported",),
    "finetuning": ("training.finetuning",),
    "labels": ("graph.labels",),
    "loss": ("training.loss",),
    "metrics": ("training.metrics",),
    "neighbors": ("graph.neighbors",),
    "network": ("models.network",),
    "nn.blocks": ("models.blocks",),
    "ops.coupling": ("ops.coupled",),
    "ops.edges": ("ops.gaussians", "ops.polynomials"),
    "ops.library": ("ops.differentiable",),
    "ops.networks": ("ops.element_linear",),
    "ops.nodes": ("ops.density", "ops.soft_standardize"),
    "ops.orbitals": ("ops.orbital_sum",),
    "plots": ("evaluation.plots", "training.metrics"),
    "predictions": ("evaluation.predictions",),
    "preparation": ("training.preparation",),
    "progress": ("training.progress",),
    "quickstart": ("cli.quickstart",),
    "reann_io": ("data.reann",),
    "record": ("potential.record",),
    "references": ("training.references",),
    "report": ("evaluation.report",),
    "warm_start": ("training.warm_start",),
}
"""Modules that hold what was in an old one; all paths are below the package."""

RENAMED: dict[str, dict[str, str]] = {
    "data.module": {name: f"data.batches.{name}" for name in ("EpochLoader", "PREFETCH")},
    "evaluation": {name: f"evaluation.errors.{name}" for name in ("Errors", "Outputs")},
    "loss": {"EnergyForcesStressLoss": "PotentialLoss"},
    "nn.linear": {name: f"nn.scaling.{name}" for name in ("ScaledLinear", "SoftLimit", "degree_scale")}
    | {"LIMIT": "nn.scaling.ORBITAL_LIMIT"},
    "ops": {"bent": "soft_standardize", "invariants": "product_invariants", "plain_path": "by_reference"},
    "ops.nodes": {"bent": "soft_standardize"},
}
"""New name, or new path, of what has another one now, by the module, old or present, that it was public in."""

_said: set[str] = set()


def home(path: str) -> str:
    """Present path of a class or function, with its package, from an old or present one; says nothing."""
    if not path.startswith(f"{PACKAGE}."):
        return path
    module, _, name = path.removeprefix(f"{PACKAGE}.").rpartition(".")
    name = RENAMED.get(module, {}).get(name, name)
    if "." in name:
        return f"{PACKAGE}.{name}"
    modules = [f"{PACKAGE}.{place}" for place in MOVED.get(module, (module,)) if place] or [PACKAGE]
    place = next((one for one in modules[1:] if hasattr(import_module(one), name)), modules[0])
    return f"{place}.{name}"


def renamed(module: str, name: str) -> Any:
    """What a present module, given by its path, called ``name`` before; for its ``__getattr__``.

    Raises:
        AttributeError: if it never had such a name.
    """
    path = home(f"{module}.{name}")
    if path == f"{module}.{name}":
        raise AttributeError(f"module '{module}' has no attribute '{name}'")
    _say(f"{module}.{name}", path, 4)
    place, _, new = path.rpartition(".")
    return getattr(import_module(place), new)


def install() -> None:
    """Let the old modules be imported."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(fullname, _Loader()) if fullname.removeprefix(f"{PACKAGE}.") in MOVED else None


class _Loader(Loader):
    def exec_module(self, module: ModuleType) -> None:
        module.__getattr__ = partial(_served, module.__name__)  # type: ignore[method-assign]


def _served(old: str, name: str) -> Any:
    message = f"module '{old}' has no attribute '{name}'"
    if not name.startswith("__"):
        path = home(f"{old}.{name}")
        module, _, new = path.rpartition(".")
        if hasattr(import_module(module), new):
            public = new in import_module(PACKAGE).__all__
            hint = f" (from {PACKAGE} import {new})" if public else ""
            _say(old, (path if new != name else module) + hint, 3)
            return getattr(import_module(module), new)
        places = " and ".join(f"{PACKAGE}.{place}" for place in MOVED[old.removeprefix(f"{PACKAGE}.")])
        message += f": what is left of it is in {places}, without such a name"
    raise AttributeError(message)


def _say(old: str, new: str, level: int) -> None:
    """Warn once of each old path, at the line that uses it: ``level`` calls up."""
    if old not in _said:
        _said.add(old)
        message = f"{old} is now {new}: change the import; the old path will go with version {GONE}"
        warnings.warn(message, FutureWarning, stacklevel=level)
