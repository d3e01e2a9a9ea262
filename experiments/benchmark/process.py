"""The other end of a worker: starts it, asks, and sees to it that it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from contextlib import suppress
from threading import Timer
from types import TracebackType
from typing import Any

from experiments.benchmark.peers import Peer
from experiments.benchmark.peers.environments import variables

PATIENCE = 3 * 3600.0
"""Seconds on the wall within which a worker answers, or hangs."""


class WorkerError(RuntimeError):
    """A worker could not do what it was asked for."""


class Worker:
    """A process of a model, in the Python where its package is; a context manager.

    Args:
        peer: model.
        name: by which the process finds it, see :func:`~experiments.benchmark.peers.peer_of`.
        gigabytes: of address space that it may take; None for any number.
        patience: seconds on the wall after which a process that has not answered is ended.
    """

    def __init__(self, peer: Peer, name: str, gigabytes: float | None = None, patience: float = PATIENCE) -> None:
        self.peer, self.patience = peer, patience
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
        watch = Timer(self.patience, self._process.kill)
        watch.daemon = True
        watch.start()
        line = self._process.stdout.readline()  # type: ignore[union-attr]
        late = not watch.is_alive()
        watch.cancel()
        if not line:
            raise WorkerError(f"no answer after {self.patience:g} s" if late else self._last_words())
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
