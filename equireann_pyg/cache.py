"""Where files that can be made again are kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from platformdirs import user_cache_path


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
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:200]
        raise UnwritableCacheError(
            f"cannot write {folder} ({reason}): set {settings} to a folder that can be written"
        ) from error
