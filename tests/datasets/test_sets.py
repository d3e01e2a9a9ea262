from __future__ import annotations

import io
import json
import re
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from equireann_pyg import datasets
from equireann_pyg.datasets import RMD17, Acetylacetone, BenchmarkDataset, GNLCumulene, MLearn, NbMoTaW

SHARED = Path(__file__).parents[2] / ".." / "shared" / "data"
CLASSES = [
    getattr(datasets, name)
    for name in datasets.__all__
    if name not in ("SPLITS", "cumulene", "BenchmarkDataset", "RMD17", "MLearn")
]
LOCAL = {
    "ThreeBPA": "3bpa",
    "Acetylacetone": "acac",
    "GNLCumulene": "gnl_cumulene",
    "CumuleneTorsion": "c9h4_torsion_efa",
    "ChargeChargeDimers": "dimers_charge_charge",
    "LodeDimers": "dimers_lode_les",
    "CarbonChains4G": "carbon_chains_4g_mini",
    "Au2MgO4G": "au2_mgo_4g_mini",
    "CO2Ni100": "co2_ni100_reann",
    "AqueousNaCl": "nacl_aq_revpbe0d3",
    "NbMoTaW": "nbmotaw_hea",
    "LiPS20": "lips20",
    "LiPS": "lips_nequip_subset",
    "Li6PS5Cl": "li6ps5cl_sevennet",
    "Water": "water_revpbe0d3_mini",
    "Alkanes": "alkanes_b3lyp",
    "SPICEDipoles": "spice_test_dipoles",
    "SPICEDipeptides": "spice_dipeptides_polar",
    "NMAField": "nma_field_fireann",
}
PARTS = [(name, split) for name in LOCAL for split in getattr(datasets, name).splits]


def folder(name: str) -> Path:
    """Folder of local files of a set; skips where there is none."""
    if not (SHARED / name).is_dir():
        pytest.skip(f"{name} is not here")
    return SHARED / name


@pytest.mark.parametrize("dataset", [*CLASSES, RMD17, MLearn], ids=lambda dataset: dataset.__name__)
def test_description(dataset):
    assert issubclass(dataset, BenchmarkDataset)
    assert dataset.splits
    assert dataset.citation
    assert dataset.licence
    assert dataset.units.startswith("energy eV, forces eV/Angstrom")
    assert re.fullmatch(r"|10\.\d{4,}/\S+|arXiv:\d{4}\.\d{5}", dataset.doi)
    description = " ".join(dataset.__doc__.split())
    for words in ("Source: ", "Level of theory: ", "Splits", *(f"``{split}``" for split in dataset.splits)):
        assert words in description


@pytest.mark.parametrize("dataset", CLASSES, ids=lambda dataset: dataset.__name__)
def test_public_addresses(dataset):
    for split in dataset.splits.values():
        assert split.names
        files = [remote.filename for remote in split.sources]
        assert len(set(files)) == len(files)
        assert split.convert is not None or len(files) <= 1
        for remote in split.sources:
            assert re.match(r"https://raw\.githubusercontent\.com/[\w-]+/[\w.-]+/[0-9a-f]{40}/\S+$", remote.url)
            if split.convert is None:  # found again under an accepted name
                assert remote.filename.removesuffix(".xyz") in split.names


@pytest.mark.parametrize(("name", "split"), PARTS)
def test_local_files(name, split, tmp_path):
    dataset = getattr(datasets, name)
    root = folder(LOCAL[name])
    files = [path for file in dataset.splits[split].names for path in root.glob(f"{file}.xyz.xz")]
    if not files:
        pytest.skip(f"no local file of {name}, {split}")
    data = dataset(root, split, 3.0, frames=":3", cache_dir=tmp_path)
    assert data.path in files
    assert len(data) == 3
    stressed = "stress" in dataset.units
    for graph in data:
        assert bool(graph.energy.isfinite())
        assert bool(graph.stress.isfinite().all()) == stressed
        assert bool(graph.forces.isnan().all() if data.source.energy_only else graph.forces.isfinite().all())
    if not data.source.energy_only:
        assert max(float(graph.forces.abs().max()) for graph in data) > 1e-2


def test_energy_only_splits(tmp_path):
    root = folder("acac")
    for split, frames in (("test_H_transfer", 15), ("test_dihedral", 45)):
        data = Acetylacetone(root, split, 3.0, cache_dir=tmp_path)
        assert len(data) == frames
        assert all(bool(graph.forces.isnan().all()) and graph.num_nodes == 15 for graph in data)
        energies = torch.cat([graph.energy for graph in data])
        assert bool(energies.isfinite().all())
        assert float(energies.std()) > 1e-3


def test_cumulenes_by_kind(tmp_path):
    root = folder("gnl_cumulene")
    kinds = {"in-domain": 50, "out-domain-nc-11,12": 60, "out-domain-nc-15,16": 60}
    for kind, frames in kinds.items():
        data = GNLCumulene(root, "test", 2.0, config_types=[kind], cache_dir=tmp_path)
        assert len(data) == frames
        assert {graph.config_type for graph in data} == {kind}
    assert len(GNLCumulene(root, "test", 2.0, cache_dir=tmp_path)) == 170


@pytest.mark.parametrize("split", ["train", "test"])
def test_rmd17_fold(split, tmp_path):
    root = folder("rmd17")
    data = RMD17(root, split, 1.6, molecule="ethanol", cache_dir=tmp_path)
    assert len(data) == 1000
    assert all(graph.num_nodes == 9 for graph in data)
    part = RMD17(root, split, 1.6, molecule="ethanol", frames="950:", cache_dir=tmp_path)
    assert [graph.energy.item() for graph in part] == [graph.energy.item() for graph in data[950:]]


@pytest.mark.parametrize("molecule", RMD17.molecules)
def test_rmd17_molecules(molecule, tmp_path):
    data = RMD17(folder("rmd17"), "train", 3.0, molecule=molecule, frames=":2", cache_dir=tmp_path)
    assert len(data) == 2
    assert 0.1 < float(data[0].forces.abs().max()) < 20


@pytest.mark.parametrize("element", ["Si", "Ge", "Mo", "Li"])
def test_mlearn_elements(element, tmp_path):
    data = MLearn(folder("mlearn"), "test", 3.0, element=element, frames=":2", cache_dir=tmp_path)
    assert len(data.elements) == 1
    assert all(bool(graph.stress.isfinite().all()) for graph in data)


def archive(molecule: str = "ethanol", count: int = 4) -> bytes:
    """rMD17's archive with a few made-up frames of two atoms."""
    arrays, file = io.BytesIO(), io.BytesIO()
    pos = np.arange(count * 6.0).reshape(count, 2, 3)
    np.savez(
        arrays,
        coords=pos,
        nuclear_charges=[6, 1],
        energies=-100.0 - np.arange(count),
        forces=np.full((count, 2, 3), 3.0),
    )
    members = {f"npz_data/rmd17_{molecule}.npz": arrays.getvalue(), "splits/index_test_02.csv": b"3\n1\n"}
    with tarfile.open(fileobj=file, mode="w:bz2") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(f"rmd17/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return file.getvalue()


def test_rmd17_archive(tmp_path, web, monkeypatch):
    monkeypatch.setattr(RMD17, "archive", replace(RMD17.archive, sha256=""))
    web.files["23950376"] = archive()
    options = {"molecule": "ethanol", "fold": 2, "cache_dir": tmp_path / "cache"}
    data = RMD17(tmp_path, "test", 20.0, **options)
    assert data.path == tmp_path / "raw" / "ethanol" / "test_02.xyz"
    kcal = 0.0433641153
    assert [graph.energy.item() for graph in data] == pytest.approx([-103 * kcal, -101 * kcal], rel=1e-6)
    assert data[0].forces.flatten().tolist() == pytest.approx(6 * [3 * kcal], rel=1e-6)
    assert data[1].pos[0].tolist() == [6.0, 7.0, 8.0]
    (tmp_path / "raw" / "rmd17.tar.bz2").unlink()
    data.path.unlink()
    assert len(RMD17(tmp_path, "test", 20.0, **options)) == 2  # from what was unpacked
    assert len(web.asked) == 1


def test_rmd17_damaged_archive(tmp_path, web):
    web.files["23950376"] = archive()
    with pytest.raises(ValueError, match="expected a file of SHA-256 cddeea2ec2c4"):
        RMD17(tmp_path, "train", 3.0, molecule="ethanol")
    assert list((tmp_path / "raw").iterdir()) == []
    (tmp_path / "raw" / "rmd17.tar.bz2").write_bytes(archive("toluene"))
    with pytest.raises(ValueError, match=r"rmd17.tar.bz2 has no rmd17/npz_data/rmd17_ethanol.npz"):
        RMD17(tmp_path, "test", 3.0, molecule="ethanol", fold=2)


def test_wrong_choices(tmp_path):
    with pytest.raises(ValueError, match="no molecule 'water'; expected one of aspirin"):
        RMD17(tmp_path, "train", 3.0, molecule="water")
    with pytest.raises(ValueError, match="folds 1 to 5, not 6"):
        RMD17(tmp_path, "train", 3.0, molecule="ethanol", fold=6)
    with pytest.raises(ValueError, match="no element 'Au'; expected one of Si"):
        MLearn(tmp_path, "train", 3.0, element="Au")


def alloy(element: str, group: str, label: str) -> bytes:
    sites = [{"species": [{"element": element}], "xyz": [x, x, x]} for x in (0.0, 1.6)]
    outputs = {"energy": -2.0, "forces": 2 * [[0.0, 0.0, 0.1]], label: [10.0, 20.0, 30.0, 1.0, 2.0, 3.0]}
    structure = {"lattice": {"matrix": np.diag(3 * [3.2]).tolist()}, "sites": sites}
    return json.dumps([{"structure": structure, "outputs": outputs, "group": group}]).encode()


@pytest.mark.parametrize(
    ("element", "group", "xy_yz_xz"),
    [("Li", "AIMD", (1, 2, 3)), ("Si", "Elastic", (1, 2, 3)), ("Si", "AIMD", (1, 3, 2)), ("Mo", "Elastic", (1, 3, 2))],
)
def test_mlearn_order_of_stress(element, group, xy_yz_xz, tmp_path, web):
    web.files[f"data/{element}/training.json"] = alloy(element, group, "virial_stress")
    data = MLearn(tmp_path, "train", 3.0, element=element, cache_dir=tmp_path / "cache")
    xx, xy, xz, _, yy, yz, *_, zz = (data[0].stress.flatten() / -6.2415091e-4).tolist()
    assert (xx, yy, zz) == pytest.approx((10, 20, 30), rel=1e-6)
    assert (xy, yz, xz) == pytest.approx(xy_yz_xz, rel=1e-6)


def test_mlearn_without_stress(tmp_path, web):
    web.files["data/Cu/test.json"] = alloy("Cu", "AIMD", "virial_stress")
    data = MLearn(tmp_path, "test", 3.0, element="Cu", cache_dir=tmp_path / "cache")
    assert bool(data[0].stress.isnan().all())
    assert data[0].forces[0, 2].item() == pytest.approx(0.1)


def test_alloy_tests_are_joined(tmp_path, web):
    for number, element in enumerate(("Mo", "Nb", "Ta", "W")):
        web.files[f"{element}_Test.json"] = alloy(element, f"group {number}", "stress")
    data = NbMoTaW(tmp_path, "test_pure", 3.0, cache_dir=tmp_path / "cache")
    assert [graph.z[0].item() for graph in data] == [42, 41, 73, 74]
    assert data[0].stress[0, 0, 0].item() == pytest.approx(-6.2415091e-3, rel=1e-6)
    assert re.findall(r"group=(\w+)", data.path.read_text()) == ["Mo_Test", "Nb_Test", "Ta_Test", "W_Test"]


def test_cumulene_scan_names(tmp_path, web):
    web.files["visualise/cumulene-angle-scan-n12.xyz"] = (
        b'2\nProperties=species:S:1:pos:R:3:orca_vtscf_forces:R:3 phi=4.0 orca_vtscf_energy=-38.25 pbc="F F F"\n'
        b"C 0 0 0 0 0 0.5\nH 0 0 1.1 0 0 -0.5\n"
    )
    data = GNLCumulene(tmp_path, "scan_angle", 3.0, cache_dir=tmp_path / "cache")
    assert data[0].energy.item() == -38.25
    assert data[0].forces[1].tolist() == [0.0, 0.0, -0.5]
    assert data[0].config_type == "angle-scan-n12"
