"""Buffers that stay float64, and buffers that earlier files lack."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

if TYPE_CHECKING:
    from typing_extensions import Self


class ExactBuffers(torch.nn.Module):
    """Base class of modules with constants that a conversion of the module must not round.

    Attributes:
        exact: buffers that move with the module, but stay float64.
        earlier: buffers that states of earlier versions lack, and the value that gives them the numbers they had.
    """

    exact: tuple[str, ...] = ()
    earlier: ClassVar[Mapping[str, float]] = {}

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        exact = {name: getattr(self, name) for name in self.exact}
        super()._apply(fn, recurse)
        for name, value in exact.items():
            setattr(self, name, value.to(getattr(self, name).device))
        return self

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *arguments: Any) -> None:
        for name, value in self.earlier.items():
            state_dict.setdefault(prefix + name, torch.full_like(getattr(self, name), value))
        super()._load_from_state_dict(state_dict, prefix, *arguments)
