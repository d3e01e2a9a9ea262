"""Numbers on their way to a device and back, with as little waiting as can be."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def sent(array: np.ndarray, device: torch.device) -> Tensor:
    """A copy of an array on a device; to a GPU it goes from pinned memory, and nobody waits for it."""
    tensor = torch.tensor(array)
    return tensor if device.type != "cuda" else tensor.pin_memory().to(device, non_blocking=True)


def fetched(results: dict[str, Tensor]) -> dict[str, Tensor]:
    """Results on the CPU, all in one copy, which is the one time that a device is waited for.

    Args:
        results: floating-point tensors of any shapes, on one device.
    """
    return results if all(value.device.type == "cpu" for value in results.values()) else in_one(results)


def in_one(results: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copies on the CPU, which travel as one tensor."""
    joined = torch.cat([value.detach().double().flatten() for value in results.values()]).cpu()
    parts = joined.split([value.numel() for value in results.values()])
    return {
        name: part.reshape(value.shape).to(value.dtype)
        for (name, value), part in zip(results.items(), parts, strict=True)
    }
