"""Devices that are there."""

from __future__ import annotations

import torch


def usable_device(device: str | torch.device) -> torch.device:
    """The device, after a trial of it.

    Raises:
        ValueError: if there is no such device, or torch was built without it.
    """
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, ImportError) as error:  # torch has no error of its own for it
        reason = " ".join(str(error).split())[:120]
        raise ValueError(f"device {device}: not usable ({reason}); use cpu, or install the torch for it") from error
    return torch.device(device)
