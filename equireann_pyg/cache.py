"""Where files that can be made again are kept."""

from __future__ import annotations

import os
from pathlib import Path


def user_cache() -> Path:
    """Folder of this package in the user's cache folder (``XDG_CACHE_HOME`` moves it); it may not exist yet."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "equireann_pyg"
