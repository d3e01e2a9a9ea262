"""What is recorded of an evaluation, and how it is replayed: as CUDA graphs, with the gradients of the parameters.

One recording is the evaluation, from inputs to outputs that stay where they are in memory. In training a second one is its
derivative: from the gradients of the outputs to those of the parameters. :class:`Replay` makes one operation of both for
autograd.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Outputs = dict[str, Tensor]
Forward = Callable[[], Outputs]

WARM = 3
"""Evaluations before a recording, in which libraries set themselves up and kernels are compiled."""


class Recording(Protocol):
    """An evaluation and, in training, its derivative, with the memory of what goes in and comes out.

    Attributes:
        outputs: what the evaluation makes; detached.
        cotangents: gradient of a loss with respect to each output that depends on the parameters, to be written to.
        gradients: what the derivative makes of them, one for each parameter; None where nothing depends on it.
    """

    outputs: Outputs
    cotangents: Outputs
    gradients: list[Tensor | None]

    def forward(self) -> None:
        """Evaluate with what the inputs hold now."""

    def backward(self) -> None:
        """Make the gradients that belong to the last evaluation."""

    def close(self) -> None:
        """Give the memory back."""


class Recorder:
    """Records evaluations as CUDA graphs.

    The intermediate results of all of them share their memory. So a derivative must follow its own evaluation before anything
    else is replayed; ``replays`` tells whether it does.
    """

    def __init__(self) -> None:
        self.replays = 0
        self._places: dict[torch.device, tuple[Any, Any]] = {}

    def check(self, device: torch.device) -> None:
        """Refuse a potential where nothing can be recorded.

        Raises:
            ValueError: on any device but those of CUDA.
        """
        if device.type != "cuda":
            raise ValueError(
                f"GraphedPotential: expected a potential on a CUDA device, got one on {device}; take the device cuda, "
                'potential.to("cuda") say, or use compile_potential here'
            )

    def record(self, device: torch.device, forward: Forward, parameters: Sequence[Tensor]) -> Recording:
        """Record an evaluation.

        Args:
            device: where everything is.
            forward: evaluates inputs that stay where they are; called several times.
            parameters: what a derivative is wanted for; none in inference.
        """
        self.replays += 1  # whatever waits for its derivative has lost its intermediate results
        if device not in self._places:
            self._places[device] = torch.cuda.graph_pool_handle(), torch.cuda.Stream(device)
        try:
            with torch.cuda.device(device):
                return CudaRecording(forward, parameters, *self._places[device])
        except Exception:
            self.forget()
            raise

    def forget(self) -> None:
        """Take new memory from now on: torch gives a pool away when the last recording in it has gone."""
        self.replays += 1
        self._places.clear()


class CudaRecording:
    """A :class:`Recording` made of CUDA graphs.

    Capturing is private to this thread, since others, as that which pins the memory of batches, go on with their work.

    Args:
        forward: evaluates inputs that stay where they are.
        parameters: what a derivative is wanted for.
        pool: memory that recordings share.
        stream: where all of them are made.
    """

    def __init__(self, forward: Forward, parameters: Sequence[Tensor], pool: Any, stream: Any) -> None:
        self._forward, self._backward = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        options = {"pool": pool, "stream": stream, "capture_error_mode": "thread_local"}
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM):
                warm = forward()
                _pulled(warm, _like(warm, parameters), parameters)
                del warm
        torch.cuda.current_stream().wait_stream(stream)
        with torch.cuda.graph(self._forward, **options):
            outputs = forward()
        self.cotangents = _like(outputs, parameters)
        self.gradients: list[Tensor | None] = [None] * len(parameters)
        if self.cotangents:
            with torch.cuda.graph(self._backward, **options):
                self.gradients = _pulled(outputs, self.cotangents, parameters)
        self.outputs = {name: value.detach() for name, value in outputs.items()}

    def forward(self) -> None:
        """Replay the evaluation."""
        self._forward.replay()

    def backward(self) -> None:
        """Replay the derivative."""
        self._backward.replay()

    def close(self) -> None:
        """Wait until nothing is replayed any more, and give the memory back."""
        torch.cuda.synchronize(next(iter(self.outputs.values())).device)
        for graph in (self._forward, *([self._backward] if self.cotangents else [])):
            graph.reset()


def _like(outputs: Mapping[str, Tensor], parameters: Sequence[Tensor]) -> Outputs:
    """Zeros for the gradient of each output that depends on parameters."""
    return {name: torch.zeros_like(value) for name, value in outputs.items() if parameters and value.requires_grad}


def _pulled(
    outputs: Mapping[str, Tensor], cotangents: Mapping[str, Tensor], parameters: Sequence[Tensor]
) -> list[Tensor | None]:
    """Gradient of each parameter, in the layout of the parameter, so that autograd need not copy it again."""
    if not cotangents:
        return [None] * len(parameters)
    made = torch.autograd.grad(
        [outputs[name] for name in cotangents], parameters, list(cotangents.values()), allow_unused=True
    )
    return [None if gradient is None else gradient.contiguous() for gradient in made]


class Replay:
    """Replays a recording for a batch, as one operation that autograd knows the derivative of.

    Args:
        recorder: who has made it.
        recording: what is replayed.
        rows: number of rows of each output that are wanted, those in front.
    """

    def __init__(self, recorder: Recorder, recording: Recording, rows: Mapping[str, int]) -> None:
        self.recorder, self.recording, self.rows = recorder, recording, rows
        self._number = -1

    def __call__(self, parameters: Sequence[Tensor]) -> Outputs:
        """The outputs, in memory of their own; with a derivative with respect to the parameters, if there are any."""
        if not parameters:
            return dict(zip(self.rows, self.forward(), strict=True))
        return dict(zip(self.rows, _Replayed.apply(self, *parameters), strict=True))

    def forward(self) -> tuple[Tensor, ...]:
        """Replay the evaluation."""
        self.recorder.replays += 1
        self._number = self.recorder.replays
        self.recording.forward()
        return tuple(self.recording.outputs[name][:rows].clone() for name, rows in self.rows.items())

    def backward(self, cotangents: Sequence[Tensor | None]) -> list[Tensor | None]:
        """Replay the derivative; the gradients are in memory of their own, which autograd may give away.

        Raises:
            RuntimeError: if something else has been replayed since the evaluation.
        """
        if self.recorder.replays != self._number:
            raise RuntimeError(
                "a recorded evaluation has one derivative, to be taken before the next evaluation of the same potential: call "
                "backward() once after each, or train without recordings"
            )
        self.recorder.replays += 1
        for (name, rows), given in zip(self.rows.items(), cotangents, strict=True):
            place = self.recording.cotangents.get(name)
            if place is None:
                continue
            place[rows:].zero_()
            if given is None:
                place[:rows].zero_()
            else:
                place[:rows].copy_(given)
        self.recording.backward()
        return _copies(self.recording.gradients)


def _copies(tensors: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Copies of all tensors at once: there are many, and most are small."""
    present = [tensor for tensor in tensors if tensor is not None]
    copies = [torch.empty_like(tensor) for tensor in present]
    if present:
        torch._foreach_copy_(copies, present)
    following = iter(copies)
    return [None if tensor is None else next(following) for tensor in tensors]


class _Replayed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, replay: Replay, *parameters: Tensor) -> tuple[Tensor, ...]:
        ctx.replay = replay
        ctx.set_materialize_grads(False)
        outputs = replay.forward()
        known = zip(replay.rows, outputs, strict=True)
        ctx.mark_non_differentiable(*(value for name, value in known if name not in replay.recording.cotangents))
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Any, ...]:
        return None, *ctx.replay.backward(cotangents)
