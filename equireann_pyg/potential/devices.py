"""Devices that are there, and compute what they are asked for."""

from __future__ import annotations

from typing import Any

import torch

from equireann_pyg.wording import one_line


def usable_device(device: str | torch.device) -> torch.device:
    """The device, after a trial of it.

    Raises:
        ValueError: if there is no such device, or torch was built without it.
    """
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, ImportError) as error:  # torch has no error of its own for it
        reason = one_line(error, 120)
        raise ValueError(f"device {device}: not usable ({reason}); use cpu, or install the torch for it") from error
    return torch.device(device)


def refuse_tf32(device: torch.device, dtype: torch.dtype) -> None:
    """Refuse products of matrices that are less exact than their type says, which torch takes on GPUs when it is told to.

    Args:
        device: where the potential computes.
        dtype: its arithmetic; only float32 is concerned.

    Raises:
        ValueError: on a CUDA device where TF32 is on.
    """
    if device.type != "cuda" or dtype != torch.float32:
        return
    products: Any = torch.backends.cuda.matmul
    named = getattr(products, "fp32_precision", None)  # from torch 2.9 on; where it has been set, the older name raises
    coarse = products.allow_tf32 if named is None else named == "tf32"
    if coarse:
        raise ValueError(
            f"TF32 is on, and products on {device} have the digits of float16: forces would be wrong; call "
            'torch.set_float32_matmul_precision("highest"), or compute in float64'
        )


def type_of(dtype: torch.dtype | str | None) -> torch.dtype | None:
    """A floating-point type, by itself or its name; None stays None.

    Raises:
        ValueError: for anything else.
    """
    kind = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if dtype is not None and not (isinstance(kind, torch.dtype) and kind.is_floating_point):
        raise ValueError(f"dtype: expected float32 or float64, got {dtype!r}")
    return kind
