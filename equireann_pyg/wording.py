"""Messages of others in one line of ours."""

from __future__ import annotations


def one_line(message: object, most: int | None = None) -> str:
    """A message, or what an error says, without its line ends.

    Args:
        message: whatever says something.
        most: number of characters after which it is cut off.
    """
    return " ".join(str(message).split())[:most]


def with_kind(error: BaseException, most: int | None = None) -> str:
    """What an error says in one line, behind the name of its class: ``ValueError: no cell``."""
    return one_line(f"{type(error).__name__}: {error}", most)
