"""The other end of a worker: starts it, asks, and sees to it that it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from contextlib import suppress
from types import TracebackType
from typing import Any

from experiments.benchmark.peers import Peer
from experiments.benchmark.peers.environments import variables


class WorkerError(RuntimeError):
    """A worker could not do what it was asked for."""


class Worker:
    """A process of a model, in the Python where its package is; a context manager.

    Args:
        peer: model.
        name: by which the process finds it, see :func:`~experiments.benchmark.peers.peer_of`.
        gigabytes: of address space that it may take; None for any number.
    """

    def __init__(self, peer: Peer, name: str, gigabytes: float | None = None) -> None:
        self.peer = peer
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  closed in __exit__
        environment = peer.environment
        python = sys.executable if environment is None else str(environment.python)
        limit = [] if gigabytes is None else [str(gigabytes)]
        self._process = subprocess.Popen(
            [python, "-m", "experiments.benchmark.worker", name, *limit],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=variables(),
            cwd=os.getcwd(),
        )

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(BrokenPipeError):
            self._process.stdin.close()  # type: ignore[union-attr]  # the worker then ends
        if error is not None:
            self._process.kill()
        self._process.wait()
        self._process.stdout.close()  # type: ignore[union-attr]
        self._errors.close()

    def ask(self, task: str, **options: Any) -> dict[str, Any]:
        """What the worker answers.

        Raises:
            WorkerError: with its reason, or its last words.
        """
        with suppress(BrokenPipeError):  # a dead worker gives no answer either
            self._process.stdin.write(json.dumps({"task": task, **options}) + "\n")  # type: ignore[union-attr]
            self._process.stdin.flush()  # type: ignore[union-attr]
        line = self._process.stdout.readline()  # type: ignore[union-attr]
        if not line:
            raise WorkerError(self._last_words())
        reply = json.loads(line)
        if "error" in reply:
            raise WorkerError(reply["error"])
        found: dict[str, Any] = reply["answer"]
        return found

    def _last_words(self) -> str:
        code = self._process.wait()
        self._errors.seek(0)
        words = self._errors.read().strip().splitlines()
        return f"its process ended with {code}: {words[-1] if words else 'silently'}"
