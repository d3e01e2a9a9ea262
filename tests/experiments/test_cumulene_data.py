"""The cumulene set of the package, and the geometry behind it."""

from __future__ import annotations

from collections import Counter

import ase.io
import numpy as np
import pytest
from ase import Atoms, units

from equireann_pyg.datasets import SPLITS, cumulene
from experiments.cumulene.chain import NormalModes, random_rotation, sees_both_ends, start_geometry, twist
from experiments.cumulene.collect import write_gz

CHAINS = range(4, 10)
SHARES = {"train": 0.75, "val": 0.10, "test": 0.15}


@pytest.fixture(scope="module")
def parts() -> dict[str, list[Atoms]]:
    return {split: ase.io.read(cumulene(split), ":") for split in SPLITS}


@pytest.fixture(scope="module")
def scans(parts: dict[str, list[Atoms]]) -> dict[int, list[Atoms]]:
    return {n: [atoms for atoms in parts["scan"] if atoms.info["n_carbons"] == n] for n in CHAINS}


def test_every_part_has_its_share_of_every_chain(parts):
    counts = {split: Counter(atoms.info["config_type"] for atoms in parts[split]) for split in SHARES}
    for n in CHAINS:
        total = sum(count[f"C{n}H4"] for count in counts.values())
        assert total >= 70
        for split, share in SHARES.items():
            assert abs(counts[split][f"C{n}H4"] - share * total) <= 1
    assert sum(count.total() for count in counts.values()) >= 800
    assert Counter(atoms.info["n_carbons"] for atoms in parts["scan"]) == dict.fromkeys(CHAINS, 13)


def test_no_frame_is_in_two_parts(parts):
    thermal = [atoms for split in SHARES for atoms in parts[split]]
    assert len({tuple(np.sort(atoms.get_all_distances(), axis=None).round(4)) for atoms in thermal}) == len(thermal)
    assert sum(cumulene(split).stat().st_size for split in SPLITS) < 1e6


def test_no_atom_sees_the_hydrogen_of_both_ends(parts):
    for atoms in (atoms for part in parts.values() for atoms in part):
        assert not sees_both_ends(atoms.positions, atoms.info["n_carbons"], cutoff=3.0)
    assert sees_both_ends(parts["scan"][0].positions, 4, cutoff=3.5)


def test_torsions_are_spread_evenly(parts):
    thermal = [atoms for split in SHARES for atoms in parts[split]]
    deviations = [atoms.info["torsion"] - (90 if atoms.info["n_carbons"] % 2 else 0) for atoms in thermal]
    counts, _ = np.histogram(deviations, bins=6, range=(-60, 60))
    assert counts.min() > 0.85 * counts.mean()
    assert counts.sum() == len(thermal)


def test_nothing_is_pushed_as_a_whole(parts):
    for atoms in (atoms for split in SHARES for atoms in parts[split]):
        forces = atoms.get_forces()
        assert abs(forces).max() > 0.1
        assert abs(forces.sum(0)).max() < 2e-4


def test_scans_are_smooth_and_forces_are_their_slope(scans):
    for n, frames in scans.items():
        energy = np.array([atoms.get_potential_energy() for atoms in frames])
        angle = np.radians([atoms.info["torsion"] for atoms in frames])
        assert np.ptp(energy) > 0.2
        assert energy.argmin() == 0
        assert abs(np.diff(energy, n=4)).max() < 0.01 * np.ptp(energy)
        projected = []
        for atoms in frames[2:-2]:
            near, far = atoms.positions[[0, n - 1]]
            axis = (far - near) / np.linalg.norm(far - near)
            projected.append(-(atoms.get_forces()[-2:] * np.cross(axis, atoms.positions[-2:] - near)).sum())
        slope = (energy[:-4] - 8 * energy[1:-3] + 8 * energy[3:-1] - energy[4:]) / (12 * (angle[1] - angle[0]))
        np.testing.assert_allclose(slope, projected, atol=0.01 * np.ptp(projected))


def test_twist_turns_the_far_end_alone():
    _, positions = start_geometry(6)
    twisted = twist(positions, positions[0], positions[5], 35.0)
    np.testing.assert_array_equal(twisted[:-2], positions[:-2])
    dihedral = Atoms("C6H4", twisted).get_dihedral(6, 0, 5, 8)
    assert min(dihedral, 360 - dihedral) == pytest.approx(35.0)


@pytest.mark.parametrize("temperature", [100.0, 300.0])
def test_displacements_share_the_energy_evenly(temperature):
    _, positions = start_geometry(6)
    modes = NormalModes.from_hessian(positions, np.full(10, 3.0), 2.0 * np.eye(30), 6)
    expected = np.sqrt(2.0 / 3.0 * units._e / units._amu) * 1e10 * 1e-12  # rad/ps
    np.testing.assert_allclose(modes.frequency, expected, rtol=1e-6)
    rng = np.random.default_rng(0)
    draws = np.array([modes.displacement(rng, temperature) for _ in range(500)])
    assert 0.5 * 2.0 * (draws**2).sum((1, 2)).mean() == pytest.approx(23 / 2 * units.kB * temperature, rel=0.05)


def test_random_rotations_are_proper():
    rng = np.random.default_rng(0)
    for _ in range(10):
        turn = random_rotation(rng)
        np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(turn) == pytest.approx(1.0)


def test_files_are_written_the_same_way_every_time(tmp_path, parts):
    for name in "ab":
        write_gz(tmp_path / f"{name}.extxyz.gz", parts["val"][:5])
    assert (tmp_path / "a.extxyz.gz").read_bytes() == (tmp_path / "b.extxyz.gz").read_bytes()
    again = ase.io.read(tmp_path / "a.extxyz.gz", ":")
    for one, other in zip(parts["val"][:5], again, strict=True):
        np.testing.assert_array_equal(one.get_forces(), other.get_forces())
