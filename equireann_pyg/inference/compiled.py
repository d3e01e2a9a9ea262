"""Compiled potentials: energy, forces and stress as one graph that torch's compiler has fused.

The graph is traced once, derivative included, with symbolic numbers of atoms, edges and graphs. So the compiler sees the
forces as plain arithmetic, and a force loss can be differentiated through it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any, cast

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv, StatelessSymbolicContext
from torch_geometric.data import Data

from equireann_pyg.potential.potential import Potential
from equireann_pyg.properties.base import GraphTensors
from equireann_pyg.wording import one_line

State = dict[str, Tensor]
Graph = Callable[..., dict[str, Tensor]]


class CompiledPotential:
    """A potential that evaluates through compiled graphs; use and results are those of the potential.

    It shares the weights, the mode (training or evaluation) and the device of the potential. There is one graph for each
    combination of mode and outputs, compiled when it is first asked for; other numbers of atoms, edges and graphs need no
    new one. Without a compiler it warns and evaluates as the potential does.

    Args:
        potential: potential, in either mode.
    """

    def __init__(self, potential: Potential) -> None:
        self.potential = potential
        self._graphs: dict[Any, Graph] = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> CompiledPotential:
        """A copy of the potential, to be compiled anew."""
        return CompiledPotential(deepcopy(self.potential, memo))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled without the graphs."""
        return CompiledPotential, (self.potential,)

    def __call__(self, data: Data, forces: bool = True, stress: bool | None = None) -> dict[str, Tensor]:
        """Energy, forces and stress; arguments, results and errors as of :meth:`equireann_pyg.Potential.forward`."""
        stress = self.potential.check(data, stress)
        tensors = self.potential.tensors(data)
        _mark_dynamic(tensors)
        missing = tuple(tensor is None for tensor in tensors)
        key = self.potential.training, self.potential.dtype, missing, forces, stress
        if key not in self._graphs:
            self._graphs[key] = self._compile(tensors, forces, stress)
        with torch.set_grad_enabled(self.potential.training):  # one mode for each graph: another would be compiled anew
            return self._graphs[key](state_of(self.potential), *tensors)

    def _compile(self, tensors: GraphTensors, forces: bool, stress: bool) -> Graph:
        def eager(state: State, *tensors: Any) -> dict[str, Tensor]:
            return self.potential.evaluate(tensors, forces, stress)

        graph = torch.compile(trace(self.potential, tensors, forces, stress))
        try:
            with torch.set_grad_enabled(self.potential.training):
                graph(state_of(self.potential), *tensors)
        except COMPILER_ERRORS as error:
            reason = one_line(error, 300)
            warnings.warn(
                f"the potential could not be compiled, evaluating it without ({reason}); install a C++ compiler (CPU) or "
                "Triton (CUDA)",
                stacklevel=3,
            )
            return eager
        return graph


COMPILER_ERRORS = (torch._dynamo.exc.BackendCompilerFailed, torch._inductor.exc.InductorError)


def compile_potential(potential: Potential) -> CompiledPotential:
    """Compiled form of a potential; see :class:`CompiledPotential`."""
    return CompiledPotential(potential)


def trace(potential: Potential, tensors: Sequence[Any], forces: bool, stress: bool) -> GraphModule:
    """Graph of ``potential.evaluate``: ``graph(state, *tensors)``, with symbolic numbers of atoms, edges and graphs.

    Args:
        potential: potential in the mode that is wanted.
        tensors: fields of an example, see :class:`~equireann_pyg.properties.GraphTensors`; only types and devices matter.
        forces: with forces.
        stress: with stress.
    """
    return trace_module(_Evaluation(potential, forces, stress), tensors, tuple(DYNAMIC.values()))


def trace_module(
    module: torch.nn.Module, tensors: Sequence[Tensor | None], dynamic: Sequence[int | None]
) -> GraphModule:
    """Graph of a module that evaluates its ``potential``, derivatives included: ``graph(state, *tensors)``.

    Args:
        module: its attribute ``potential`` is a potential, whose :func:`state_of` is the first argument of the graph.
        tensors: an example of what the module takes; only types and devices matter.
        dynamic: of each, the dimension that changes from graph to graph, or None.
    """
    potential = cast(Potential, module.potential)

    def evaluate(state: State, *tensors: Tensor) -> Any:
        return torch.func.functional_call(module, {f"potential.{key}": value for key, value in state.items()}, tensors)

    mode = FakeTensorMode(shape_env=ShapeEnv(duck_shape=False))
    state = {key: mode.from_tensor(value, static_shapes=True) for key, value in state_of(potential).items()}
    example = [
        None if tensor is None else _symbolic(mode, tensor, dim)
        for dim, tensor in zip(dynamic, tensors, strict=False)  # fewer without a batch
    ]
    return _without_detach(make_fx(evaluate, tracing_mode="symbolic")(state, *example))


def _without_detach(graph: GraphModule) -> GraphModule:
    """Undo what tracing does to results that a derivative uses again, such as those of exp: they would be constants."""
    for node in graph.graph.find_nodes(op="call_function", target=torch.ops.aten.detach.default):
        node.replace_all_uses_with(node.args[0])
        graph.graph.erase_node(node)
    graph.recompile()
    return graph


class _Evaluation(torch.nn.Module):
    def __init__(self, potential: Potential, forces: bool, stress: bool) -> None:
        super().__init__()
        self.potential, self.forces, self.stress = potential, forces, stress

    def forward(self, *tensors: Any) -> dict[str, Tensor]:
        return self.potential.evaluate(tensors, self.forces, self.stress)


DYNAMIC = {name: 1 if name == "edge_index" else 0 for name in GraphTensors._fields}
"""Dimension of each field that changes from graph to graph."""


def _mark_dynamic(tensors: GraphTensors) -> None:
    """Tell the compiler which sizes change, so that it does not find out by compiling again."""
    for dim, tensor in zip(DYNAMIC.values(), tensors, strict=True):
        if tensor is not None and tensor.size(dim) > 1:  # sizes 0 and 1 get graphs of their own
            torch._dynamo.maybe_mark_dynamic(tensor, dim)


def _symbolic(mode: FakeTensorMode, tensor: Tensor, dynamic: int | None) -> Tensor:
    shape = [
        size if dim != dynamic else 8 for dim, size in enumerate(tensor.shape)
    ]  # neither 0 nor 1: they are special
    dims = [DimDynamic.DYNAMIC if dim == dynamic else DimDynamic.STATIC for dim in range(tensor.dim())]
    context: Any = StatelessSymbolicContext(dynamic_sizes=dims)
    example = torch.empty(shape, dtype=tensor.dtype, device=tensor.device)
    return mode.from_tensor(example, symbolic_context=context)


def state_of(potential: Potential) -> State:
    """Weights and buffers; detached in evaluation mode, where nobody asks for their gradients."""
    state = dict(potential.named_parameters()) | dict(potential.named_buffers())
    return state if potential.training else {key: value.detach() for key, value in state.items()}
