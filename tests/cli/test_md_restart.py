"""A run that is gone on with is, to the last bit, the one that was never interrupted."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.constraints import FixAtoms
from ase.io import Trajectory, read, write

from tests.cli.simulations import frames_of, run, save_small, state_of, write_structures

COPPER = ["md", "copper.pt", "copper.xyz", "--temperature", "900", "--timestep", "3", "--every", "2"]
ENSEMBLES = {
    "nve": ["--ensemble", "nve"],
    "langevin": [],
    "bussi": ["--thermostat", "bussi"],
    "npt": ["--ensemble", "npt", "--pressure", "3"],
}


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_structures()


def assert_same(name: str, other: str, kind: str = "extxyz") -> None:
    """All files of two runs agree to the last bit, but for their names."""
    one, two = state_of(f"{name}.state.npz"), state_of(f"{other}.state.npz")
    plain = [json.loads(str(state.pop("plain"))) for state in (one, two)]
    for entry in plain:
        entry["mark"] = [value for key, value in entry["mark"].items() if key.endswith("_end")]
    assert plain[0] == plain[1]
    assert plain[0]["step"] == 20
    assert one.keys() == two.keys()
    for key, value in one.items():
        np.testing.assert_array_equal(two[key], value, err_msg=key)
    assert Path(f"{name}.log").read_bytes() == Path(f"{other}.log").read_bytes()
    frames, others = frames_of(f"{name}.{kind}"), frames_of(f"{other}.{kind}")
    assert len(frames) == len(others) == 11
    for frame, same in zip(frames, others, strict=True):
        assert frame == same
        assert frame.get_potential_energy() == same.get_potential_energy()
    assert np.abs(frames[-1].positions - frames[0].positions).max() > 0.1


@pytest.mark.parametrize("kind", ["extxyz", "traj"])
@pytest.mark.parametrize("ensemble", ENSEMBLES)
def test_ten_and_ten_steps_are_twenty(ensemble: str, kind: str) -> None:
    save_small("copper.pt", ("Cu",), dtype=torch.float32 if kind == "traj" else torch.float64)
    words = [*COPPER, *ENSEMBLES[ensemble]]
    assert run(*words, "--steps", "20", "--trajectory", f"straight.{kind}").status == 0
    assert run(*words, "--steps", "10", "--trajectory", f"halves.{kind}").status == 0
    state = state_of("halves.state.npz")
    assert len(frames_of(f"halves.{kind}")) == 6
    assert np.abs(state["momenta"]).max() > 1
    resumed = run(*words, "--steps", "20", "--trajectory", f"halves.{kind}", "--restart", "true", "--seed", "5")
    assert resumed.status == 0, resumed.message
    assert_same("straight", "halves", kind)


def test_a_committee_in_a_folder() -> None:
    save_small("other.pt", ("Cu",), seed=2)
    words = ["md", "copper.pt", "other.pt", *COPPER[2:]]
    assert run(*words, "--steps", "20", "--trajectory", "straight.extxyz").status == 0
    assert run(*words, "--steps", "13", "--trajectory", "a/b.extxyz", "--log", "a/b.log").status == 0
    Path("a").rename("moved")
    assert run(*words, "--steps", "20", "--restart", "moved").status == 0
    assert_same("straight", "moved/b")


@pytest.mark.parametrize("kind", ["extxyz", "traj"])
def test_what_a_crash_left_behind_is_taken_away(kind: str) -> None:
    assert run(*COPPER, "--steps", "20", "--trajectory", f"straight.{kind}").status == 0
    assert run(*COPPER, "--steps", "11", "--trajectory", f"crashed.{kind}").status == 0
    if kind == "traj":
        with Trajectory("crashed.traj", "a") as file:
            for atoms in frames_of("straight.traj")[6:8]:
                file.write(atoms)
        assert len(frames_of("crashed.traj")) == 8
    else:
        with open("crashed.extxyz", "a") as file:
            file.write("4\nProperties=species:S:1:pos:R:3 pbc")  # half a frame
    with open("crashed.log", "a") as file:
        file.write("  12  ")
    assert run(*COPPER, "--steps", "20", "--trajectory", f"crashed.{kind}", "--restart", "true").status == 0
    assert_same("straight", "crashed", kind)


def test_what_is_not_the_same_run() -> None:
    assert run(*COPPER, "--steps", "10").status == 0
    before = {path.name: path.read_bytes() for path in Path().glob("md*")}
    again = ["--steps", "20", "--restart", "true"]
    for name in ("held", "heavy", "charged"):
        atoms = read("copper.xyz")
        atoms.set_constraint([FixAtoms([0])] if name == "held" else [])
        if name == "heavy":
            atoms.set_masses([70.0] * len(atoms))
        atoms.info |= {"charge": 1.0} if name == "charged" else {}
        write(f"{name}.xyz", atoms, format="extxyz")
    for words, said in (
        ([*COPPER, *again, "--timestep", "1"], "the run had another timestep (it was 3.0, now it is 1.0)"),
        ([*COPPER, *again, "--thermostat", "bussi"], "another ensemble (it was LangevinNVT, now it is BussiNVT)"),
        ([*COPPER, *again, "--temperature", "3"], "another temperature (it was 900.0, now it is 3.0)"),
        ([*COPPER, *again, "--dtype", "float32"], "another dtype"),
        ([*COPPER, "--steps", "10", "--restart", "true"], "--steps 10: 10 steps are done already"),
        (["md", "water.pt", "water.xyz", *COPPER[3:], *again], "the structure has other atoms"),
        (["md", "copper.pt", "held.xyz", *COPPER[3:], *again], "another set of constraints (it was []"),
        (["md", "copper.pt", "heavy.xyz", *COPPER[3:], *again], "another set of masses"),
        (["md", "copper.pt", "charged.xyz", *COPPER[3:], *again], "another charge or field (it was {}"),
    ):
        ending = run(*words)
        assert ending.status == 2
        assert said in ending.message
        assert {path.name: path.read_bytes() for path in Path().glob("md*")} == before
    save_small("copper.pt", ("Cu",), seed=3)
    assert "another models (another file than then)" in run(*COPPER, *again).message


def test_files_that_do_not_belong_to_the_state() -> None:
    assert run(*COPPER, "--steps", "10").status == 0
    again = [*COPPER, "--steps", "20", "--restart"]
    Path("copy.state.npz").write_bytes(Path("md.state.npz").read_bytes())
    assert ".: several states, copy.state.npz, md.state.npz: name one of them" in run(*again, ".").message
    whole = Path("md.extxyz").read_bytes()
    Path("md.extxyz").write_bytes(whole[:-5])
    assert "md.extxyz: shorter than when the run was left" in run(*again, "true").message
    Path("md.extxyz").unlink()
    assert "md.extxyz: no such file, the run to go on with has lost it" in run(*again, "true").message
    Path("md.extxyz").write_bytes(whole)
    Path("md.state.npz").write_bytes(b"PK and nonsense")
    assert "md.state.npz: no state of a run of equireann md" in run(*again, "true").message
    np.savez("md.state.npz", plain=np.array({"a": 1}, dtype=object))  # a pickle
    assert "md.state.npz: no state of a run of equireann md" in run(*again, "true").message
    assert run(*again, "copy.state.npz").status == 0
