"""What would make the CPU wait for a GPU, found without one: on torch's device ``meta``, whose tensors have no values."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch_geometric.data import Data

from equireann_pyg import Potential
from equireann_pyg.graph import to_device
from equireann_pyg.training.loss import PotentialLoss
from equireann_pyg.training.metrics import PotentialErrors

LOOKING = {
    "_local_scalar_dense",
    "nonzero",
    "_unique2",
    "unique_dim",
    "bincount",
    "masked_select",
    "equal",
    "is_nonzero",
}
MAKERS = {torch.tensor, torch.as_tensor, torch.asarray, Tensor.new_tensor}


class WaitingError(AssertionError):
    """Something waits for the device."""


class _Operations(TorchDispatchMode):
    """Refuses operations whose result or size depends on values, and copies between devices."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        away = any(tensor.device.type != "cpu" for tensor in tensors)
        device = (kwargs or {}).get("device")
        if name in ("_to_copy", "copy_", "_copy_from"):
            kinds = {tensor.device.type for tensor in tensors} | ({torch.device(device).type} if device else set())
            if len(kinds) > 1:
                raise WaitingError(f"{func}: a copy from one device to another")
        if away and name in LOOKING:
            raise WaitingError(f"{func}: looks at values")
        if away and name == "repeat_interleave" and "output_size" not in (kwargs or {}):
            raise WaitingError(f"{func}: the size depends on values")
        if away and name.startswith("index"):
            indices = [leaf for leaf in tree_leaves(args[1]) if isinstance(leaf, Tensor)]
            if any(index.dtype == torch.bool or index.device.type == "cpu" for index in indices):
                raise WaitingError(f"{func}: a mask, or an index from the CPU")
        return func(*args, **(kwargs or {}))


class _Makers(TorchFunctionMode):
    """Refuses tensors that are made of Python's numbers and sent to the device, of which torch's dispatcher hears nothing."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if func in MAKERS and made.device.type != "cpu":
            raise WaitingError(f"{func.__name__}: numbers are sent to the device")
        return made


def watched() -> AbstractContextManager[Any]:
    """Context within which whatever would wait for a device other than the CPU is an error."""
    stack = ExitStack()
    stack.enter_context(_Makers())
    stack.enter_context(_Operations())
    return stack


def moved(potential: Potential, data: Data, device: str) -> tuple[Potential, Data]:
    """Copies of a potential and a batch on a device, as trainer and data module have them there."""
    return deepcopy(potential).to(device), to_device(deepcopy(data), device)


def training_step(
    potential: Potential, data: Data, make: Callable[..., torch.optim.Optimizer] = torch.optim.Adam
) -> Callable[[], None]:
    """A step of the training on a batch: forward, loss, errors, backward, clipped gradients, optimiser."""
    loss, optimizer = PotentialLoss(), make(potential.train().parameters(), lr=1e-3)
    errors = PotentialErrors().to(data.pos.device)

    def step() -> None:
        output = potential(data)
        sums, counts = loss(output, data, potential.scales())
        errors.update(output, data)
        optimizer.zero_grad()
        loss.weighted(loss.current(0, 1.0), sums / counts.double().clamp(min=1)).backward()
        torch.nn.utils.clip_grad_norm_(potential.parameters(), 10.0)
        optimizer.step()

    return step
