"""What is known of the values of a graph, so that nobody waits for a GPU to answer.

Before it evaluates a graph, a potential asks which elements there are, whether a cell has a volume, and the like. On the CPU
that is answered by looking. On other devices looking means to wait for everything before it, so an answer is kept for as long
as its tensor lives and is not written to. :func:`to_device` has the answers beforehand, from the CPU.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary
from torch_geometric.data import Data

T = TypeVar("T")
Question = Callable[[Tensor], Any]
Answers = dict[Question, Any]

QUESTIONS: dict[str, list[Question]] = {}
"""What may be asked of each field of a graph, entered by :func:`question`."""

_kept: Any = WeakTensorKeyDictionary()  # of tensors on other devices: their version and the answers


def question(*fields: str) -> Callable[[Callable[[Tensor], T]], Callable[[Tensor], T]]:
    """Decorator of a function of the values of a tensor alone, which is asked of these fields of a graph."""

    def enter(function: Callable[[Tensor], T]) -> Callable[[Tensor], T]:
        for name in fields:
            QUESTIONS.setdefault(name, []).append(function)
        return function

    return enter


def known(asked: Callable[[Tensor], T], tensor: Tensor) -> T:
    """Answer to a question about a tensor.

    Args:
        asked: function of the values of a tensor alone.
        tensor: on whatever device; beside the CPU the first answer is waited for, and kept until the tensor is written to.
    """
    if tensor.device.type == "cpu" or tensor.is_inference():  # the latter do not tell when they are written to
        return asked(tensor)
    answers = _answers(tensor)
    if asked not in answers:
        answers[asked] = asked(tensor)
    return answers[asked]


def _answers(tensor: Tensor) -> Answers:
    """What is kept for a tensor as it is now."""
    version, answers = _kept.get(tensor, (None, {}))
    if version != tensor._version:
        answers = {}
        _kept[tensor] = tensor._version, answers
    return answers


def to_device(data: Data, device: torch.device | str, non_blocking: bool = False) -> Data:
    """Send a graph or batch to a device, as ``data.to`` does, together with the answers to all questions about it.

    Args:
        data: graph; as with PyG, it is this object that has its tensors there afterwards.
        device: where to.
        non_blocking: whether not to wait for copies from pinned memory.
    """
    told: dict[str, Answers] = {}
    if torch.device(device).type != "cpu":
        for name, questions in QUESTIONS.items():
            tensor = data.get(name)
            if tensor is not None and tensor.device.type == "cpu":
                told[name] = {asked: asked(tensor) for asked in questions}
    moved = data.to(device, non_blocking=non_blocking)
    for name, answers in told.items():
        if not moved[name].is_inference():
            _answers(moved[name]).update(answers)
    return moved
