"""The configurations that come with the package, by name."""

from __future__ import annotations

import warnings
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
_INSTALLED, _CHECKOUT = _PACKAGE / "configs", _PACKAGE.parent / "configs"
FOLDER = _INSTALLED if _INSTALLED.is_dir() else _CHECKOUT
"""Where they are: inside the installed package, or beside it in a checkout."""

MEANS = {"equireann-plus": "equireann-plus-m"}
"""Further names of configurations, and the files that they mean."""

EARLIER = {"train": "equireann"}
"""Names of configurations that are no more, and what stands for them until version 0.3."""


def names() -> list[str]:
    """Names of the shipped configurations, sorted, without their ending."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def find(name: str | Path) -> Path:
    """File of a configuration.

    Args:
        name: path of a file; or name of a shipped one, with or without ``.yaml``. A file of that name goes first.

    Returns:
        the path as it was given, or that of the shipped file.

    Raises:
        FileNotFoundError: if there is neither; lists the shipped names.
    """
    if Path(name).is_file():
        return Path(name)
    bare = str(name).removesuffix(".yaml")
    bare = MEANS.get(bare, bare)
    if bare in EARLIER:
        warnings.warn(
            f"the configuration {bare} is now {EARLIER[bare]}, whose optimiser and schedule differ; use --config "
            f"{EARLIER[bare]}, the earlier name will go with version 0.3",
            FutureWarning,
            stacklevel=2,
        )
        bare = EARLIER[bare]
    if bare in names():
        return FOLDER / f"{bare}.yaml"
    raise FileNotFoundError(f"{name}: no such file, and no configuration of the package: {', '.join(names())}")
