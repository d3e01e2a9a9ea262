"""Public files of the data sets: fetched once, checked, and never left half-written."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from urllib.parse import unquote, urlsplit
from urllib.request import Request, urlopen

from equireann_pyg.files import replacing

TIMEOUT = 60.0
"""Seconds without an answer after which a download is given up."""


@dataclass(frozen=True)
class Remote:
    """One public file.

    Args:
        url: address, of a fixed version where the source keeps versions.
        name: its name on disk; by default the last part of the address.
        sha256: SHA-256 digest, or its beginning where only that is known; empty if it is not known.
        size: length in bytes, or None if it is not known.
    """

    url: str
    name: str = ""
    sha256: str = ""
    size: int | None = None

    @property
    def filename(self) -> str:
        """Name on disk."""
        return self.name or Path(unquote(urlsplit(self.url).path)).name


def github(repository: str, commit: str, path: str, name: str = "", size: int | None = None) -> Remote:
    """File of a GitHub repository at a commit."""
    path = path.replace("+", "%2B")
    return Remote(f"https://raw.githubusercontent.com/{repository}/{commit}/{path}", name, size=size)


def fetch(remote: Remote, target: Path) -> Path:
    """Download a file to ``target``.

    Raises:
        FileNotFoundError: if it cannot be fetched or written; says where to get it and where to put it.
        ValueError: if it is not the file that was expected; then ``target`` is not written.
    """
    try:
        with replacing(target) as partial:
            _copy(remote, partial)
            check(remote, partial)
    except (OSError, HTTPException) as error:
        raise FileNotFoundError(
            f"{remote.url} could not be fetched ({type(error).__name__}: {error}); fetch it by hand and put it at {target}"
        ) from error
    return target


def _copy(remote: Remote, partial: Path) -> None:
    request = Request(remote.url, headers={"User-Agent": "equireann_pyg"})  # some hosts refuse urllib's own name
    with urlopen(request, timeout=TIMEOUT) as answer, open(partial, "wb") as file:
        shutil.copyfileobj(answer, file, 1 << 20)
        announced = answer.headers.get("Content-Length")
    if announced is not None and int(announced) != partial.stat().st_size:
        raise OSError(f"the connection broke after {partial.stat().st_size} of {announced} bytes")


def check(remote: Remote, path: Path) -> None:
    """Compare a file with the size and the digest that are known of it.

    Raises:
        ValueError: if they differ.
    """
    size = path.stat().st_size
    if remote.size is not None and size != remote.size:
        raise ValueError(f"{remote.url}: expected {remote.size} bytes, got {size}; nothing was kept, try again")
    if not remote.sha256:
        return
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    if not digest.hexdigest().startswith(remote.sha256):
        raise ValueError(
            f"{remote.url}: expected a file of SHA-256 {remote.sha256}, got {digest.hexdigest()}; nothing was kept, try "
            "again"
        )
