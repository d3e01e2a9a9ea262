"""Files that are no potential, or no longer one: each is refused in one line that names it."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from equireann_pyg import load_potential, save_potential
from equireann_pyg.potential.checkpoint import FORMAT, potential_from_state


@pytest.fixture
def path(tmp_path, make_potential) -> Path:
    """File of a potential in float32."""
    save_potential(make_potential(), tmp_path / "potential.pt")
    return tmp_path / "potential.pt"


class Trap:
    """Leaves a mark when unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


@pytest.mark.parametrize("writer", ["pickle", "torch"])
def test_pickled_objects_are_refused(writer, tmp_path, monkeypatch):
    monkeypatch.delenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", raising=False)  # the command line sets it
    mark, file = tmp_path / "mark", tmp_path / "a.pt"
    if writer == "pickle":
        file.write_bytes(pickle.dumps({"format": FORMAT, "trap": Trap(mark)}))
    else:
        torch.save({"format": FORMAT, "trap": Trap(mark)}, file)
    with pytest.raises(ValueError, match="refusing to unpickle") as error:
        load_potential(file)
    assert str(error.value).startswith(f"{file}: ")
    assert "\n" not in str(error.value)
    assert not mark.exists()
    if writer == "pickle":
        pickle.loads(file.read_bytes())
    else:
        torch.load(file, weights_only=False)
    assert mark.exists()  # it was armed


def test_truncated_files(path):
    content = path.read_bytes()
    for length in (0, 1, 4, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"potential.pt: damaged or truncated \(.*\); copy it again") as error:
            load_potential(path)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("start", [b"", b"PK\x03\x04", b"\x80\x02", b"4\n\nH 0 0 0\n"])
def test_random_bytes(start, path):
    rng = np.random.default_rng(0)
    for length in (1, 5, 50, 5000):
        path.write_bytes(start + rng.bytes(length))
        with pytest.raises(ValueError, match=r"potential.pt: (damaged|no plain weights file, refusing)") as error:
            load_potential(path)
        assert "\n" not in str(error.value)


def test_a_single_wrong_bit_is_noticed(path):
    with zipfile.ZipFile(path) as archive:
        tensors = [archive.read(name) for name in archive.namelist() if "/data/" in name]
    content, largest = bytearray(path.read_bytes()), max(tensors, key=len)
    content[content.index(largest) + len(largest) // 2] ^= 1
    path.write_bytes(content)
    torch.load(path, weights_only=True)  # torch does not mind
    with pytest.raises(ValueError, match=r"damaged \(wrong checksum of \S+/data/\d+\); copy it again"):
        load_potential(path)


def test_no_file(tmp_path):
    for name in ("absent.pt", ""):
        with pytest.raises(FileNotFoundError, match="no such file"):
            load_potential(tmp_path / name)


def without(key: str):
    """Damage that removes an entry."""
    return lambda state: state.pop(key)


def with_(*keys: str, value: Any):
    """Damage that replaces an entry."""

    def change(state: dict[str, Any]) -> None:
        for key in keys[:-1]:
            state = state[key]
        state[keys[-1]] = value

    return change


RECIPE = ("recipe", "init_args")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (without("format"), "not a potential of equireann_pyg: expected a file of save_potential or equireann fit"),
        (with_("format", value="other"), "not a potential of equireann_pyg"),
        (with_("version", value=3), "version 3 of the format, expected 1 or 2: update equireann_pyg"),
        (without("version"), "version None of the format"),
        (without("recipe"), "the recipe of the model is damaged"),
        (with_("recipe", value=[]), "the recipe of the model is damaged"),
        (with_("dtype", value="float31"), "the recipe of the model is damaged"),
        (with_("dtype", value="load"), "the recipe of the model is damaged"),
        (with_("recipe", "class_path", value="os.system"), "os.system is no torch.nn.Module: refusing to call it"),
        (with_("recipe", "class_path", value="equireann_pyg.models.Gone"), "class equireann_pyg.models.Gone cannot be"),
        (with_("recipe", "class_path", value="no_such_package.Net"), "install the package that defines it"),
        (with_("recipe", "class_path", value="system"), "class system cannot be imported"),
        (with_("recipe", "class_path", value=""), "class  cannot be imported"),
        (with_("recipe", "class_path", value="torch.nn.ReLU"), "ReLU does not take the stored arguments"),
        (with_("recipe", value={"class_path": "torch.nn.ReLU", "init_args": {}}), "the recipe of the model is damaged"),
        (with_(*RECIPE, "angular", "class_path", value="os.system"), "os.system is no torch.nn.Module"),
        (with_(*RECIPE, "hidden", value=3), "EquiREANN does not take the stored arguments .*update the package"),
        (with_(*RECIPE, "elements", value=["Qq"]), "unknown element 'Qq'"),
        (
            with_(*RECIPE, "num_density", value=9),
            "the weights do not fit the model .*size mismatch for model.descriptors",
        ),
        (with_("state_dict", "model.other", value=torch.ones(1)), "do not fit .*Unexpected key.*model.other"),
        (lambda state: state["state_dict"].pop("scale"), "do not fit the model .*Missing key.*scale"),
        (without("state_dict"), "the weights do not fit the model"),
        (with_("state_dict", value=3), "the weights do not fit the model"),
    ],
)
def test_other_contents(damage, message, path, monkeypatch):
    called = []
    monkeypatch.setattr(os, "system", called.append)
    state = torch.load(path, weights_only=True)
    damage(state)
    for content in (state, {"potential": state}):
        torch.save(content, path)
        with pytest.raises(ValueError, match=message) as error:
            load_potential(path)
        assert str(error.value).startswith(f"{path}: ")
        assert "\n" not in str(error.value)
        assert len(str(error.value)) < 400
    assert called == []


@pytest.mark.parametrize("content", [{"state_dict": {"weight": torch.ones(2)}}, torch.ones(3), [1], None])
def test_weights_of_something_else(content, tmp_path):
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(ValueError, match=r"a.pt: not a potential of equireann_pyg"):
        load_potential(tmp_path / "a.pt")
    with pytest.raises(ValueError, match="not a potential"):
        potential_from_state(content)
