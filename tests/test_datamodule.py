from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from ase.build import molecule
from ase.io import write
from torch_geometric.data import Data

from equireann_pyg.data import AtomsDataModule, Batches, ShardSampler, ValidationSplit
from equireann_pyg.graph import LabelKeys
from tests.copper import frames

pytestmark = pytest.mark.usefixtures("own_cache")


def energies(data) -> list[float]:
    """Energies of graphs or batches, which tell the frames apart."""
    return torch.cat([graph.energy for graph in data]).tolist()


def first_atoms(data) -> list[float]:
    """Positions of the first atoms of graphs or batches, which tell the frames apart without labels."""
    starts = [graph.pos[graph.get("ptr", torch.zeros(1, dtype=int))[: graph.energy.numel()], 0] for graph in data]
    return torch.cat(starts).tolist()


def test_seeded_split(train):
    def split(*settings):
        module = AtomsDataModule(3.0, train, split=ValidationSplit(*settings))
        module.setup("fit")
        return energies(module.datasets["train"]), energies(module.datasets["val"])

    everything = sorted(atoms.get_potential_energy() for atoms in frames(20))
    first, second = split(0.25)
    assert (len(first), len(second)) == (15, 5)
    assert sorted(first + second) == pytest.approx(everything, rel=1e-7)
    assert len(set(first + second)) == 20
    assert split(0.25) == (first, second)
    assert split(0.25, 1) != (first, second)
    assert len(split()[1]) == 2


def test_every_stage_reads_its_files(train, val):
    module = AtomsDataModule(3.0, train, val, test=[val, f"{train}@:2"], predict=f"{val}@:3", batches=Batches(4))
    for stage in ("validate", "fit", "test", "predict"):  # validation first must not keep the training set out
        module.setup(stage)
    sizes = {name: len(data) for name, data in module.datasets.items()}
    assert sizes == {"train": 20, "val": 5, "test": 7, "predict": 3}
    loaders = [
        module.train_dataloader(),
        module.val_dataloader(),
        module.test_dataloader(),
        module.predict_dataloader(),
    ]
    for loader, count in zip(loaders, (20, 5, 7, 3), strict=True):
        batches = list(loader)
        assert sum(batch.num_graphs for batch in batches) == count
        assert max(batch.num_graphs for batch in batches) <= 4
        assert all(batch.cutoff.unique().tolist() == [3.0] for batch in batches)


def test_a_stage_reads_nothing_else(val):
    module = AtomsDataModule(3.0, train="absent.xyz", val=val)
    module.setup("validate")
    assert list(module.datasets) == ["val"]


def test_sets_are_read_once(train, val):
    module = AtomsDataModule(3.0, train, val)
    module.setup("fit")
    before = dict(module.datasets)
    module.setup("validate")
    module.setup("fit")
    assert all(module.datasets[name] is data for name, data in before.items())


def test_training_frames_are_shuffled_anew_each_epoch(train, val):
    def epochs(seed):
        module = AtomsDataModule(3.0, train, val, batches=Batches(3, seed=seed))
        module.setup("fit")
        loader = module.train_dataloader()
        for epoch in range(2):
            loader.sampler.set_epoch(epoch)  # as Lightning does
            yield energies(loader)

    first, second = epochs(0)
    in_order = [atoms.get_potential_energy() for atoms in frames(20)]
    assert sorted(first) == sorted(second) == pytest.approx(sorted(in_order), rel=1e-7)
    assert first != second
    assert first != pytest.approx(in_order, rel=1e-7)
    assert [first, second] == list(epochs(0))
    assert [first, second] != list(epochs(1))


def test_validation_frames_keep_their_order(train, val):
    module = AtomsDataModule(3.0, train, val, batches=Batches(2))
    module.setup("fit")
    in_order = [atoms.get_potential_energy() for atoms in frames(5, seed=1)]
    assert energies(module.val_dataloader()) == pytest.approx(in_order, rel=1e-7)


@pytest.mark.parametrize("count", [1, 2, 7])
def test_shards_hold_every_frame_once(count):
    shards = [ShardSampler(range(count), 3, rank) for rank in range(3)]  # type: ignore[arg-type]
    assert sorted(index for shard in shards for index in shard) == list(range(count))
    assert [len(shard) for shard in shards] == [len(list(shard)) for shard in shards]


def test_workers(train, val):
    module = AtomsDataModule(3.0, train, val, batches=Batches(5, num_workers=1))
    module.setup("fit")
    loader = module.val_dataloader()
    assert loader.persistent_workers
    assert energies(loader) == energies(loader) == energies(module.datasets["val"])


def test_prediction_needs_no_labels(tmp_path):
    write(tmp_path / "a.xyz", molecule("H2O"))
    module = AtomsDataModule(3.0, predict=str(tmp_path / "a.xyz"))
    module.setup("predict")
    (batch,) = module.predict_dataloader()
    assert bool(batch.energy.isnan())


def unlabelled(tmp_path: Path) -> str:
    """A file with energies under another name."""
    atoms = molecule("H2O")
    atoms.info["total"] = -1.0
    write(tmp_path / "unlabelled.xyz", [atoms] * 3)
    return str(tmp_path / "unlabelled.xyz")


@pytest.mark.parametrize("stage", ["fit", "validate", "test", "predict"])
def test_a_set_that_is_not_named(stage):
    name = {"fit": "train", "validate": "train"}.get(stage, stage)
    with pytest.raises(
        ValueError, match=f"data.{name} is not set: name a file, for example --data.{name}=frames.extxyz"
    ):
        AtomsDataModule(3.0).setup(stage)


def test_bad_arguments(train, tmp_path):
    with pytest.raises(ValueError, match=r"batches\.size: expected at least 1, got 0"):
        Batches(0)
    for fraction in (0.0, 0.01, 1.0, -0.5):
        with pytest.raises(ValueError, match=r"of 20 frames leaves an empty set: set data.val or more frames"):
            AtomsDataModule(3.0, train, split=ValidationSplit(fraction)).setup("fit")
    with pytest.raises(FileNotFoundError, match=r"absent.xyz: no such file"):
        AtomsDataModule(3.0, "absent.xyz").setup("fit")
    with pytest.raises(ValueError, match=r"no frame has an energy; set data.keys.energy \(.*'total'"):
        AtomsDataModule(3.0, unlabelled(tmp_path)).setup("fit")
    with pytest.raises(ValueError, match="no frame has energy under the key 'nothing'"):
        AtomsDataModule(3.0, train, keys=LabelKeys("nothing")).setup("fit")
    named = AtomsDataModule(3.0, unlabelled(tmp_path), keys=LabelKeys("total"), split=ValidationSplit(0.4))
    named.setup("fit")
    assert energies(named.datasets["train"]) == [-1.0, -1.0]
    for name in ("max_atoms", "max_edges"):
        with pytest.raises(ValueError, match=f"{name}: expected at least 1 or null, got 0"):
            Batches(**{name: 0})
    with pytest.raises(ValueError, match=r"batches\.num_workers: expected at least 0, got -1"):
        Batches(num_workers=-1)


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_bounded_batches_of_all_sets(train, val, workers):
    batches = Batches(1, max_atoms=15, max_edges=200, num_workers=workers)
    module = AtomsDataModule(3.5, train, val, test=val, predict=val, batches=batches)
    for stage in ("fit", "test", "predict"):
        module.setup(stage)
    loaders = {name: getattr(module, f"{name}_dataloader")() for name in ("train", "val", "test", "predict")}
    for name, loader in loaders.items():
        batches = list(loader)
        assert len(loader) == len(batches)
        assert max(batch.num_nodes for batch in batches) <= 15
        assert max(batch.num_edges for batch in batches) <= 200
        assert max(batch.num_graphs for batch in batches) == 3  # whatever the batch size
        found, expected = first_atoms(batches), first_atoms(module.datasets[name])
        assert (sorted(found) if name == "train" else found) == (sorted(expected) if name == "train" else expected)


def test_workers_serve_every_epoch(train, val):
    def epochs(workers: int) -> list[list[float]]:
        module = AtomsDataModule(3.5, train, val, batches=Batches(num_workers=workers, max_atoms=12))
        module.setup("fit")
        loader = module.train_dataloader()
        found = []
        for epoch in range(3):
            loader.batch_sampler.sampler.set_epoch(epoch)  # as Lightning does
            found.append(energies(loader))
        return found

    assert epochs(2) == epochs(0)
    assert epochs(0)[0] != epochs(0)[1]


def test_a_frame_that_is_too_large_is_named_at_once(train, val):
    module = AtomsDataModule(3.5, train, val, batches=Batches(max_atoms=4))
    with pytest.raises(ValueError, match=r"train set, frame 0: 5 atoms, more than max_atoms 4 \(10 such"):
        module.setup("fit")
    with pytest.raises(ValueError, match=r"val set, frame 1: \d+ edges, more than max_edges 30 \(2 such"):
        AtomsDataModule(3.5, train, val, batches=Batches(max_edges=30)).setup("validate")


def test_largest_batch(train, val, caplog):
    def largest(**bounds: int) -> tuple[tuple[int, int], list[tuple[int, int]]]:
        module = AtomsDataModule(3.5, train, val, batches=Batches(**bounds))
        with caplog.at_level(logging.INFO, logger="equireann_pyg"):
            module.setup("fit")
        atoms, edges = limit = module.largest_batch("train")
        assert caplog.messages[-1] == f"a training batch has at most {atoms} atoms and {edges} edges"
        return limit, [(batch.num_nodes, batch.num_edges) for batch in module.train_dataloader()]

    for bounds, atoms in (({"size": 3}, 15), ({"max_atoms": 13}, 13), ({"max_edges": 150}, 40)):
        limit, batches = largest(**bounds)
        assert limit[0] == pytest.approx(atoms, rel=0.3 if "max_edges" in bounds else 0)
        assert all(batch[0] <= limit[0] and batch[1] <= limit[1] for batch in batches)
        assert max(edges for _, edges in batches) > 0.3 * limit[1]
    assert limit[1] == 150


@pytest.mark.parametrize(("device", "waits"), [("cuda", False), ("cpu", True), ("mps", True)])
def test_transfer_to_a_gpu_does_not_wait(device, waits):
    class Recorder(Data):
        def to(self, device: torch.device, non_blocking: bool) -> tuple[torch.device, bool]:  # type: ignore[override]
            return device, non_blocking

    moved = AtomsDataModule(3.0).transfer_batch_to_device(Recorder(), torch.device(device), 0)  # type: ignore[arg-type]
    assert moved == (torch.device(device), not waits)
