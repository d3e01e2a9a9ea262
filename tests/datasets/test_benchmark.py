from __future__ import annotations

import gzip
import hashlib
import lzma
import pickle
from typing import ClassVar

import pytest
import torch

from equireann_pyg.datasets.benchmark import BenchmarkDataset, Split
from equireann_pyg.datasets.convert import concatenated
from equireann_pyg.datasets.download import Remote, fetch, github

URL = "https://example.org/files/water-v1.xyz"


def water(energy: float, config_type: str = "liquid") -> str:
    """One molecule, with the energy that tells where it came from."""
    return (
        f'3\nProperties=species:S:1:pos:R:3:forces:R:3 energy={energy} config_type={config_type} pbc="F F F"\n'
        "O 0.0 0.0 0.0 0.0 0.0 1.0\nH 0.76 0.59 0.0 0.5 0.0 -0.5\nH -0.76 0.59 0.0 -0.5 0.0 -0.5\n"
    )


class Water(BenchmarkDataset):
    splits: ClassVar = {
        "train": Split(("train", "water-v1"), (Remote(URL),)),
        "scan": Split(("scan",), (Remote("https://example.org/part1.xyz"), Remote(URL)), concatenated),
        "energies": Split(("energies",), energy_only=True),
    }


def dataset(root, split="train", **options) -> Water:
    return Water(root, split, 2.0, cache_dir=root / "cache", **options)


def test_lookup_order(tmp_path, web):
    folders = tmp_path, tmp_path / "raw"
    folders[1].mkdir()
    writers = {".xyz": open, ".xyz.xz": lzma.open, ".xyz.gz": gzip.open}
    places = [(f, n, e) for f in folders for n in ("train", "water-v1") for e in writers]
    for number, (folder, name, ending) in enumerate(places):
        with writers[ending](folder / f"{name}{ending}", "wt") as file:
            file.write(water(-float(number + 1)))
    for number, (folder, name, ending) in enumerate(places):
        data = dataset(tmp_path)
        assert data.path == folder / f"{name}{ending}"
        assert data[0].energy.item() == -(number + 1)
        data.path.unlink()
    with pytest.raises(FileNotFoundError):
        dataset(tmp_path)
    assert web.asked == [URL]


def test_download(tmp_path, web):
    web.files["water-v1.xyz"] = water(-5.0).encode()
    data = dataset(tmp_path)
    assert data.path == tmp_path / "raw" / "water-v1.xyz"
    assert data[0].energy.item() == -5.0
    assert data.elements == [1, 8]
    again = dataset(tmp_path)
    assert web.asked == [URL]
    torch.testing.assert_close(again[0].pos, data[0].pos, rtol=0, atol=0)
    assert pickle.loads(pickle.dumps(data))[0].energy.item() == -5.0


def test_download_and_convert(tmp_path, web):
    web.files |= {"part1.xyz": water(-1.0).encode(), "water-v1.xyz": water(-2.0).encode()}
    data = dataset(tmp_path, "scan")
    assert data.path == tmp_path / "raw" / "scan.xyz"
    assert [graph.energy.item() for graph in data] == [-1.0, -2.0]
    assert data[0].forces.abs().max().item() == pytest.approx(1.0)
    assert len(web.asked) == 2
    dataset(tmp_path, "scan")
    assert len(web.asked) == 2


def test_public_file_put_there_by_hand(tmp_path, web):
    with lzma.open(tmp_path / "part1.xyz.xz", "wt") as file:
        file.write(water(-1.0))
    web.files["water-v1.xyz"] = water(-2.0).encode()
    assert [graph.energy.item() for graph in dataset(tmp_path, "scan")] == [-1.0, -2.0]
    assert web.asked == [URL]


def test_offline(tmp_path):
    target = tmp_path / "raw" / "water-v1.xyz"
    with pytest.raises(FileNotFoundError) as caught:
        dataset(tmp_path)
    for part in ("Water, split 'train'", URL, "no route to host", f"by hand and put it at {target}"):
        assert part in str(caught.value)
    assert list((tmp_path / "raw").iterdir()) == []


def test_no_public_address(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no energies.xyz .* no public address .* put it there by hand"):
        dataset(tmp_path, "energies")


@pytest.mark.parametrize(
    ("remote", "message"),
    [
        (Remote(URL, size=7), "expected 7 bytes, got 4"),
        (Remote(URL, sha256="0" * 12), "expected a file of SHA-256 000000000000, got"),
    ],
)
def test_damaged_file(tmp_path, web, remote, message):
    web.files["water-v1.xyz"] = b"good"
    with pytest.raises(ValueError, match=message):
        fetch(remote, tmp_path / "raw" / "file")
    assert list((tmp_path / "raw").iterdir()) == []
    good = Remote(URL, size=4, sha256=hashlib.sha256(b"good").hexdigest()[:12])
    assert fetch(good, tmp_path / "raw" / "file").read_bytes() == b"good"


def test_broken_connection(tmp_path, web):
    web.files["water-v1.xyz"], web.announced = b"half", 8
    with pytest.raises(FileNotFoundError, match="the connection broke after 4 of 8 bytes"):
        fetch(Remote(URL), tmp_path / "file")
    assert list(tmp_path.iterdir()) == []


def test_failed_conversion_leaves_nothing(tmp_path, web):
    web.files |= {"part1.xyz": water(-1.0).encode(), "water-v1.xyz": water(-1.0).replace("energy", "e").encode()}
    with pytest.raises(ValueError, match=r"water-v1.xyz: expected 'energy' and 'forces' in every frame"):
        dataset(tmp_path, "scan")
    assert sorted(path.name for path in (tmp_path / "raw").iterdir()) == ["part1.xyz", "water-v1.xyz"]


def test_root_that_is_a_file(tmp_path):
    root = tmp_path / "root"
    root.touch()
    with pytest.raises(FileNotFoundError, match="could not be fetched"):
        Water(root, "train", 2.0)


def test_forces_of_energy_only_splits_are_unknown(tmp_path):
    (tmp_path / "energies.xyz").write_text(water(-3.0))
    for _ in range(2):  # the second time from the cache
        data = dataset(tmp_path, "energies")
        assert data[0].energy.item() == -3.0
        assert data[0].forces.shape == (3, 3)
        assert bool(data[0].forces.isnan().all())


def test_selection(tmp_path):
    (tmp_path / "train.xyz").write_text(water(-1.0) + water(-2.0, "ice") + water(-3.0))
    assert [graph.energy.item() for graph in dataset(tmp_path, frames="1:")] == [-2.0, -3.0]
    assert [graph.energy.item() for graph in dataset(tmp_path, config_types=["liquid"])] == [-1.0, -3.0]
    with pytest.raises(ValueError, match=r"no frames of config_type \['gas'\]; it has \['ice', 'liquid'\]"):
        dataset(tmp_path, config_types=["ice", "gas"])
    with pytest.raises(ValueError, match="Water has no split 'dev'; expected one of train, scan, energies"):
        dataset(tmp_path, "dev")


def test_names_of_public_files():
    remote = github("a/b", "c" * 40, "data/co2+Ni100/val/configuration")
    assert remote.url == f"https://raw.githubusercontent.com/a/b/{'c' * 40}/data/co2%2BNi100/val/configuration"
    assert remote.filename == "configuration"
    assert Remote("https://example.org/a%2Bb.xyz?version=1").filename == "a+b.xyz"
