r"""Operators: functions whose plain body in torch is the reference, with faster kernels where these may stand in for it.

The body serves any device and type, any order of derivative and every transform of ``torch.func``. A kernel registered for a
device serves where its types and limits allow. Which of the two it is, is decided in :meth:`Operator.serving`, nowhere else.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass
from functools import update_wrapper
from typing import Any, Generic, ParamSpec, TypeVar

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.fx.experimental.proxy_tensor import get_proxy_mode

from equireann_pyg.ops.extension import load_kernels
from equireann_pyg.ops.gpu import DEVICE, INTERPRETED, load_triton

P = ParamSpec("P")
R = TypeVar("R")

READY: dict[str, Callable[[], bool]] = {} if INTERPRETED else {"cpu": load_kernels}
"""Where kernels must be built or loaded first: what does it, and tells whether they are there."""

LATE: dict[str, Callable[[], bool]] = {DEVICE: load_triton}
"""Where kernels are registered when they are first asked for: what does it, and tells whether it could."""


class _Thread(threading.local):
    """What one thread has asked for."""

    by_reference = False


_thread = _Thread()


@contextmanager
def by_reference() -> Iterator[None]:
    """Within this context every operator that this thread calls is evaluated by its reference."""
    before, _thread.by_reference = _thread.by_reference, True
    try:
        yield
    finally:
        _thread.by_reference = before


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _reference_wanted() -> bool:
    return _thread.by_reference


def tracing() -> bool:
    """Whether torch records operations instead of computing: checks that look at values are not possible then."""
    return torch.compiler.is_compiling() or get_proxy_mode() is not None


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def transformed() -> bool:
    """Whether forward-mode derivatives or transforms of ``torch.func`` are at work, which kernels know nothing of."""
    return forward_ad._current_level >= 0 or torch._C._functorch.peek_interpreter_stack() is not None


@dataclass(frozen=True)
class Kernel:
    """What may stand in for a reference on one kind of device.

    Args:
        function: of the same arguments.
        types: floating-point types that it takes.
        limit: whether it takes these arguments, of a type and device that it knows.
    """

    function: Callable[..., Any]
    types: Set[torch.dtype] = frozenset((torch.float32, torch.float64))
    limit: Callable[..., bool] | None = None


class Operator(Generic[P, R]):
    """A function with a reference and, for some devices, a kernel.

    Args:
        reference: function in plain torch; its first argument is a tensor.
        apart: names of tensors that need not be of the type of the others: indices, and float64 constants.
    """

    def __init__(self, reference: Callable[P, R], apart: str = "") -> None:
        self.reference, self.kernels = reference, dict[str, Kernel]()
        update_wrapper(self, reference)
        self.signature = inspect.signature(reference, eval_str=True)
        self._defaults = tuple(parameter.default for parameter in self.signature.parameters.values())
        self._alike = [
            place
            for place, (name, parameter) in enumerate(self.signature.parameters.items())
            if parameter.annotation in (Tensor, Tensor | None) and name not in apart.split()
        ]

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Evaluate by the kernel if it may stand in, else by the reference."""
        complete = not kwargs and len(args) == len(self._defaults)
        values: Any = args if complete else self._all(args, kwargs)
        kernel = self.serving(values)
        function: Callable[..., Any] = self.reference if kernel is None else kernel.function
        return function(*values)

    def __reduce__(self) -> str:
        """Pickled and copied as functions are: by its name."""
        return self.__name__  # type: ignore[attr-defined]

    def _all(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
        """Arguments in their order, with those that are left out."""
        missing = self._defaults[len(args) :]
        if not kwargs and len(args) <= len(self._defaults) and inspect.Parameter.empty not in missing:
            return args + missing
        bound = self.signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return bound.args

    def serving(self, values: tuple[Any, ...]) -> Kernel | None:
        """The kernel that serves these arguments, if any: for the device of the first, and all of one type that it takes."""
        device = values[0].device.type
        kernel = self.kernels.get(device)
        if kernel is None and device in LATE and LATE[device]():
            kernel = self.kernels.get(device)
        if kernel is None or _reference_wanted() or transformed() or torch.is_autocast_enabled(device):
            return None
        dtype = None
        for place in self._alike:
            if (tensor := values[place]) is not None:
                if tensor.dtype is not dtype and (dtype is not None or tensor.dtype not in kernel.types):
                    return None
                dtype = tensor.dtype
        if kernel.limit and not kernel.limit(*values):
            return None
        return kernel if device not in READY or READY[device]() else None

    def kernel(self, device: str, **options: Any) -> Callable[[Callable[..., R]], Callable[..., R]]:
        """Decorator of a function, made of other operators, that is faster than the reference on a kind of device.

        Args:
            device: ``"cpu"``, ``"cuda"``, ...
            **options: ``types`` and ``limit`` of the :class:`Kernel`.
        """

        def register(function: Callable[..., R]) -> Callable[..., R]:
            self.kernels[device] = Kernel(function, **options)
            return function

        return register


def operator(reference: Callable[P, R]) -> Operator[P, R]:
    """Decorator that makes an operator of a function in plain torch."""
    return Operator(reference)
