from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch_geometric.data import Batch

from equireann_pyg import EANN, REANN, EquiREANN, OrbitalNetwork, Potential, load_potential, nn, save_potential
from equireann_pyg.nn import CartesianMoments, CosineCutoff, PolynomialCutoff, SphericalHarmonics
from equireann_pyg.potential.checkpoint import build, potential_state, recipe
from equireann_pyg.testing import sample_graphs

CUTOFF = 3.0
MODELS: dict[str, tuple[type[EquiREANN], dict[str, Any]]] = {
    "equireann": (EquiREANN, {}),
    "equireann-paper": (EquiREANN, {"angular": CartesianMoments(2, unit=False), "envelope": CosineCutoff()}),
    "fewer-iterations": (EquiREANN, {"num_iterations": 1}),
    "reann": (REANN, {"angular": SphericalHarmonics(3), "envelope": PolynomialCutoff(4)}),
    "eann": (EANN, {"hidden_channels": [16]}),
}


class Options(torch.nn.Module):
    """A model whose arguments hold modules in containers and numbers of NumPy."""

    def __init__(self, parts: list[torch.nn.Module], table: dict[str, Any], size: int) -> None:
        super().__init__()
        self.parts = torch.nn.ModuleList(parts)
        self.config = {"parts": parts, "table": table, "size": np.int64(size)}


class Outer:
    """Hides a model where no file can find it again."""

    class Inner(torch.nn.Module):
        config: dict[str, Any] = {}  # noqa: RUF012


@pytest.fixture
def path(tmp_path, make_potential) -> Path:
    """File of a potential in float32."""
    save_potential(make_potential(), tmp_path / "potential.pt")
    return tmp_path / "potential.pt"


def labels(potential: Potential) -> dict[str, torch.Tensor]:
    """Predictions for a few graphs in evaluation mode."""
    return potential.eval()(Batch.from_data_list(sample_graphs(potential.elements, CUTOFF)))


@pytest.mark.parametrize("name", MODELS)
def test_every_option_comes_back(name):
    kind, options = MODELS[name]
    model = kind(["C", "H"], 3.5, num_radial=3, num_density=5, **options)
    plan = recipe(model)
    again = build(plan)
    assert type(again) is kind
    assert recipe(again) == plan
    assert repr(again) == repr(model)
    assert again.elements == [1, 6]  # type: ignore[comparison-overlap]
    for key, value in options.items():
        stored = plan["init_args"][key]
        assert stored == (recipe(value) if isinstance(value, torch.nn.Module) else value)


@pytest.mark.parametrize("name", MODELS)
def test_a_file_gives_the_same_bits(name, dtype, make_potential, tmp_path):
    kind, options = MODELS[name]
    potential = make_potential(kind, CUTOFF, **options)
    expected = labels(potential)
    assert float(expected["forces"].abs().max()) > 1e-3
    save_potential(potential, tmp_path / "a.pt")
    torch.set_default_dtype(torch.float64 if dtype == torch.float32 else torch.float32)  # must not matter
    again = load_potential(tmp_path / "a.pt")
    assert type(again.model) is kind
    assert again.dtype == dtype
    assert again.reference_energies.dtype == again.scale.dtype == torch.float64
    assert again.reference_energies[6] == 5.0
    assert again.cutoff == CUTOFF
    assert not any(module.training for module in again.modules())
    stored = potential.state_dict()
    assert list(again.state_dict()) == list(stored)
    for key, value in again.state_dict().items():
        assert value.dtype == stored[key].dtype
        assert torch.equal(value, stored[key])
    for key, value in labels(again).items():
        assert torch.equal(value.nan_to_num(), expected[key].nan_to_num())


def test_references_keep_their_digits(make_potential, tmp_path):
    potential = make_potential()
    potential.set_references({"H": -13.587222780835477, "C": -1029.4889999855063}, scale=1 / 3)
    save_potential(potential, tmp_path / "a.pt")
    again = load_potential(str(tmp_path / "a.pt"))
    assert again.dtype == torch.float32
    assert again.reference_energies[[1, 6]].tolist() == [-13.587222780835477, -1029.4889999855063]
    assert float(again.scale) == 1 / 3


def test_saving_leaves_the_potential_alone(make_potential, tmp_path):
    potential = make_potential().train()
    state = potential_state(potential)
    for value in potential.state_dict().values():
        value.zero_()
    assert any(bool(value.any()) for value in state["state_dict"].values())  # a copy
    save_potential(potential, tmp_path / "a.pt")
    assert potential.training
    assert all(parameter.requires_grad for parameter in potential.parameters())


def test_a_training_checkpoint(make_potential, tmp_path):
    potential = make_potential()
    wrong = {f"potential.{key}": torch.zeros_like(value) for key, value in potential.state_dict().items()}
    torch.save({"epoch": 3, "state_dict": wrong, "potential": potential_state(potential)}, tmp_path / "last.ckpt")
    torch.testing.assert_close(labels(load_potential(tmp_path / "last.ckpt")), labels(potential), equal_nan=True)


def test_files_hold_plain_values_only(path):
    stored = torch.load(path, weights_only=True)
    assert set(stored) == {"format", "version", "recipe", "dtype", "state_dict"}
    assert stored["dtype"] == "float32"
    assert stored["recipe"]["class_path"] == "equireann_pyg.models.EquiREANN"


def test_modules_in_containers_and_numbers_of_numpy(tmp_path):
    model = Options([CosineCutoff(), PolynomialCutoff(5)], {"pair": (PolynomialCutoff(3), 2.5)}, 4)
    torch.save(recipe(model), tmp_path / "recipe.pt")
    again = build(torch.load(tmp_path / "recipe.pt", weights_only=True))
    first, second = again.config["parts"]  # type: ignore[index, misc]
    assert isinstance(first, CosineCutoff)
    assert second.p == 5
    third, number = again.config["table"]["pair"]  # type: ignore[index, misc]
    assert (third.p, number) == (3, 2.5)
    assert type(recipe(model)["init_args"]["size"]) is int


def local_module() -> torch.nn.Module:
    """Module of a class that ends with this function."""

    class Local(torch.nn.Module):
        config: dict[str, Any] = {}  # noqa: RUF012

    return Local()


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (torch.nn.Linear(2, 2), r"Linear has no `config`: set self.config to the dict of its constructor arguments"),
        (Options([torch.nn.Linear(2, 2)], {}, 1), "Linear has no `config`"),
        (Options([], {"path": [Path("x")]}, 1), r"Options.config\['table'\] is a \w*Path: only modules and plain"),
        (Options([], {"array": np.zeros(2)}, 1), r"Options.config\['table'\] is a ndarray"),
        (Outer.Inner(), "Outer.Inner cannot be stored: define the class at the top level of a module"),
        (local_module(), "Local cannot be stored: define the class at the top level of a module"),
    ],
)
def test_what_could_not_be_loaded_is_not_saved(module, message, tmp_path):
    module.cutoff, module.elements = 3.0, [1]
    module.register_parameter("weight", torch.nn.Parameter(torch.ones(1)))
    with pytest.raises(TypeError, match=message):
        save_potential(Potential(module), tmp_path / "a.pt")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_what_was_there(path, make_potential, tmp_path, monkeypatch):
    before = path.read_bytes()
    save = torch.save
    for failure, expected in (
        (OSError(28, "No space left on device"), "No space left on device"),
        (RuntimeError("[enforce fail at inline_container.cc:672]\n. unexpected pos"), "cannot be written .*disk full"),
    ):

        def full(state: Any, file: Path, error: Exception = failure) -> None:
            save({"half": 1}, file)
            raise error

        monkeypatch.setattr(torch, "save", full)
        for name in (path.name, "new.pt"):
            with pytest.raises(OSError, match=expected) as error:
                save_potential(make_potential(), tmp_path / name)
            assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == before
    monkeypatch.undo()
    save_potential(make_potential(num_density=6), path)
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() != before


def test_no_folder_to_save_to(make_potential, tmp_path):
    with pytest.raises(FileNotFoundError, match="absent: no such folder"):
        save_potential(make_potential(), tmp_path / "absent" / "a.pt")
    assert list(tmp_path.iterdir()) == []


def test_a_save_that_is_interrupted(path, make_potential, tmp_path, monkeypatch):
    before = path.read_bytes()

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save_potential(make_potential(), path)
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == before


class Counted(OrbitalNetwork):
    """A user's network, with an argument that a class of this package had once."""

    def __init__(self, elements: Sequence[str], num_radial: int = 4) -> None:
        super().__init__(elements, 3.0, radial=nn.PairRadial(num_radial), num_iterations=0)
        self.num_radial = num_radial


class Flagged(EquiREANN):
    """A user's network with a flag of its own."""

    def __init__(self, elements: Sequence[str], pair_radial: bool = False) -> None:
        super().__init__(elements, 3.0, num_radial=4, num_density=6 if pair_radial else 5)
        self.pair_radial = pair_radial


@pytest.mark.parametrize("model", [Counted(["H"], 5), Flagged(["H"], True)], ids=["argument", "flag"])
def test_arguments_of_other_classes_are_theirs(model: OrbitalNetwork, tmp_path: Path) -> None:
    save_potential(Potential(model), tmp_path / "p.pt")
    again = load_potential(tmp_path / "p.pt").model
    assert type(again) is type(model)
    assert again.config == model.config
    assert again.layout == model.layout
