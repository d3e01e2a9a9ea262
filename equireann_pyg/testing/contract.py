"""What a model has to fulfil to be plugged into the potential, the task, the command line and the calculator."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

from equireann_pyg.graph.edges import edge_vectors
from equireann_pyg.potential.model import fit_statistics, takes
from equireann_pyg.potential.potential import Potential
from equireann_pyg.testing import checks
from equireann_pyg.testing.structures import randomize, sample_graphs


@dataclass
class ModelReport:
    """What :func:`check_model` found.

    Attributes:
        problems: for each check in turn what is wrong; empty where nothing is.
    """

    problems: dict[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether no check found anything."""
        return not any(self.problems.values())

    def __str__(self) -> str:
        width = max(map(len, self.problems))
        return "\n".join(f"{name:<{width}}  {problem or 'ok'}" for name, problem in self.problems.items())


def check_model(model: torch.nn.Module, derivatives: int = 2, amplitude: float = 0.6) -> ModelReport:
    """Everything that is wrong with a model of atomic energies, at once; a copy with random parameters is examined.

    Args:
        model: has ``cutoff`` in Angstrom, ``elements`` and ``forward(z, edge_index, edge_vec) -> [N]``, which may have an
            argument ``batch`` for the graph of each atom; where it has ``fit_statistics``, this is given the sample.
        derivatives: number of continuous derivatives that the energy shall have at the cutoff.
        amplitude: of the noise that is added to the parameters; deep networks may want less.

    Returns:
        the findings; ``print`` shows them, ``ok`` says whether there are none. Where the outputs themselves are wrong, no
        other check is made.

    Example::

        report = check_model(MyModel(elements=[1, 6], cutoff=4.0))
        assert report.ok, report
    """
    report = ModelReport()
    try:
        potential = Potential(copy.deepcopy(model))
        if next(potential.model.parameters(), None) is None:
            raise TypeError(f"{type(model).__name__} has no parameters to train")
    except TypeError as error:
        report.problems["contract"] = str(error)
        return report
    randomize(potential.model, amplitude=amplitude)
    potential = potential.double()
    graphs = sample_graphs(potential.elements, potential.cutoff)
    sample = Batch.from_data_list([graph for graph in graphs if graph.edge_index.numel()])
    _examine(report, _outputs(potential, graphs))
    if report.ok:
        _examine(report, iter([("statistics", lambda: fit_statistics(potential.model, sample, potential.dtype))]))
    if report.ok:
        bring_to_unit_size(potential, graphs)
        _examine(report, _symmetries(potential, graphs, derivatives))
    return report


Check = tuple[str, Callable[[], None]]


def _examine(report: ModelReport, found: Iterator[Check]) -> None:
    """Make checks; whatever they raise is a finding."""
    for name, check in found:
        problem = ""
        try:
            check()
        except AssertionError as error:
            problem = str(error)
        except Exception as error:  # a model may fail in any way
            problem = f"{type(error).__name__}: {error}"
        report.problems[name] = report.problems.get(name) or problem


def _outputs(potential: Potential, graphs: list[Data]) -> Iterator[Check]:
    for name, data in zip(("outputs", "outputs", "outputs", "outputs", "isolated atom"), graphs, strict=True):
        yield name, lambda data=data: assert_atomic_energies(potential.model, data)  # type: ignore[misc]


def assert_atomic_energies(model: torch.nn.Module, data: Data) -> None:
    """One finite number for each atom, in the type of the edge vectors; the inputs stay as they were."""
    vectors = edge_vectors(data).detach()
    inputs = {"z": data.z, "edge_index": data.edge_index, "edge_vec": vectors}
    before = {name: value.clone() for name, value in inputs.items()}
    energy = model(
        *inputs.values(), **({"batch": torch.zeros_like(data.z)} if takes(type(model).forward, "batch") else {})
    )
    for name, value in inputs.items():
        if not torch.equal(value, before[name]):
            raise AssertionError(f"forward changed its input `{name}`: work on a copy")
    if not isinstance(energy, Tensor) or energy.shape != data.z.shape:
        shape = list(energy.shape) if isinstance(energy, Tensor) else type(energy).__name__
        raise AssertionError(f"forward gave {shape}, expected atomic energies of shape {list(data.z.shape)}")
    if energy.dtype != vectors.dtype:
        raise AssertionError(f"forward gave {energy.dtype} for edge vectors of {vectors.dtype}")
    if not bool(energy.isfinite().all()):
        raise AssertionError(f"forward gave {int((~energy.isfinite()).sum())} energies that are not finite")


@torch.no_grad()
def bring_to_unit_size(potential: Potential, graphs: list[Data]) -> None:
    """Scale the energies, so that errors are not compared with values that are tiny."""
    energies = torch.cat([checks.predict(potential, data)["atomic_energy"] for data in graphs])
    potential.scale.div_(energies.square().mean().sqrt().clamp(min=1e-8))


def _symmetries(potential: Potential, graphs: list[Data], derivatives: int) -> Iterator[Check]:
    cluster, other, crystal, tiny, _ = graphs
    for data in (cluster, crystal):
        yield "rotation, reflection", lambda data=data: checks.assert_equivariant(potential, data)  # type: ignore[misc]
        yield "order of atoms and edges", lambda data=data: checks.assert_permutation(potential, data)  # type: ignore[misc]
        yield "translation", lambda data=data: checks.assert_translation(potential, data)  # type: ignore[misc]
        yield "forces, stress", lambda data=data: checks.assert_conservative(potential, data)  # type: ignore[misc]
    yield "batches", lambda: checks.assert_batching(potential, graphs)
    yield "batches", lambda: checks.assert_batching(potential, [crystal, tiny])
    yield "parts far apart", lambda: checks.assert_additive(potential, cluster, other)
    yield "cutoff", lambda: checks.assert_smooth_at_cutoff(potential, derivatives)
    yield "training on forces", lambda: checks.assert_trainable(potential, cluster)
