"""Shipped configurations by name."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parents[1] / "configs"


def names() -> list[str]:
    """Names of the shipped configurations."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def find(name: str) -> Path:
    """File of a configuration."""
    if Path(name).is_file():
        return Path(name)
    path = FOLDER / f"{name.removesuffix('.yaml')}.yaml"
    if not path.is_file():
        raise FileNotFoundError(f"{name}: no such file; the shipped configurations are {', '.join(names())}")
    return path
