r"""Operators with kernels that torch knows nothing of: their schemas, shapes and derivatives, by generic rules.

For an operator ``f`` the library has, or may have, for each kind of device

- ``f(inputs)``
- ``f_backward(grad, inputs)``: gradients with respect to the inputs that vary,
- ``f_double_backward(tangents, grad, inputs)``: gradients of the scalar product of the tangents with these gradients, with
  respect to ``grad`` and the inputs that vary.

What a device lacks of them, and every further derivative, is a pullback of the reference. Gradients of inputs that are None, or
of weights that nobody wants, are empty.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from equireann_pyg.ops.extension import SOURCES
from equireann_pyg.ops.gpu import INTERPRETED
from equireann_pyg.ops.operator import Kernel, Operator, P, R, tracing, transformed

LIBRARY = torch.library.Library("equireann", "DEF")
COMPILED = {path.stem for path in SOURCES}
"""Modules of operators whose kernels for the CPU are compiled: a C++ file of the same name stands beside them."""

KINDS = {Tensor: "Tensor", Tensor | None: "Tensor?", int: "SymInt", Sequence[int]: "int[]"}

Function = Callable[..., Any]
Values = tuple[Any, ...]
Results = Tensor | tuple[Tensor, ...]


class KernelOperator(Operator[P, R]):
    """An operator whose kernels are those of :data:`LIBRARY`; names of arguments are separated by blanks.

    Args:
        reference: function in plain torch with one result.
        fields: what varies and whose gradients are always made.
        weights: what varies and whose gradients are made only where they are wanted.
        apart: tensors that need not be of the type of the others: indices, and float64 constants.
        shape: function of the same arguments that makes an empty result; by default the reference does.
        limit: which arguments the compiled kernel of the CPU, where there is one, takes; by default all.
        derivative: from which inputs want a gradient, the gradient of the result and the inputs, to the gradients of the inputs
            that vary, made of operators: of every order, therefore. Without it there is none.
    """

    _first: Function | None = None

    def __init__(
        self,
        reference: Callable[P, R],
        fields: str = "",
        weights: str = "",
        apart: str = "",
        shape: Function | None = None,
        limit: Function | None = None,
        derivative: Function | None = None,
    ) -> None:
        super().__init__(reference, apart)
        self.name, names = reference.__name__, list(self.signature.parameters)
        self.varying = sorted(names.index(name) for name in f"{fields} {weights}".split())
        self.weights = [names.index(name) for name in weights.split()]
        kinds = [KINDS.get(kind := part.annotation) or kind.__name__ for part in self.signature.parameters.values()]
        self.inputs = [f"{kind} {name}" for kind, name in zip(kinds, names, strict=True)]
        self.functions: dict[str, Function] = {}
        self._known: set[tuple[str, str]] = set()
        if derivative is not None:
            self._first = lambda ctx, g: self._placed(derivative(ctx.needs_input_grad, g, *_saved(ctx)))
        self._define("", self.inputs, 1, shape or reference, self._first)
        if not INTERPRETED and reference.__module__.rpartition(".")[2] in COMPILED:  # interpreted, others serve the CPU
            self.kernels["cpu"] = Kernel(self.functions[""], limit=limit)

    def _define(
        self, suffix: str, inputs: Sequence[str], count: int, shape: Function, backward: Function | None
    ) -> None:
        name, result = f"{self.name}{suffix}", "Tensor" if count == 1 else f"({', '.join(['Tensor'] * count)})"
        LIBRARY.define(f"{name}({', '.join(inputs)}) -> {result}")
        torch.library.register_fake(f"equireann::{name}", shape, lib=LIBRARY)
        if backward is not None:
            torch.library.register_autograd(f"equireann::{name}", backward, setup_context=_save, lib=LIBRARY)
        self.functions[suffix] = partial(_evaluate, getattr(torch.ops.equireann, name).default, backward)

    def _placed(self, gradients: Sequence[Tensor | None]) -> Values:
        """The gradients of all inputs from those of the inputs that vary."""
        made: list[Tensor | None] = [None] * len(self.inputs)
        for place, gradient in zip(self.varying, gradients, strict=True):
            made[place] = gradient
        return tuple(made)

    def again(self, like: Tensor, suffix: str = "") -> Function | None:
        """The kernel for the device of a tensor, if there is one, on the way back from a kernel: if no transform has begun."""
        known = suffix, like.device.type
        if known not in self._known:
            name, key = f"equireann::{self.name}{suffix}", like.device.type.upper()
            if not torch._C._dispatch_has_kernel_for_dispatch_key(name, key):
                return None
            self._known.add(known)
        return None if transformed() else self.functions[suffix]

    def kernel(self, device: str, suffix: str = "", **options: Any) -> Callable[[Function], Function]:
        """Decorator of the kernel for a kind of device.

        Args:
            device: ``"cuda"``, ...
            suffix: ``"_backward"`` or ``"_double_backward"`` for one of these.
            **options: ``types`` and ``limit`` of the :class:`~equireann_pyg.ops.operator.Kernel`.
        """

        def register(function: Function) -> Function:
            LIBRARY.impl(self.name + suffix, function, device.upper())
            if not suffix:
                self.kernels[device] = Kernel(self.functions[""], **options)
            return function

        return register


class TwiceDifferentiable(KernelOperator[P, R]):
    """An operator with kernels for its first and second derivatives; from the third on they are those of the reference."""

    def __init__(self, reference: Callable[P, R], **options: Any) -> None:
        super().__init__(reference, **options)
        count, names = len(self.varying), [self.inputs[place] for place in self.varying]
        flag = ["bool with_weights"] if self.weights else []
        tangents = [name.replace(" ", " h_", 1) for name in names]
        first, second = ["Tensor grad", *self.inputs, *flag], [*tangents, "Tensor grad", *self.inputs]
        self._define("_backward", first, count, self._empty_first, self._second)
        self._define("_double_backward", second, 1 + count, self._empty_second, self._third)

    def _gradients(self, grad: Tensor, *inputs: Any) -> tuple[Tensor, ...]:
        return pullback(self.reference, self.varying, grad, inputs)

    def _second_gradients(self, *values: Any) -> tuple[Tensor, ...]:
        count = len(self.varying)
        tangents = tuple(values[count].new_empty(0) if h is None else h for h in values[:count])
        places = [0, *(1 + place for place in self.varying)]
        return pullback(self._gradients, places, tangents, values[count:])

    def _first(self, ctx: Any, grad: Tensor) -> Values:
        inputs = _saved(ctx)
        flag = [any(ctx.needs_input_grad[place] for place in self.weights)] if self.weights else []
        kernel = self.again(grad, "_backward")
        made = kernel(grad, *inputs, *flag) if kernel else self._gradients(grad, *inputs)
        return self._wanted(_tuple(made), inputs, *flag)

    def _second(self, ctx: Any, *tangents: Tensor) -> Values:
        grad, *inputs = _saved(ctx)
        with_weights = inputs.pop() if self.weights else True
        h: list[Any] = []
        for place, tangent in zip(self.varying, tangents, strict=True):
            x, made = inputs[place], with_weights or place not in self.weights
            h.append(None if x is None else tangent if made else torch.zeros_like(x))
        function = self.again(grad, "_double_backward") or self._second_gradients
        d_grad, *gradients = function(*h, grad, *inputs)
        return d_grad, *self._wanted(gradients, inputs), *([None] if self.weights else [])

    def _third(self, ctx: Any, *cotangents: Tensor) -> Values:
        values, count = _saved(ctx), len(self.varying)
        places = [*range(count + 1), *(count + 1 + place for place in self.varying)]
        made = dict(zip(places, pullback(self._second_gradients, places, cotangents, values), strict=True))
        return tuple(None if value is None else made.get(place) for place, value in enumerate(values))

    def _wanted(self, gradients: Sequence[Tensor], inputs: Sequence[Any], with_weights: bool = True) -> Values:
        """The gradients of all inputs, without those that are empty."""
        made = list(self._placed(gradients))
        for place in self.varying if with_weights else self.weights:
            made[place] = made[place] if with_weights and inputs[place] is not None else None
        return tuple(made)

    def _empty_first(self, grad: Tensor, *values: Any) -> Results:
        inputs, with_weights = (values[:-1], values[-1]) if self.weights else (values, True)
        made = tuple(
            grad.new_empty(0) if x is None or (place in self.weights and not with_weights) else x.new_empty(x.shape)
            for place, x in ((place, inputs[place]) for place in self.varying)
        )
        return made[0] if len(made) == 1 else made

    def _empty_second(self, *values: Any) -> tuple[Tensor, ...]:
        grad, *inputs = values[len(self.varying) :]
        made = self._empty_first(grad, *inputs, *([True] if self.weights else []))
        return grad.new_empty(grad.shape), *_tuple(made)


def pullback(function: Function, places: Sequence[int], cotangents: Any, values: Sequence[Any]) -> tuple[Tensor, ...]:
    """Gradients of the scalar product of ``function(*values)`` and cotangents with respect to the values at some places.

    They can be differentiated again; those of values that are None are empty.
    """
    present = [place for place in places if values[place] is not None]

    def of_present(*some: Tensor) -> Any:
        changed = dict(zip(present, some, strict=True))
        return function(*(changed.get(place, value) for place, value in enumerate(values)))

    pull: Function = torch.func.vjp(of_present, *(values[place] for place in present))[1]
    made = dict(zip(present, pull(cotangents), strict=True))
    nothing = values[present[0]].new_empty(0)
    return tuple(made.get(place, nothing) for place in places)


def _tuple(results: Results) -> tuple[Tensor, ...]:
    return (results,) if isinstance(results, Tensor) else tuple(results)


def _evaluate(op: Function, backward: Function | None, *values: Any) -> Any:
    """An operator of the library; torch's own way around its autograd takes ten times as long as the rest of a small call."""
    if backward is None or tracing() or _derived_by_kernel(op, values[0].device.type):
        return op(*values)
    return _Derived.apply(*values, op, backward)


@cache
def _derived_by_kernel(op: Any, device: str) -> bool:
    """Whether the derivatives of an operator are compiled as well."""
    return torch._C._dispatch_has_kernel_for_dispatch_key(op.name(), f"Autograd{device.upper()}")


class _Derived(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *values: Any) -> Any:
        *inputs, op, ctx.backward_of_inputs = values
        ctx.tensors = [isinstance(value, Tensor) for value in values]
        _save(ctx, tuple(inputs), None)
        with torch._C._AutoDispatchBelowAutograd():
            return op(*inputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Values:
        return *ctx.backward_of_inputs(_Call(_wanted_now(ctx), ctx.saved_tensors, ctx.constants), *grads), None, None


class _Call(NamedTuple):
    """What a derivative reads of the call that it belongs to."""

    needs_input_grad: Sequence[bool]
    saved_tensors: Sequence[Tensor]
    constants: Values


def _wanted_now(ctx: Any) -> list[bool]:
    """Which inputs want a gradient in this run of autograd: forces want none of the weights, though these vary."""
    following = iter(ctx.next_functions)  # of the tensors
    return [tensor and _will_run(next(following)[0]) for tensor in ctx.tensors]


def _will_run(node: Any) -> bool:
    try:
        return node is not None and torch._C._will_engine_execute_node(node)
    except RuntimeError:  # a leaf whose gradient is asked for
        return True


def _save(ctx: Any, inputs: Values, output: Any) -> None:
    """Keep all inputs for the derivative: tensors and None, which come first, in the care of autograd."""
    count = next((k for k, value in enumerate(inputs) if not (value is None or isinstance(value, Tensor))), len(inputs))
    ctx.save_for_backward(*inputs[:count])
    ctx.constants = inputs[count:]


def _saved(ctx: Any) -> list[Any]:
    return [*ctx.saved_tensors, *ctx.constants]


def again(operator: KernelOperator[P, R], like: Tensor) -> Function:
    """An operator in a derivative, without another choice: its kernel again where it may stand in, see there."""
    return operator.again(like) or operator


def kernel_operator(**options: Any) -> Callable[[Callable[P, R]], KernelOperator[P, R]]:
    """Decorator that makes a :class:`KernelOperator` of its reference; options as there."""
    return lambda reference: KernelOperator(reference, **options)


def twice_differentiable(**options: Any) -> Callable[[Callable[P, R]], TwiceDifferentiable[P, R]]:
    """Decorator that makes a :class:`TwiceDifferentiable` of its reference; options as there."""
    return lambda reference: TwiceDifferentiable(reference, **options)
