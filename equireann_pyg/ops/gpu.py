"""The kernels for CUDA, in Triton (the folder ``cuda``), which are loaded when the first tensor on such a device asks for one.

Under Triton's interpreter, which the environment variable ``TRITON_INTERPRET=1`` switches on before anything is imported, they
serve tensors of the CPU in place of the compiled kernels there: slow, for tests and for finding faults.
"""

from __future__ import annotations

import os
import warnings
from functools import cache
from importlib import import_module

import torch

INTERPRETED = os.environ.get("TRITON_INTERPRET", "0") == "1"
DEVICE = "cpu" if INTERPRETED else "cuda"
"""Kind of device that these kernels serve."""

KERNELS = (
    "orbital_sum",
    "gaussians",
    "polynomials",
    "coupled",
    "products",
    "element_linear",
    "soft_standardize",
    "rows",
)


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def load_triton() -> bool:
    """Register the kernels, once per process; False, with a warning that says why, where there is no Triton."""
    return _loaded()


@cache
def _loaded() -> bool:
    try:
        from triton import constexpr_function  # noqa: F401
    except ImportError as error:
        warnings.warn(
            f"no kernels for CUDA, taking the plain path, which is several times slower ({error}); install triton 3.5 or "
            "later, which comes with torch 2.9",
            stacklevel=2,
        )
        return False
    for name in KERNELS:
        import_module(f"{__package__}.cuda.{name}")
    return True
