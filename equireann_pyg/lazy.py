"""Packages whose modules are imported at the first use of one of their names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

from equireann_pyg.moved import renamed


def lazy_names(
    package: str, homes: Mapping[str, Sequence[str]], own: Sequence[str] = ()
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The functions ``__getattr__`` and ``__dir__`` of a package.

    Args:
        package: its ``__name__``.
        homes: names that each of its modules gives to the package.
        own: further names, which the package defines itself.
    """
    modules = {name: module for module, names in homes.items() for name in names}

    def get(name: str) -> Any:
        if name in modules:
            return getattr(import_module(f"{package}.{modules[name]}"), name)
        if name in homes:
            return import_module(f"{package}.{name}")
        return renamed(package, name)

    return get, lambda: sorted([*own, *homes, *modules])
