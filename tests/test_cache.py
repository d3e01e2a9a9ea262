"""The user's cache folder, and what is said where it cannot be written."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from equireann_pyg.cache import UnwritableCacheError, user_cache, writing_cache

SETTING = "XDG_CACHE_HOME"


@pytest.mark.skipif("not __import__('sys').platform.startswith('linux')", reason="the folders of Linux")
def test_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert user_cache() == tmp_path / "equireann_pyg"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert user_cache() == tmp_path / "home" / ".cache" / "equireann_pyg"
    assert list(tmp_path.iterdir()) == []


def test_it_is_made(tmp_path: Path) -> None:
    with writing_cache(tmp_path / "deep" / "cache", SETTING):
        (tmp_path / "deep" / "cache" / "file").touch()


def test_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(
            UnwritableCacheError, match=r"^cannot write \S*file/cache \(Not a directory\): set XDG_CACHE_HOME "
        ),
        writing_cache(tmp_path / "file" / "cache", SETTING),
    ):
        pytest.fail("a folder below a file")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (RuntimeError("basic_ios::clear:\niostream error"), "basic_ios::clear: iostream error"),  # of torch.save
    ],
)
def test_a_file_that_cannot_be_written(error: Exception, said: str, tmp_path: Path) -> None:
    with pytest.raises(UnwritableCacheError) as caught, writing_cache(tmp_path, SETTING):
        raise error
    assert str(caught.value) == f"cannot write {tmp_path} ({said}): set {SETTING} to a folder that can be written"
