"""Packages that are not there unless somebody wants them."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def needed(module: str, extra: str = "engines") -> Any:
    """A module of an optional package.

    Args:
        module: its name, as it is imported.
        extra: of this package, which brings it.

    Raises:
        ImportError: if it cannot be imported, with the extra to install.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise ImportError(
            f'{module} cannot be imported ({error}): pip install "equireann_pyg[{extra}]"', name=module
        ) from error
