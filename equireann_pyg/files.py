"""Files: written whole or not at all, and where those are kept that can be made again."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from platformdirs import user_cache_path

from equireann_pyg.wording import one_line


@contextmanager
def replacing(path: str | Path, ending: str = "") -> Iterator[Path]:
    """Path to write to, beside ``path``: it takes its place at the end of this context, or is removed after an error.

    So nobody ever sees half a file, and what was there before stays until the new one is complete.

    Args:
        path: the file; its folder is made if it does not exist.
        ending: what the other name must end in, ``".png"`` say, for writers that look at it.

    Raises:
        OSError: if the folder cannot be made or the file not put into its place.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial{ending}")
    try:
        yield partial
        partial.replace(path)
    finally:
        if partial.exists():
            partial.unlink()


class UnwritableCacheError(OSError):
    """A cache folder cannot be written: the message says which, why, and what moves it."""


def user_cache() -> Path:
    """Folder of this package in the user's cache folder (on Linux ``XDG_CACHE_HOME`` moves it); it may not exist yet."""
    return user_cache_path("equireann_pyg", appauthor=False)


@contextmanager
def writing_cache(folder: Path, settings: str) -> Iterator[None]:
    """Make the folder of a cache and say in one line what is wrong where it, or a file within this context, cannot be written.

    Args:
        folder: folder of the cache.
        settings: what a user can set to move it.

    Raises:
        UnwritableCacheError: for every ``OSError``, and for the ``RuntimeError`` of ``torch.save``.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or one_line(error, 200)
        raise UnwritableCacheError(
            f"cannot write {folder} ({reason}): set {settings} to a folder that can be written"
        ) from error
