"""Which tensors one may look into without waiting."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor

from equireann_pyg.ops.operator import tracing


class _Thread(threading.local):
    """What one thread is at."""

    waits = False


_thread = _Thread()


@contextmanager
def waiting() -> Iterator[None]:
    """Within this context this thread may look into tensors of any device: what it does waits for the device anyhow."""
    before, _thread.waits = _thread.waits, True
    try:
        yield
    finally:
        _thread.waits = before


def readable(tensor: Tensor) -> bool:
    """Whether a choice may depend on the values of a tensor.

    On the CPU looking is free. On any other device it means to wait until everything before it has been computed, so there
    the way without choices is taken, unless this thread is :func:`waiting`; so it is where torch records operations instead of
    computing.
    """
    return (tensor.device.type == "cpu" or _thread.waits) and not tracing()
