"""The checks: each raises AssertionError with the relative error and what it is of."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

from equireann_pyg.potential.potential import Potential
from equireann_pyg.testing.structures import make_graph, random_orthogonal, sample_graphs

TOLERANCE = {torch.float32: 5e-4, torch.float64: 1e-10}
"""Largest relative error of an exact symmetry in each type of arithmetic."""


def assert_close(actual: Tensor, expected: Tensor, tolerance: float, what: str, smallest: float = 1e-4) -> None:
    """Compare relative to the largest expected value, which must exceed ``smallest``.

    Raises:
        AssertionError: if the tensors differ, or are too small for the comparison to mean anything.
    """
    __tracebackhide__ = True
    if actual.shape != expected.shape:
        raise AssertionError(f"{what}: shape {list(actual.shape)}, expected {list(expected.shape)}")
    size = float(expected.detach().abs().max())
    if not size > smallest:
        raise AssertionError(f"{what}: largest value {size:.1e} is too small to compare; randomize the parameters")
    error = float((actual.detach() - expected.detach()).abs().max())
    if not error <= tolerance * size:
        raise AssertionError(
            f"{what}: relative error {error / (size or 1):.1e} exceeds {tolerance:.1e} (largest value {size:.1e})"
        )


def predict(potential: Potential, data: Data) -> dict[str, Tensor]:
    """Output of the potential in evaluation mode, with the reference energies taken off the atomic energies."""
    output = potential.eval()(data)
    return {key: output[key] for key in ("forces", "stress") if key in output} | {
        "atomic_energy": output["atomic_energy"] - potential.reference_energies[data.z]
    }


def _compare(actual: dict[str, Tensor], expected: dict[str, Tensor], potential: Potential, what: str) -> None:
    __tracebackhide__ = True
    for key, value in expected.items():
        if bool(value.any()) or bool(actual[key].any()):  # an isolated atom feels no force, exactly
            assert_close(actual[key], value, TOLERANCE[potential.dtype], f"{key} under {what}")


def assert_equivariant(potential: Potential, data: Data) -> None:
    """Atomic energies are unchanged, forces and stress turn with the system, under a rotation and a reflection."""
    __tracebackhide__ = True
    reference = predict(potential, data)
    for reflect in (False, True):
        q = random_orthogonal(seed=3, reflect=reflect)
        expected = dict(reference, forces=reference["forces"] @ q.T)
        if "stress" in reference:
            expected["stress"] = q @ reference["stress"] @ q.T
        turned = data.clone()
        turned.pos, turned.cell = data.pos @ q.T, data.cell @ q.T
        _compare(predict(potential, turned), expected, potential, "reflection" if reflect else "rotation")


def assert_permutation(potential: Potential, data: Data) -> None:
    """The order of atoms and of edges does not matter."""
    __tracebackhide__ = True
    order, edge_order = (torch.arange(size).flip(0).roll(1) for size in (data.z.numel(), data.edge_index.size(1)))
    mixed = data.clone()
    mixed.z, mixed.pos = data.z[order], data.pos[order]
    mixed.edge_index = torch.argsort(order)[data.edge_index][:, edge_order]
    mixed.edge_shift = data.edge_shift[edge_order]
    expected = predict(potential, data)
    expected |= {key: expected[key][order] for key in ("atomic_energy", "forces")}
    _compare(predict(potential, mixed), expected, potential, "permutation")


def assert_translation(potential: Potential, data: Data) -> None:
    """Neither a shift of the origin nor moving atoms by lattice vectors changes anything."""
    __tracebackhide__ = True
    moved = data.clone()
    j, i = data.edge_index
    lattice = torch.arange(data.pos.numel()).view(-1, 3).remainder(5).to(data.pos) - 2  # -> [N, 3]
    moved.pos = data.pos + data.pos.new_tensor([1.7, -0.3, 0.6]) + lattice @ data.cell[0]
    if bool(data.pbc.all()):
        moved.edge_shift = data.edge_shift - lattice[j] + lattice[i]
    _compare(predict(potential, moved), predict(potential, data), potential, "translation")


def assert_batching(potential: Potential, graphs: list[Data]) -> None:
    """A batch gives what its graphs give one by one, and no graph feels another."""
    __tracebackhide__ = True
    batch = Batch.from_data_list([_bare(graph) for graph in graphs])
    together = predict(potential, batch)
    sizes = batch.ptr.diff().tolist()
    for index, graph in enumerate(graphs):
        expected = {key: value for key, value in predict(potential, graph).items() if key in together}
        actual = {key: together[key].split(sizes)[index] for key in ("atomic_energy", "forces")}
        if "stress" in together:
            actual["stress"] = together["stress"][index : index + 1]
        _compare(actual, expected, potential, f"batching of graph {index}")
    batch.pos.requires_grad_()
    energy = potential.train()(batch, forces=False, stress=False)["energy"]
    (gradient,) = torch.autograd.grad(energy[0], batch.pos)
    own = batch.batch == 0
    if not bool(gradient[own].any()):
        raise AssertionError("batching: the energy of the first graph does not depend on its own atoms")
    if bool(gradient[~own].any()):
        raise AssertionError("batching: the energy of one graph depends on the atoms of another")


def _bare(data: Data) -> Data:
    """Only what the potential reads, so that labelled and unlabelled graphs can share a batch."""
    return Data(**{key: data[key] for key in ("z", "pos", "cell", "pbc", "edge_index", "edge_shift")})


def assert_additive(potential: Potential, first: Data, second: Data) -> None:
    """Two open systems out of reach of each other: energies and forces are those of the parts."""
    __tracebackhide__ = True
    distance = 10 * potential.cutoff + float(first.pos.abs().max() + second.pos.abs().max())
    pos = torch.cat([first.pos, second.pos + distance])
    both = make_graph(torch.cat([first.z, second.z]), pos, potential.cutoff)
    parts = [predict(potential, graph) for graph in (first, second)]
    expected = {key: torch.cat([part[key] for part in parts]) for key in ("atomic_energy", "forces")}
    _compare(predict(potential, both), expected, potential, "separation")


def assert_conservative(potential: Potential, data: Data, step: float = 2e-5, tolerance: float = 1e-5) -> None:
    """Forces and stress are central differences of the energy (a float64 copy of the potential is checked)."""
    __tracebackhide__ = True
    double = copy.deepcopy(potential).double()
    output = predict(double, data)
    size = data.pos.numel()
    moves = step * torch.eye(size, dtype=data.pos.dtype).view(size, -1, 3)  # -> [3N, N, 3]
    slope = _slope(double, data, [(move, torch.zeros(3, 3, dtype=data.pos.dtype)) for move in moves]) / (2 * step)
    assert_close(output["forces"], -slope.view(-1, 3), tolerance, "forces against finite differences")
    if "stress" not in output:
        return
    pairs = [(a, b) for a in range(3) for b in range(a, 3)]
    strains = data.pos.new_zeros(len(pairs), 3, 3)
    for strain, (a, b) in zip(strains, pairs, strict=True):
        strain[a, b] += 0.5 * step
        strain[b, a] += 0.5 * step
    slope = _slope(double, data, [(torch.zeros_like(data.pos), strain) for strain in strains]) / (2 * step)
    expected = slope / torch.linalg.det(data.cell[0]).abs()
    actual = torch.stack([output["stress"][0, a, b] for a, b in pairs])
    assert_close(actual, expected, tolerance, "stress against finite differences")


def _slope(potential: Potential, data: Data, steps: list[tuple[Tensor, Tensor]]) -> Tensor:
    """E(+) - E(-) for every displacement ``[N, 3]`` and strain ``[3, 3]``."""
    graphs = []
    for sign in (1, -1):
        for move, strain in steps:
            graph = _bare(data.clone())
            deformation = torch.eye(3, dtype=strain.dtype) + sign * strain
            graph.pos, graph.cell = (data.pos + sign * move) @ deformation, data.cell @ deformation
            graphs.append(graph)
    energy = potential.eval()(Batch.from_data_list(graphs), forces=False, stress=False)["energy"]
    plus, minus = energy.chunk(2)
    return plus - minus


def assert_smooth_at_cutoff(potential: Potential, derivatives: int = 2) -> None:
    r"""As a neighbour leaves, its share of the energy vanishes as :math:`(r_c - r)^{d+1}`, and beyond it is exactly zero.

    Args:
        potential: a float64 copy of it is checked.
        derivatives: number d of continuous derivatives of the energy at the cutoff.
    """
    __tracebackhide__ = True
    double, cutoff = copy.deepcopy(potential).double(), potential.cutoff
    z = torch.tensor(double.elements).repeat(3)[:3]
    closest = 0.5 * cutoff

    def share(gap: float) -> float:
        """Energy that is due to the edges between atoms 1 and 2."""
        pos = torch.tensor([[-0.2 * closest, closest, 0.0], [0.0, 0.0, 0.0], [0.0, -cutoff * (1 - gap), 0.0]]).double()
        whole, cut = make_graph(z, pos, 2 * cutoff), make_graph(z, pos, 2 * cutoff)
        keep = ~(cut.edge_index == 2).any(0)
        cut.edge_index, cut.edge_shift = cut.edge_index[:, keep], cut.edge_shift[keep]
        return float(predict(double, whole)["atomic_energy"].sum() - predict(double, cut)["atomic_energy"].sum())

    for gap in (0.002, 0.008, 0.032):  # the smallest that is well above the rounding of energies
        near, nearer = abs(share(2 * gap)), abs(share(gap))
        if nearer > 1e-13:
            break
    else:
        raise AssertionError(f"cutoff: a neighbour near it changes the energy by {nearer:.1e}, too little to compare")
    power = float(torch.tensor(near / nearer).log2())
    if not power > derivatives + 0.7:
        raise AssertionError(f"cutoff: a neighbour vanishes with power {power:.2f}, expected {derivatives + 1} or more")
    beyond = {gap: share(gap) for gap in (0.0, -0.1, -0.5)}
    if any(beyond.values()):
        raise AssertionError(f"cutoff: neighbours beyond it change the energy: {beyond}")


def assert_pure(potential: Potential, data: Data) -> None:
    """The input stays as it was; outputs have the documented shapes and type and, in evaluation mode, no graph."""
    __tracebackhide__ = True
    before = data.clone()
    output = potential.eval()(data)
    for key, value in before:
        same = torch.equal(value, data[key]) and not data[key].requires_grad if isinstance(value, Tensor) else True
        if not same or set(before.keys()) != set(data.keys()):
            raise AssertionError(f"the potential changed `{key}` of its input, or added a field")
    shapes = {"energy": (data.cell.size(0),), "atomic_energy": tuple(data.z.shape), "forces": tuple(data.pos.shape)}
    for key, shape in shapes.items():
        value = output[key]
        if tuple(value.shape) != shape or value.dtype != torch.float64 or value.requires_grad:
            raise AssertionError(f"{key}: expected a detached float64 tensor of shape {shape}, got {value}")
    assert_close(output["energy"].sum(), output["atomic_energy"].sum(), 1e-12, "energy as a sum over the atoms")


def assert_trainable(potential: Potential, data: Data, step: float = 5e-6, tolerance: float = 1e-5) -> None:
    """Every parameter gets a gradient, and that of a force loss equals finite differences (in a float64 copy)."""
    __tracebackhide__ = True
    double = copy.deepcopy(potential).double().train()

    def loss() -> Tensor:
        return double(data, stress=False)["forces"].square().sum()

    output = double(data, stress=False)
    (output["energy"].square().sum() + output["forces"].square().sum()).backward()
    silent = [name for name, p in double.named_parameters() if p.grad is None or not bool(p.grad.any())]
    if silent:
        raise AssertionError(f"parameters without a gradient: {silent}")
    parameters = list(double.parameters())
    gradients = torch.autograd.grad(loss(), parameters, materialize_grads=True)
    actual, expected = [], []
    for parameter, gradient in zip(parameters, gradients, strict=True):
        direction = torch.sin(1.0 + torch.arange(parameter.numel()).to(parameter)).view_as(parameter)
        actual.append((gradient * direction).sum())
        near, far = (_slope_along(loss, parameter, direction, width) for width in (step, 2 * step))
        expected.append((4 * near - far) / 3)  # without the error of second order
    assert_close(torch.stack(actual), parameters[0].new_tensor(expected), tolerance, "gradient of the force loss")


@torch.no_grad()
def _slope_along(loss: Callable[[], Tensor], parameter: Tensor, direction: Tensor, step: float) -> float:
    """Central difference of a loss along a direction of a parameter."""
    values = []
    for shift in (step, -2 * step):
        parameter.add_(shift * direction)
        with torch.enable_grad():
            values.append(float(loss().detach()))
    parameter.add_(step * direction)
    return (values[0] - values[1]) / (2 * step)


def assert_potential(potential: Potential, derivatives: int = 2) -> None:
    """The whole battery on :func:`sample_graphs`; ``derivatives`` as for :func:`assert_smooth_at_cutoff`."""
    __tracebackhide__ = True
    graphs = sample_graphs(potential.elements, potential.cutoff)
    cluster, other, crystal, tiny, _ = graphs
    for data in (cluster, crystal):
        assert_equivariant(potential, data)
        assert_permutation(potential, data)
        assert_translation(potential, data)
        assert_conservative(potential, data)
        assert_pure(potential, data)
    assert_batching(potential, graphs)
    assert_batching(potential, [crystal, tiny])
    assert_additive(potential, cluster, other)
    assert_smooth_at_cutoff(potential, derivatives)
    assert_trainable(potential, cluster)
