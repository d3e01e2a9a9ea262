"""A process that measures one model.

    python -m experiments.benchmark.worker MODEL [GIGABYTES]

The second word bounds its address space.

Reads requests from its standard input, one line of JSON each: {"task": "speed", "system": "molecule"}. Answers each by one
line of JSON on its standard output: {"answer": {...}}, or {"error": "..."}. What packages print goes to the standard error.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import sys
import warnings
from importlib.metadata import PackageNotFoundError, version
from typing import Any, TextIO

from experiments.benchmark.peers import Peer, peer_of

TASKS = {"check": "check", "speed": "speed", "memory": "speed", "train": "train"}
"""Names of tasks, and files of ``tasks`` that have them."""


def versions(peer: Peer) -> dict[str, str]:
    """Versions of the packages of a model, and of torch."""
    found = {}
    for name in (*peer.package, "torch"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "?"
    return found


def answer(peer: Peer, request: dict[str, Any]) -> dict[str, Any]:
    """Do what is asked for; an error is an answer, too."""
    options = dict(request)
    task = options.pop("task", "")
    try:
        function = getattr(importlib.import_module(f"experiments.benchmark.tasks.{TASKS[task]}"), task)
        return {"answer": function(peer, **options) | {"versions": versions(peer)}}
    except Exception as error:  # a package may fail in any way
        lines = str(error).replace("std::bad_alloc", "out of memory").strip().splitlines()
        return {"error": f"{type(error).__name__}: {lines[0] if lines else ''}"[:500]}


def serve(name: str, requests: TextIO, answers: TextIO) -> None:
    """Answer requests until they end."""
    peer = peer_of(name)
    for module in peer.first:
        importlib.import_module(module)
    os.environ.pop("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", None)  # MACE sets it for the whole process
    for line in requests:
        answers.write(json.dumps(answer(peer, json.loads(line))) + "\n")
        answers.flush()


def main() -> None:
    """Keep the standard output for answers."""
    warnings.filterwarnings("ignore")
    if len(sys.argv) > 2:
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        wanted = int(1e9 * float(sys.argv[2]))
        resource.setrlimit(resource.RLIMIT_AS, (wanted if hard < 0 else min(wanted, hard), hard))
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)
        serve(sys.argv[1], sys.stdin, answers)


if __name__ == "__main__":
    main()
