"""No step of training or dynamics waits for a GPU; what a graph is refused for is known all the same."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from ase import Atoms
from torch import Tensor
from torch_geometric.data import Batch, Data

from equireann_pyg import REANN, EquiREANN, EquiREANNCalculator, EquiREANNPlus, Potential
from equireann_pyg.graph import known, to_device
from equireann_pyg.graph.transfer import fetched, in_one
from equireann_pyg.inference.compiled import CompiledPotential
from equireann_pyg.nn import ZBL, ElementStandardize
from equireann_pyg.potential.record import present
from equireann_pyg.properties import Dipole, FieldResponse, LocalDipole
from equireann_pyg.testing import random_cluster, random_crystal, randomize, sample_graphs
from equireann_pyg.training import Muon, PotentialLoss
from equireann_pyg.training.callbacks import ExponentialAverage
from tests.waiting import WaitingError, moved, training_step, watched

KINDS = ["equireann", "reann", "equireann-plus", "dipole", "field"]
ON_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")


def potential(kind: str = "equireann") -> Potential:
    """A small potential of a shipped kind, with a repulsion."""
    sizes = {"num_radial": 4, "num_density": 8, "num_iterations": 1, "hidden_channels": [8]}
    if kind == "equireann-plus":
        model = EquiREANNPlus(["H", "C"], 3.0, num_radial=8, num_products=8, num_messages=4, hidden_channels=[8])
    else:
        model = (REANN if kind == "reann" else EquiREANN)(["H", "C"], 3.0, **sizes)
    randomize(model)
    properties = {"dipole": [Dipole([4])], "field": [FieldResponse(LocalDipole([4]))]}.get(kind, [])
    return Potential(model, properties, ZBL())


def batch(kind: str = "equireann") -> Data:
    """Clusters, crystals and an isolated atom with labels, some of which are missing."""
    graphs = sample_graphs([1, 6], 3.0)
    for index, data in enumerate(graphs):
        data.cutoff = torch.tensor([3.0], dtype=torch.float64)
        data.energy = torch.full((1,), float(index) if index else torch.nan, dtype=torch.float64)
        data.forces = torch.full_like(data.pos, 0.1)
        if kind == "field":
            data.field = torch.tensor([[0.0, 0.1, 0.0]], dtype=torch.float64)
    return Batch.from_data_list(graphs)


@pytest.mark.parametrize("kind", KINDS)
def test_inference_does_not_wait(kind: str) -> None:
    made, data = moved(potential(kind).eval(), batch(kind), "meta")
    with watched():
        output = made(data)
        plain = made(data, stress=False)
    assert output["forces"].shape == data.pos.shape
    assert output["stress"].shape == data.cell.shape
    assert "stress" not in plain


@pytest.mark.parametrize("make", [torch.optim.Adam, torch.optim.AdamW, Muon])
def test_optimizers_do_not_wait(make: type[torch.optim.Optimizer]) -> None:
    made, data = moved(potential(), batch(), "meta")
    step = training_step(made, data, make)
    with watched():
        step()
        step()


@pytest.mark.parametrize("kind", KINDS)
def test_a_training_step_does_not_wait(kind: str) -> None:
    made, data = moved(potential(kind), batch(kind), "meta")
    step = training_step(made, data)
    with watched():
        step()
    assert all(parameter.grad is not None for parameter in made.model.parameters())


def test_averaged_weights_do_not_wait() -> None:
    made = potential().to("meta")
    average = ExponentialAverage(made, 0.99, torch.device("meta"))
    with watched():
        average.update_parameters(made)
        average.update_parameters(made)
    assert int(average.n_averaged) == 2


def _item(self: ElementStandardize, x: Tensor, species: Tensor) -> Tensor:
    return x * x.sum().item()


def _mask(self: ElementStandardize, x: Tensor, species: Tensor) -> Tensor:
    x[species == 0].sum()
    return x


def _list(self: ElementStandardize, x: Tensor, species: Tensor) -> Tensor:
    return x * x.new_tensor([2.0])


def _there(self: ElementStandardize, x: Tensor, species: Tensor) -> Tensor:
    return x * torch.ones(1).to(x.device)


def _index(self: ElementStandardize, x: Tensor, species: Tensor) -> Tensor:
    return x * torch.repeat_interleave(x[:, :1], species, output_size=None).sum()


@pytest.mark.parametrize("planted", [_item, _mask, _list, _there, _index])
def test_what_waits_is_found(planted: object, monkeypatch: pytest.MonkeyPatch) -> None:
    made, data = moved(potential().eval(), batch(), "meta")
    monkeypatch.setattr("equireann_pyg.nn.scaling.SoftStandardize.forward", planted)
    with watched(), pytest.raises(WaitingError):
        made(data)


def test_answers_are_kept_until_a_tensor_is_written_to() -> None:
    asked = []

    def question(tensor: Tensor) -> int:
        asked.append(tensor)
        return len(asked)

    tensor = torch.empty(3, device="meta")
    assert [known(question, tensor), known(question, tensor)] == [1, 1]
    tensor.add_(1)
    assert known(question, tensor) == 2
    assert known(question, tensor.clone()) == 3
    here = torch.zeros(3)
    assert [known(question, here), known(question, here)] == [4, 5]  # looking is free there


def test_a_graph_is_refused_where_it_was_before() -> None:
    made = potential().eval().to("meta")
    helium, crystal = random_cluster([2], 3.0), random_crystal([1, 6], 3.0)
    short = random_cluster([1, 6], 2.0)
    short.cutoff = torch.tensor([2.0])
    with pytest.raises(ValueError, match="unknown element He"):
        made(to_device(helium, "meta"))
    with pytest.raises(ValueError, match=r"cutoff mismatch: .* built with 2 Angstrom, the model needs 3"):
        made(to_device(short, "meta"))
    with pytest.raises(ValueError, match="stress: the graph has no cell volume"):
        made(to_device(random_cluster([1, 6], 3.0), "meta"), stress=True)
    trained = potential()
    trained.prepared.fill_(True)
    trained.training_atoms[1] = 5
    with pytest.raises(ValueError, match="untrained element C"):
        trained.eval().to("meta")(to_device(crystal, "meta"))
    with pytest.raises(ValueError, match="unknown element He"):
        CompiledPotential(made)(helium)


def test_a_field_on_a_periodic_graph_is_refused_there_too() -> None:
    crystal = random_crystal([1, 6], 3.0)
    crystal.field = torch.ones(1, 3, dtype=torch.float64)
    made = Potential(potential().model, [FieldResponse(Dipole([4]))]).eval().to("meta")
    with pytest.raises(ValueError, match="field on a periodic graph"):
        made(to_device(crystal, "meta"))


def test_an_unprepared_graph_is_waited_for() -> None:
    """Without :func:`to_device` nothing is known: the values have to be looked at, here in vain."""
    made, data = moved(potential().eval(), batch(), "meta")
    with watched(), pytest.raises(WaitingError):
        made(batch().to("meta"))
    assert known(present, data.z) == {1, 6}


@pytest.mark.parametrize("kind", KINDS)
def test_the_way_without_choices_gives_the_same_numbers(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made, data = potential(kind).double().eval(), batch(kind)
    expected = made(data)
    for place in ("potential.potential", "models.network", "nn.repulsion"):
        monkeypatch.setattr(f"equireann_pyg.{place}.readable", lambda tensor: False)
    for name, value in made(data).items():
        torch.testing.assert_close(value, expected[name], rtol=1e-10, atol=1e-12, equal_nan=True, msg=name)
    assert float(expected["forces"].abs().max()) > 1e-2


def test_the_loss_leaves_out_what_has_no_label(monkeypatch: pytest.MonkeyPatch) -> None:
    made, data, loss = potential().double(), batch(), PotentialLoss()
    made.train()

    def evaluated() -> tuple[Tensor, Tensor, Tensor]:
        made.zero_grad()
        sums, counts = loss(made(data), data, made.scales())
        loss.weighted(loss.final(), sums / counts.clamp(min=1)).backward()
        return sums.detach(), counts, torch.cat([p.grad.flatten() for p in made.parameters() if p.grad is not None])

    expected = evaluated()
    monkeypatch.setattr("equireann_pyg.training.loss.chosen", lambda x, where: torch.where(where, x, 0.0))
    for mine, value in zip(evaluated(), expected, strict=True):
        torch.testing.assert_close(mine, value, rtol=1e-10, atol=1e-10)
    assert expected[1].tolist()[:2] == [4, 3 * data.num_nodes]
    assert float(expected[2].abs().max()) > 1e-2


@contextmanager
def no_waiting_on_a_gpu() -> Iterator[None]:
    """Within this context torch raises where the CPU waits for the GPU."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@ON_GPU
@pytest.mark.parametrize("kind", KINDS)
def test_inference_does_not_wait_for_a_gpu(kind: str) -> None:
    here = potential(kind).eval()
    made, data = moved(here, batch(kind), "cuda")
    made(data)
    with no_waiting_on_a_gpu():
        output = made(data)
    expected = here(batch(kind))
    for name, value in output.items():
        torch.testing.assert_close(value.cpu(), expected[name], rtol=1e-4, atol=1e-4, equal_nan=True, msg=name)


@ON_GPU
@pytest.mark.parametrize("kind", KINDS)
def test_a_training_step_does_not_wait_for_a_gpu(kind: str) -> None:
    made, data = moved(potential(kind), batch(kind), "cuda")
    step = training_step(made, data)
    step()
    with no_waiting_on_a_gpu():
        step()


@ON_GPU
def test_a_graph_that_is_there_already_is_waited_for_once() -> None:
    made = potential().eval().to("cuda")
    data = batch().to("cuda")
    made(data)
    with no_waiting_on_a_gpu():
        made(data)
    with pytest.raises(ValueError, match="unknown element He"):
        made(random_cluster([2], 3.0).to("cuda"))


def test_results_travel_as_one() -> None:
    torch.manual_seed(0)
    results = {"energy": torch.randn(1).double(), "forces": torch.randn(4, 3), "stress": torch.randn(1, 3, 3).double()}
    results |= {"charges": torch.full((4,), torch.nan), "closest": torch.tensor(1.5)}
    assert fetched(results) is results
    there = in_one(results)
    assert list(there) == list(results)
    for name, value in results.items():
        assert there[name].dtype == value.dtype
        torch.testing.assert_close(there[name], value, rtol=0, atol=0, equal_nan=True)


@ON_GPU
def test_a_step_of_dynamics_waits_twice() -> None:
    """For the number of edges within the cutoff, and for the results."""
    made = potential().eval()
    made.allow_untrained = True
    atoms = Atoms("HCCH", np.arange(12).reshape(4, 3) * 0.7)
    here, there = (EquiREANNCalculator(made, device=device, allow_untrained=True) for device in ("cpu", "cuda"))
    forces = []
    for calculator in (here, there):
        moved = atoms.copy()
        moved.calc = calculator
        moved.get_forces()
        moved.positions[0] += 0.01
        if calculator is here:
            forces.append(moved.get_forces())
            continue
        torch.cuda.set_sync_debug_mode("warn")
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                forces.append(moved.get_forces())
        finally:
            torch.cuda.set_sync_debug_mode("default")
        assert len([one for one in caught if "synchroniz" in str(one.message)]) <= 2
    assert np.abs(forces[0]).max() > 1e-3
    np.testing.assert_allclose(forces[1], forces[0], rtol=1e-4, atol=1e-4)
