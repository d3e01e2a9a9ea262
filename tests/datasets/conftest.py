from __future__ import annotations

import io
from urllib.error import URLError

import pytest


class Answer(io.BytesIO):
    """What ``urlopen`` returns: content with headers."""

    def __init__(self, content: bytes, announced: int | None) -> None:
        super().__init__(content)
        self.headers = {} if announced is None else {"Content-Length": str(announced)}


class Web:
    """Public files by the end of their address; anything else is out of reach."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.announced: int | None = None
        self.asked: list[str] = []

    def open(self, request, timeout):
        self.asked.append(request.full_url)
        assert timeout > 0
        for end, content in self.files.items():
            if request.full_url.endswith(end):
                return Answer(content, self.announced)
        raise URLError("no route to host")


@pytest.fixture(autouse=True)
def web(monkeypatch) -> Web:
    """The network as far as these tests reach it."""
    web = Web()
    monkeypatch.setattr("equireann_pyg.datasets.download.urlopen", web.open)
    return web
