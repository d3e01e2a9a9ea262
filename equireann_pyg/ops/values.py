"""Which tensors one may look into without waiting."""

from __future__ import annotations

from torch import Tensor

from equireann_pyg.ops.operator import tracing


def readable(tensor: Tensor) -> bool:
    """Whether a choice may depend on the values of a tensor.

    On the CPU looking is free. On any other device it means to wait until everything before it has been computed, so there
    the way without choices is taken, as it is where torch records operations instead of computing.
    """
    return tensor.device.type == "cpu" and not tracing()
