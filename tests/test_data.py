from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from torch.utils.data import Subset
from torch_geometric.data import Data
from torch_geometric.loader import DataLoader

from equireann_pyg.data import AtomsDataset, check_elements, dataset, read_frames
from equireann_pyg.graph import LabelKeys, from_ase
from tests.copper import frames, write_frames

NAN = float("nan")


@pytest.fixture
def path(tmp_path) -> Path:
    return write_frames(tmp_path / "copper.xyz", count=8)


@pytest.fixture
def load(tmp_path):
    """Loads a data set with its cache in a temporary folder."""

    def loader(files, cutoff=3.5, keys=None) -> AtomsDataset:
        return AtomsDataset(files, cutoff, keys, tmp_path / "cache")

    return loader


@pytest.fixture
def count_builds(monkeypatch) -> list[str]:
    """Names of the files whose graphs have been built."""
    built = []
    build = AtomsDataset._build
    monkeypatch.setattr(
        AtomsDataset, "_build", lambda self, file, *args: built.append(file) or build(self, file, *args)
    )
    return built


def assert_equal_graphs(one: list[Data], other: list[Data]) -> None:
    """Every field of every graph agrees to the bit; missing labels are missing in both."""
    assert len(one) == len(other) > 0
    for first, second in zip(one, other, strict=True):
        assert first.to_dict().keys() == second.to_dict().keys()
        assert first.num_nodes == second.num_nodes
        for key, value in first.to_dict().items():
            if isinstance(value, torch.Tensor):
                assert value.dtype == second[key].dtype, key
                torch.testing.assert_close(second[key], value, rtol=0, atol=0, equal_nan=True)
            else:
                assert second[key] == value, key


def test_graphs_of_a_file(path, load):
    data = load(path)
    assert len(data) == 8
    assert data.elements == [29]
    assert data.cutoff == 3.5
    assert all(graph.num_edges > 10 for graph in data)
    assert [graph.config_type for graph in data][:2] == ["cluster", "bulk"]
    for graph, atoms in zip(data, frames(8), strict=True):
        torch.testing.assert_close(graph.pos, torch.tensor(atoms.positions), rtol=1e-7, atol=1e-7)
        assert float(graph.energy) == pytest.approx(atoms.get_potential_energy(), rel=1e-8)
        assert bool(graph.stress.isfinite().all()) == bool(atoms.pbc.all())


def test_indexing(path, load):
    data = load(path)
    assert data[-1].config_type == "bulk"
    assert [graph.config_type for graph in data[:3]] == ["cluster", "bulk", "cluster"]
    assert Subset(data, [5, 2])[0] is data[5]
    with pytest.raises(IndexError):
        data[8]


@pytest.mark.parametrize("workers", [0, 1])
def test_batches_of_mixed_labels(path, load, workers):
    (batch,) = DataLoader(load(path), batch_size=8, num_workers=workers)
    assert batch.num_graphs == 8
    assert batch.stress.isnan().all(-1).all(-1).tolist() == [True, False] * 4
    assert bool(batch.forces.isfinite().all())
    assert batch.config_type == ["cluster", "bulk"] * 4
    assert batch.cell.shape == (8, 3, 3)


def test_several_files_and_selections(path, load, tmp_path):
    other = tmp_path / "water.xyz"
    write(other, molecule("H2O"))
    data = load([f"{path}@2:5", other])
    assert len(data) == 4
    assert data.elements == [1, 8, 29]
    assert_equal_graphs(data[:3], load(path)[2:5])
    assert bool(data[3].energy.isnan())


def test_cache_is_used(path, load, count_builds, tmp_path):
    first = load(path)
    assert count_builds == [str(path)]
    second = load(path)
    assert count_builds == [str(path)]
    assert_equal_graphs(first.graphs, second.graphs)
    assert second.elements == first.elements
    (file,) = (tmp_path / "cache").iterdir()  # no partial file is left
    assert file.name.startswith("copper.xyz-")
    torch.load(file, weights_only=True)


def test_a_moved_file_is_known_again(path, load, count_builds, tmp_path):
    load(path)
    (tmp_path / "elsewhere").mkdir()
    load(path.rename(tmp_path / "elsewhere" / path.name))
    assert len(count_builds) == 1


def test_cache_knows_content_cutoff_keys_and_selection(path, load, count_builds):
    load(path)
    wide = load(path, cutoff=4.5)
    assert wide[1].num_edges > load(path)[1].num_edges
    assert len(count_builds) == 2
    write_frames(path, count=8, seed=1)
    changed = load(path)
    assert len(count_builds) == 3
    assert float(changed[0].energy) == pytest.approx(frames(8, seed=1)[0].get_potential_energy(), rel=1e-8)
    load(f"{path}@:4")
    assert len(count_builds) == 4
    with pytest.raises(ValueError, match="no frame has energy under the key 'other'"):
        load(path, keys=LabelKeys(energy="other"))


@pytest.mark.parametrize(
    "damage",
    [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"garbage", lambda b: b[:300] + bytes(300) + b[600:]],
)
def test_a_damaged_cache_is_rebuilt(damage, path, load, count_builds, tmp_path):
    first = load(path)
    (file,) = (tmp_path / "cache").iterdir()
    file.write_bytes(damage(file.read_bytes()))
    assert_equal_graphs(load(path).graphs, first.graphs)
    assert len(count_builds) == 2
    load(path)
    assert len(count_builds) == 2


def test_a_wrong_bit_in_the_cache_is_noticed(path, load, count_builds, tmp_path):
    first = load(path)
    (file,) = (tmp_path / "cache").iterdir()
    content, positions = bytearray(file.read_bytes()), torch.cat([data.pos for data in first.graphs]).numpy().tobytes()
    content[content.index(positions) + 6] ^= 8
    file.write_bytes(content)
    assert_equal_graphs(load(path).graphs, first.graphs)
    assert len(count_builds) == 2


def test_a_cache_of_something_else_is_rebuilt(path, load, count_builds, tmp_path):
    first = load(path)
    (file,) = (tmp_path / "cache").iterdir()
    for content in ({"graphs": 1}, [1, 2], Path("x")):  # the last one is a pickle that torch refuses
        torch.save(content, file)
        assert_equal_graphs(load(path).graphs, first.graphs)
    assert len(count_builds) == 4


def test_a_failed_build_leaves_no_cache(load, tmp_path):
    atoms = molecule("H2O")
    atoms.info["energy"] = NAN
    write(tmp_path / "a.xyz", atoms)
    with pytest.raises(ValueError, match="is not finite"):
        load(tmp_path / "a.xyz")
    assert not (tmp_path / "cache").exists()


def test_no_place_for_a_cache(path, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    with pytest.warns(
        UserWarning, match="built anew in every run: cannot write .*file .*set cache_dir or XDG_CACHE_HOME"
    ):
        assert len(AtomsDataset(path, 3.5, cache_dir=tmp_path / "file")) == 8

    def full(_, path):
        path.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.warns(UserWarning, match="No space left on device"):
        assert len(AtomsDataset(path, 3.5, cache_dir=tmp_path / "cache")) == 8
    assert list((tmp_path / "cache").iterdir()) == []


def test_default_cache_is_the_users(path, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    AtomsDataset(path, 3.5)
    assert len(list((tmp_path / "home" / "equireann_pyg").iterdir())) == 1


def test_parallel_build_equals_the_serial_one(path, tmp_path, monkeypatch):
    serial = AtomsDataset(path, 3.5, cache_dir=tmp_path / "1")
    monkeypatch.setattr(dataset, "MANY", 2)
    parallel = AtomsDataset(path, 3.5, cache_dir=tmp_path / "2")
    assert_equal_graphs(parallel.graphs, serial.graphs)
    assert_equal_graphs(serial.graphs[:2], [from_ase(atoms, 3.5) for atoms in read_frames(path)[:2]])


def water(**labels) -> Atoms:
    atoms = molecule("H2O")
    for name, value in labels.items():
        (atoms.arrays if np.shape(value) == (3, 3) else atoms.info)[name] = value
    return atoms


@pytest.mark.parametrize("many", [2, 300])
def test_errors_name_file_frame_and_key(many, load, tmp_path, monkeypatch):
    monkeypatch.setattr(dataset, "MANY", many)
    path = tmp_path / "a.xyz"
    write(path, [water(REF_energy=1.0), water(REF_energy=2.0), water(REF_energy=NAN), water(REF_energy=3.0)])
    with pytest.raises(ValueError, match="label 'REF_energy' is not finite") as error:
        load(path, keys=LabelKeys(energy="REF_energy"))
    assert str(error.value).startswith(f"{path}, frame 2, line 11: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("atoms", "message"),
    [
        (Atoms("H", cell=[0, 0, 0], pbc=True), "no volume"),
        (Atoms("H2", [[0, 0, 0], [0, 0, 0]]), "atoms 0 and 1 coincide"),
        (Atoms("H", [[0, 0, NAN]]), "positions of atom 0 are not finite"),
    ],
)
def test_bad_frames(atoms, message, load, tmp_path):
    path = tmp_path / "a.traj"
    write(path, [molecule("H2O"), atoms])
    with pytest.raises(ValueError, match=message) as error:
        load(path)
    assert str(error.value).startswith(f"{path}, frame 1: ")


def test_other_keys(load, tmp_path):
    path = tmp_path / "a.xyz"
    forces = np.arange(9.0).reshape(3, 3)
    write(path, [water(REF_energy=1.5, REF_forces=forces), water(REF_energy=2.5), water()])
    data = load(path, keys=LabelKeys("REF_energy", "REF_forces"))
    assert [float(graph.energy) for graph in data[:2]] == [1.5, 2.5]
    assert data[0].forces.tolist() == forces.tolist()
    assert bool(data[1].forces.isnan().all())  # mixed sets are fine
    assert bool(data[2].energy.isnan())


def test_a_key_that_no_frame_has(load, tmp_path):
    path = tmp_path / "a.xyz"
    atoms = water(REF_energy=1.5, REF_forces=np.ones((3, 3)))
    atoms.calc = SinglePointCalculator(atoms, energy=3.0)
    write(path, atoms)
    with pytest.raises(ValueError, match="no frame has forces under the key 'dft_forces'") as error:
        load(path, keys=LabelKeys("REF_energy", "dft_forces"))
    message = str(error.value)
    assert message.startswith(f"{path}: ")
    assert "info: ['REF_energy']" in message
    assert "'REF_forces'" in message
    assert "calculator: ['energy']" in message


def test_labels_under_other_names_are_not_lost_silently(load, count_builds, tmp_path):
    path = tmp_path / "a.xyz"
    atoms = water(mp2_forces=np.ones((3, 3)))
    atoms.calc = SinglePointCalculator(atoms, energy=3.0)
    write(path, atoms)
    for _ in range(2):  # built, and from the cache
        with pytest.warns(UserWarning, match=r"no frame has 'forces', but there is 'mp2_forces'.*--data.keys.forces"):
            data = load(path)
        assert bool(data[0].forces.isnan().all())
    assert len(count_builds) == 1


def test_nothing_to_read(load, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent.xyz: no such file"):
        load(tmp_path / "absent.xyz")
    with pytest.raises(ValueError, match="files is empty"):
        load([])


def test_unknown_elements_are_refused(path, load):
    data = load(path)
    check_elements(data, [1, 29], "training")
    with pytest.raises(ValueError, match="test set, frame 0: unknown element Cu: this model was made for H, C"):
        check_elements(data, [1, 6], "test")
