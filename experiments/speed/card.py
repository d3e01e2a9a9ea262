"""The CUDA device: its name, and how fast it copies and multiplies."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from experiments.speed.clock import watch_of

NEEDED = (
    "--device cuda needs an NVIDIA GPU that torch can use, such as an H100 with a CUDA build of torch; 80 GB of memory for a "
    "million atoms, and for MACE and NequIP folders with their packages (--sites, see experiments/speed/README.md)"
)


@dataclass(frozen=True)
class CardCeilings:
    """What the device does at best.

    Args:
        gbytes: copy within its memory in 10^9 bytes per second, read and written.
        gflops: float32 matrix product without TF32 in 10^9 operations per second.
        gflops64: float64 matrix product.
    """

    gbytes: float
    gflops: float
    gflops64: float


def device_of(name: str) -> torch.device:
    """The device of that name.

    Raises:
        SystemExit: if it is a CUDA device, and there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise SystemExit(f"{NEEDED}; torch {torch.__version__} finds none here")
    torch.set_float32_matmul_precision("highest")
    return torch.empty(0, device=name).device  # with its number, as that of its tensors


def card_ceilings(device: torch.device, side: int = 8192, numbers: int = 1 << 28) -> CardCeilings:
    """Measure copy and matrix products: the best of some repeats.

    Args:
        device: where.
        side: of the float32 matrices; those of float64 are half as large.
        numbers: float32 numbers that are copied, far more than any cache holds.
    """
    source = torch.ones(numbers, device=device)
    target = torch.empty_like(source)
    gbytes = 2e-9 * source.numel() * source.element_size() / _best(partial(target.copy_, source), device)
    del source, target
    speeds = []
    for size, dtype in ((side, torch.float32), (side // 2, torch.float64)):
        a, b, out = (torch.ones(size, size, device=device, dtype=dtype) for _ in range(3))
        speeds.append(2e-9 * size**3 / _best(partial(torch.mm, a, b, out=out), device))
    return CardCeilings(gbytes, *speeds)


def _best(call: Callable[[], object], device: torch.device, repeats: int = 5) -> float:
    watch = watch_of(call, device)
    watch(2)
    return min(watch(1).device for _ in range(repeats))


def card_name(device: torch.device) -> str:
    """Name of the GPU, or of the kind of processor."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()


def card_line(device: torch.device, ceilings: CardCeilings) -> str:
    """Card, driver, ceilings, versions, commit and date in one line."""
    root = Path(__file__).parents[2]
    commit = _said("git", "-C", str(root), "describe", "--always", "--dirty") or "unknown"
    driver = _said("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader").split("\n")[0] or "unknown"
    packages = ", ".join(f"{name} {_version(name)}" for name in ("torch", "triton", "torch_geometric", "equireann_pyg"))
    return (
        f"{card_name(device)}: {ceilings.gbytes:.0f} GB/s copied, {ceilings.gflops / 1e3:.1f} TFLOP/s float32 without "
        f"TF32, {ceilings.gflops64 / 1e3:.1f} TFLOP/s float64; driver {driver}, CUDA {torch.version.cuda}, Python "
        f"{platform.python_version()}, {packages}, commit {commit}, {date.today()}"
    )


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "from its folder" if name == "equireann_pyg" else "missing"


def _said(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""
