"""Files written whole or not at all; the user's cache folder, and what is said where it cannot be written."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from equireann_pyg.files import UnwritableCacheError, replacing, user_cache, writing_cache

SETTING = "XDG_CACHE_HOME"


def test_a_file_is_replaced_at_the_end(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "table.csv"
    for text in ("first", "second"):
        before = target.read_text() if target.exists() else None
        with replacing(target) as partial:
            assert partial.parent == target.parent
            partial.write_text(text)
            assert (target.read_text() if target.exists() else None) == before
        assert target.read_text() == text
    assert list(target.parent.iterdir()) == [target]


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "table.csv"
    target.write_text("before")

    def fail(error: BaseException) -> None:
        with replacing(str(target)) as partial:
            partial.write_text("half")
            raise error

    for error in (OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()):
        with pytest.raises(type(error)):
            fail(error)
        assert target.read_text() == "before"
    assert list(tmp_path.iterdir()) == [target]


def test_two_writers_do_not_meet(tmp_path: Path) -> None:
    with replacing(tmp_path / "a") as first, replacing(tmp_path / "a") as second:
        assert first != second
        first.write_text("first")
        second.write_text("second")
    assert (tmp_path / "a").read_text() == "first"  # the last to end
    assert len(list(tmp_path.iterdir())) == 1


def test_the_other_name_ends_as_its_writer_needs(tmp_path: Path) -> None:
    with replacing(tmp_path / "picture.png", ".png") as partial:
        assert partial.suffix == ".png"
        partial.touch()
    with replacing(tmp_path / "best.ckpt") as partial:
        assert partial.suffix != ".ckpt"  # what a killed writer leaves is no checkpoint
        partial.touch()


def test_errors_are_those_of_the_system(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="file/below"), replacing(tmp_path / "file" / "below" / "a"):
        pytest.fail("a folder below a file")
    with pytest.raises(FileNotFoundError, match="partial"), replacing(tmp_path / "never"):
        pass
    with pytest.raises(IsADirectoryError), replacing(tmp_path) as partial:
        partial.touch()
    assert list(tmp_path.parent.glob("*.partial")) == []


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
