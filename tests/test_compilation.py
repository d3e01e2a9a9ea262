"""Compiled and exported potentials give the numbers of the potential, for any number of atoms and edges."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from ase import Atoms
from ase.build import bulk
from torch_geometric.data import Batch, Data

from equireann_pyg import EquiREANN, Potential, from_ase, save_potential
from equireann_pyg.cli import main
from equireann_pyg.inference.calculator import EquiREANNCalculator
from equireann_pyg.inference.compiled import CompiledPotential
from equireann_pyg.inference.exported import export_potential, load_exported
from equireann_pyg.ops import by_reference
from equireann_pyg.testing import assert_close, random_cluster, random_crystal, randomize
from tests.copper import write_frames

pytestmark = [
    pytest.mark.filterwarnings("ignore:`isinstance\\(treespec, LeafSpec\\)`:FutureWarning"),  # inside of torch
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # torch's compiler imports what it likes
]
CONF = Path(__file__).parent / "conf" / "tiny.yaml"
TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-10}


def potential(
    dtype: torch.dtype = torch.float64, cutoff: float = 3.0, elements: tuple[str, ...] = ("H", "Cu")
) -> Potential:
    """A small potential with random parameters."""
    model = EquiREANN(elements, cutoff, num_radial=4, num_density=8, num_iterations=1, hidden_channels=[8])
    randomize(model)
    made = Potential(model.to(dtype))
    made.set_references({name: {"H": -1.0, "Cu": -2.0}[name] for name in elements}, scale=0.5)
    return made.eval()


def batches() -> list[Data]:
    """Batches of two, three and five graphs, periodic or not, with different numbers of atoms and edges."""
    graphs = [random_cluster([1, 29], 3.0, size, seed=size) for size in (3, 5, 6)]
    graphs += [random_crystal([1, 29], 3.0, size, seed=size) for size in (2, 3)]
    return [Batch.from_data_list(graphs[:2]), Batch.from_data_list(graphs[1:4]), Batch.from_data_list(graphs)]


def assert_same(actual: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], tolerance: float) -> None:
    """Compare all outputs; NaN where the other is NaN."""
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        known = torch.isfinite(value)
        assert torch.equal(known, torch.isfinite(actual[name])), name
        assert_close(actual[name][known], value[known], tolerance, name)


@pytest.mark.parametrize("dtype", [torch.float32, pytest.param(torch.float64, marks=pytest.mark.slow)])
def test_compiled_inference(dtype: torch.dtype) -> None:
    made = potential(dtype)
    compiled = CompiledPotential(made)
    for batch in batches():
        output = compiled(batch, stress=None)
        assert_same(output, made(batch), TOLERANCE[dtype])
        assert not any(value.requires_grad for value in output.values())


def assert_same_gradients(made: Potential, batches: list[Data]) -> None:
    """Compare the gradients of a force loss with those of plain, eager torch."""
    compiled = CompiledPotential(made)

    def gradients(evaluate: CompiledPotential | Potential, batch: Data) -> list[torch.Tensor]:
        made.zero_grad()
        output = evaluate(batch, stress=False)
        (output["energy"].square().sum() + output["forces"].square().sum()).backward()
        return [parameter.grad.clone() for parameter in made.parameters()]

    for batch in batches:
        actual = gradients(compiled, batch)
        with by_reference():
            expected = gradients(made, batch)
        for mine, theirs in zip(actual, expected, strict=True):
            assert_close(mine, theirs, 1e-9, "gradient", smallest=1e-8)


def test_compiled_training_has_the_gradients_of_the_force_loss() -> None:
    assert_same_gradients(potential().train(), batches())


@pytest.mark.slow
def test_compiled_training_without_kernels_has_the_gradients_of_the_force_loss() -> None:
    graphs = [random_crystal([29], 3.0, size, seed=size) for size in (2, 3, 4)]
    made = potential(elements=("Cu",)).train()
    with by_reference():  # as on a GPU
        assert_same_gradients(made, [Batch.from_data_list(graphs[:2]), Batch.from_data_list(graphs)])


def test_new_weights_are_seen_at_once() -> None:
    made, batch = potential(), batches()[0]
    compiled = CompiledPotential(made)
    before = compiled(batch)["forces"]
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(1.1)
    after = compiled(batch)["forces"]
    assert_close(after, made(batch)["forces"], 1e-10, "forces")
    assert float((after - before).abs().max()) > 1e-3 * float(after.abs().max())


@pytest.fixture
def recompilations() -> Iterator[list[str]]:
    """Reasons of every compilation after the first of a graph."""
    torch._dynamo.reset()
    reasons: list[str] = []
    hook = torch._dynamo.callback_handler.register_end_callback(lambda *arguments: reasons.append(str(arguments)))
    yield reasons
    torch._dynamo.callback_handler.remove_end_callback(hook)


def test_other_sizes_need_no_other_graph(recompilations: list[str]) -> None:
    compiled, graphs = CompiledPotential(potential()), batches()
    compiled(graphs[0], stress=False)
    first = len(recompilations)
    assert first >= 1
    for batch in (*graphs[1:], *graphs):
        compiled(batch, stress=False)
    assert len(recompilations) == first


def test_compiled_refuses_what_the_potential_refuses() -> None:
    compiled = CompiledPotential(potential())
    with pytest.raises(ValueError, match="unknown element He"):
        compiled(random_cluster([2], 3.0))
    with pytest.raises(ValueError, match="cutoff mismatch"):
        compiled(from_ase(Atoms("H2", [[0, 0, 0], [0, 0, 1]]), 2.0))


def test_without_a_compiler_the_potential_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    model = EquiREANN(["H", "Cu"], 3.0, num_radial=3, num_density=5, num_iterations=1)  # in no cache of compiled graphs
    randomize(model)
    made, batch = Potential(model.double()).eval(), batches()[0]

    def broken(*arguments: object, **options: object) -> None:
        raise torch._inductor.exc.InvalidCxxCompiler

    monkeypatch.setattr("torch._inductor.cpp_builder.get_cpp_compiler", broken)
    compiled = CompiledPotential(made)
    with pytest.warns(UserWarning, match="could not be compiled"):
        first = compiled(batch)
    assert_same(first, made(batch), 1e-14)
    assert_same(compiled(batch), made(batch), 1e-14)  # and says so only once


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_frames(tmp_path / "train.xyz", count=16)
    return tmp_path


def test_compiled_run_equals_the_eager_run(workplace: Path) -> None:
    words = ["fit", "--config", str(CONF), "--data.train", "train.xyz", "--trainer.max_epochs", "2"]
    words += ["--trainer.precision", "64-true"]
    weights = {}
    for name in ("false", "true"):
        assert main([*words, "--model.compile", name, "--trainer.callbacks.dirpath", name]) == 0
        weights[name] = torch.load(f"{name}/last.ckpt", weights_only=True)["potential"]["state_dict"]
    for key, value in weights["false"].items():
        assert_close(weights["true"][key].double(), value.double(), 1e-7, key, smallest=-1.0)


def test_export(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = potential(torch.float32, cutoff=3.5).train()
    save_potential(made, "model.pt")
    assert main(["export", "model.pt"]) == 0
    assert "model.pt2" in capsys.readouterr().out
    exported = load_exported("model.pt2")
    assert (exported.cutoff, exported.elements, exported.dtype) == (3.5, [1, 29], torch.float32)
    copper = bulk("Cu", cubic=True)
    copper.rattle(0.1, seed=0)
    structures = [copper, copper.repeat(2), Atoms("CuH", [[0, 0, 0], [0, 1, 1]]), Atoms("HCu", [[0, 0, 0], [0, 0, 9]])]
    for atoms in (*structures, Atoms("Cu")):
        graph = from_ase(atoms, 3.5)
        output, expected = exported(graph), made.eval()(graph)
        assert output.keys() == expected.keys()
        for name, value in expected.items():
            assert output[name].flatten().tolist() == pytest.approx(value.flatten().tolist(), rel=1e-4, abs=1e-5), name
    calculator = EquiREANNCalculator("model.pt2")
    copper.calc = EquiREANNCalculator(made)
    forces, stress = copper.get_forces(), copper.get_stress()
    copper.calc = calculator
    assert copper.get_forces() == pytest.approx(forces, rel=1e-4, abs=1e-5)
    assert copper.get_stress() == pytest.approx(stress, rel=1e-4, abs=1e-6)
    with pytest.raises(ValueError, match="export it anew"):
        EquiREANNCalculator("model.pt2", dtype=torch.float64)
    with pytest.raises(ValueError, match="one graph at a time"):
        exported(Batch.from_data_list([from_ase(copper, 3.5)] * 2))
    with pytest.raises(ValueError, match="unknown element He"):
        exported(from_ase(Atoms("He"), 3.5))


def test_export_refuses(workplace: Path) -> None:
    with pytest.raises(ValueError, match=r"must end in \.pt2"):
        export_potential(potential(), "model.bin")
    with pytest.raises(FileNotFoundError, match="no such folder"):
        export_potential(potential(), "nowhere/model.pt2")
    Path("damaged.pt2").write_bytes(b"PK\x03\x04 and nothing else")
    with pytest.raises(ValueError, match="no exported potential"):
        load_exported("damaged.pt2")
    with pytest.raises(FileNotFoundError, match="no such file"):
        load_exported("absent.pt2")
