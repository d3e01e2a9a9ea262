"""``equireann md``: ensembles, records, what is refused, and what signals and explosions leave behind."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ase import units
from ase.constraints import FixAtoms
from ase.io import read, write

from equireann_pyg import CommitteeCalculator, EquiREANNCalculator
from equireann_pyg.cli import main
from tests.cli.simulations import (
    Effective,
    Exploding,
    Interrupting,
    Springs,
    Stressless,
    frames_of,
    log_of,
    run,
    save_small,
    state_of,
    write_structures,
)

MADE = ["md.extxyz", "md.log", "md.state.npz"]
COPPER = ["md", "copper.pt", "copper.xyz", "--temperature", "300", "--timestep", "2"]


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_structures()


@pytest.fixture
def calculator(monkeypatch: pytest.MonkeyPatch) -> Callable[[type], None]:
    """Has commands use another calculator."""
    return lambda kind: monkeypatch.setattr("equireann_pyg.simulation.processes.calculator_of", kind)


def files() -> list[str]:
    """What a run has written."""
    return sorted(path.name for path in Path().glob("md*"))


def test_energy_is_conserved_and_recorded(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["md", "water.pt", "water.xyz", "--ensemble", "nve", "--temperature", "600"]
    assert main([*words, "--steps", "160", "--timestep", "0.2", "--every", "4"]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    assert "step 160/160: " in shown.out
    assert shown.out.splitlines()[-1] == "md.extxyz, md.log, md.state.npz: 160 steps, 32 fs"
    assert files() == MADE
    log, frames = log_of(), frames_of("md.extxyz")
    assert list(log) == ["step", "time_fs", "E_pot_eV", "E_kin_eV", "E_tot_eV", "T_K"]
    np.testing.assert_array_equal(log["step"], np.arange(0, 161, 4))
    np.testing.assert_allclose(log["time_fs"], 0.2 * log["step"], rtol=1e-10)
    kinetic = log["E_kin_eV"]
    assert kinetic.std() > 2e-2  # eV: energy does flow
    drift = np.polyfit(np.linspace(0, 1, len(kinetic)), log["E_tot_eV"], 1)[0]
    assert abs(drift) < 1e-3 * kinetic.std()
    assert log["E_tot_eV"].std() < 1e-3 * kinetic.std()
    np.testing.assert_allclose(log["T_K"], 2 * kinetic / (6 * units.kB), rtol=1e-4)  # 9 - 3 degrees of freedom
    assert len(frames) == 41
    np.testing.assert_allclose([frame.get_potential_energy() for frame in frames], log["E_pot_eV"], atol=1e-7)
    np.testing.assert_allclose([frame.get_kinetic_energy() for frame in frames], kinetic, rtol=1e-5)
    assert frames[-1].info["step"] == 160
    frame = frames[20].copy()
    frame.calc = EquiREANNCalculator("water.pt")
    assert np.abs(frame.get_forces()).max() > 0.1
    np.testing.assert_allclose(frames[20].get_forces(), frame.get_forces(), atol=1e-6)
    centres = [frame.get_center_of_mass() for frame in frames]
    np.testing.assert_allclose(centres, centres[:1] * 41, atol=1e-7)


@pytest.mark.parametrize("thermostat", ["langevin", "bussi"])
def test_mean_temperature(thermostat: str, calculator: Callable[[type], None]) -> None:
    calculator(Springs)
    words = ["--thermostat", thermostat, "--thermostat_time", "20", "--timestep", "4", "--every", "2"]
    assert run("md", "copper.pt", "many.xyz", *words, "--temperature", "300", "--steps", "700").status == 0
    log = {name: values[50:] for name, values in log_of().items()}
    freedoms, correlation = 3 * 108 - 3, 2 * 20 / 8  # the latter in frames
    spread = 300 * np.sqrt(2 / freedoms)
    error = spread * np.sqrt(2 * correlation / len(log["T_K"]))
    assert error < 5  # K
    assert abs(log["T_K"].mean() - 300) < 4 * error
    assert log["T_K"].std() == pytest.approx(spread, rel=0.3)
    assert np.ptp(log["E_tot_eV"]) > 0.5  # exchanged with the bath


def test_pressure_shrinks_the_cell(calculator: Callable[[type], None]) -> None:
    calculator(Effective)
    volumes, pressures = [], (-5.0, 20.0)
    for pressure in pressures:
        words = ["--ensemble", "npt", "--pressure", str(pressure), "--barostat_time", "200", "--timestep", "4"]
        assert run(*COPPER[:-2], *words, "--steps", "300", "--every", "3", "--overwrite", "true").status == 0
        log, frames = log_of(), frames_of("md.extxyz")
        volumes.append(np.mean([frame.get_volume() for frame in frames[40:]]))
        values = log["P_GPa"][40:]
        assert abs(values.mean() - pressure) < 1.5  # of 25 between the two
        shapes = [frame.cell.array / frame.get_volume() ** (1 / 3) for frame in (frames[0], frames[-1])]
        np.testing.assert_allclose(shapes[1], shapes[0], atol=1e-7)
        stress = frames[-1].get_stress(include_ideal_gas=True)
        assert -stress[:3].mean() / units.GPa == pytest.approx(log["P_GPa"][-1], abs=1e-3)
    relative = np.log(volumes[0] / volumes[1])  # 25 GPa over a bulk modulus of 110 to 230
    assert 0.1 < relative < 0.25


def test_committee(capsys: pytest.CaptureFixture[str]) -> None:
    save_small("other.pt", ("Cu",), seed=2)
    assert run("md", "copper.pt", "other.pt", *COPPER[2:], "--steps", "10", "--every", "5").status == 0
    log, frame = log_of(), frames_of("md.extxyz")[-1]
    again = frame.copy()
    again.calc = CommitteeCalculator(["copper.pt", "other.pt"])
    np.testing.assert_allclose(frame.get_forces(), again.get_forces(), atol=1e-5)
    spread = np.linalg.norm(again.calc.results["forces_std"], axis=1).max()
    assert spread > 1e-2
    assert log["F_spread_eV_per_A"][-1] == pytest.approx(spread, abs=1e-5)
    assert np.linalg.norm(frame.arrays["forces_std"], axis=1).max() == pytest.approx(spread, abs=1e-5)


def test_words_where_a_charge_may_stand() -> None:
    """A potential without properties does not ask for it."""
    atoms = read("copper.xyz")
    atoms.info["charge"] = "none"
    write("word.xyz", atoms, format="extxyz")
    assert run("md", "copper.pt", "word.xyz", "--temperature", "300", "--steps", "2").status == 0


def test_momenta_of_the_file_and_atoms_that_are_held() -> None:
    atoms = read("copper.xyz")
    atoms.set_constraint(FixAtoms([0]))
    atoms.set_momenta([[0, 0, 0], [1, 0, 0], [0, -2, 0], [0, 0, 1]])
    write("moving.xyz", atoms, format="extxyz")
    assert run("md", "copper.pt", "moving.xyz", "--ensemble", "nve", "--steps", "20").status == 0
    first, *_, last = frames_of("md.extxyz")
    np.testing.assert_allclose(first.get_momenta(), atoms.get_momenta(), atol=1e-7)
    np.testing.assert_array_equal(last.positions[0], atoms.positions[0])
    assert [constraint.index.tolist() for constraint in last.constraints] == [[0]]
    assert np.abs(last.positions[1:] - atoms.positions[1:]).max() > 1e-2
    words = ["--overwrite", "true", "--steps", "5", "--every", "5"]
    assert run(*COPPER, "--draw", "true", *words).status == 0
    drawn = state_of("md.state.npz")["momenta"]
    assert run(*COPPER, "--seed", "2", *words).status == 0
    assert np.abs(state_of("md.state.npz")["momenta"] - drawn).max() > 0.1 * np.abs(drawn).max() > 0
    assert "has momenta and there is a --temperature" in run(
        "md", "copper.pt", "moving.xyz", "--ensemble", "nve", "--temperature", "3", *words
    ).message  # fmt: skip


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["absent.pt", "copper.xyz"], "absent.pt"),
        (["copper.pt", "absent.xyz"], "absent.xyz: no such file"),
        (["copper.pt", "water.xyz"], "unknown element H, O: this model was made for Cu"),
        (["water.pt", "copper.pt", "copper.xyz"], "the same elements"),
        (["copper.pt", "copper.xyz", "--temperature", "-3"], "--temperature: expected more than 0, got -3"),
        (["copper.pt", "copper.xyz", "--ensemble", "nve", "--temperature", "-3"], "expected 0 K or more, got -3"),
        (["copper.pt", "copper.xyz", "--timestep", "0"], "--timestep: expected more than 0, got 0"),
        (["copper.pt", "copper.xyz", "--thermostat_time", "0"], "--thermostat_time: expected more than 0"),
        (["copper.pt", "copper.xyz", "--skin", "-1"], "skin: expected 0 or more"),
        (["copper.pt", "copper.xyz", "--device", "hpu"], "device hpu: not usable"),
        (["copper.pt", "copper.xyz", "--trajectory", "md.dcd"], "--trajectory md.dcd: expected a name that ends in"),
        (["copper.pt", "copper.xyz", "--restart", "true"], "md.state.npz: no such file, so there is no run to go on"),
        (["copper.pt", "copper.xyz", "--restart", "absent"], "absent: no folder with a *.state.npz"),
        (["copper.pt", "copper.xyz", "--ensemble", "npt", "--pressure", ".inf"], "--pressure: expected a number"),
        (["copper.pt", "copper.xyz", "--pressure", "1"], "--pressure 1.0: only for --ensemble npt, got nvt"),
        (["copper.pt", "copper.xyz", "--barostat_time", "9"], "--barostat_time 9.0: only for --ensemble npt, got nvt"),
        (["copper.pt", "copper.xyz", "--ensemble", "npt", "--thermostat", "bussi"], "--thermostat bussi: only for"),
        (["copper.pt", "copper.xyz", "--ensemble", "nve", "--thermostat_time", "9"], "only for --ensemble nvt or npt, got nve"),
        (["copper.pt", "copper.xyz", "--restart", "true", "--draw", "true"], "--draw True: --restart goes on with"),
        (["copper.pt", "slab.xyz", "--ensemble", "npt"], "npt: a vacuum of 12.6 Angstrom along c"),
        (["water.pt", "water.xyz", "--ensemble", "npt"], "a period in all three directions, got pbc [False"),
        (["copper.pt", "held.xyz", "--ensemble", "npt"], "npt: expected no atoms that are held"),
        (["copper.xyz", "copper.pt"], "copper.pt: a potential where the structure is expected"),
        (["copper.pt", "fast.xyz"], "fast.xyz: its column velocities is not read"),
        (["copper.pt", "two.xyz"], "two.xyz: 2 frames, expected one: name it, two.xyz@0 say"),
    ],
)  # fmt: skip
def test_what_is_refused(words: list[str], said: str) -> None:
    held = read("copper.xyz")
    write("two.xyz", [held, held], format="extxyz")
    held.arrays["velocities"] = np.ones((4, 3))
    write("fast.xyz", held, format="extxyz")
    del held.arrays["velocities"]
    held.set_constraint(FixAtoms([0]))
    write("held.xyz", held, format="extxyz")
    ending = run("md", "--temperature", "300", *words, "--steps", "3")
    assert ending.status == 2
    assert said in ending.message
    assert files() == []


def test_what_is_missing(calculator: Callable[[type], None]) -> None:
    assert "npt: at which --temperature" in run(*COPPER[:3], "--ensemble", "npt").message
    assert "copper.xyz has no momenta to begin with" in run(*COPPER[:3], "--ensemble", "nve").message
    assert "--draw true: at which" in run(*COPPER[:3], "--ensemble", "nve", "--draw", "true").message
    calculator(Stressless)
    assert "npt: the calculator gives no stress" in run(*COPPER, "--ensemble", "npt").message
    assert files() == []


def test_files_that_exist_are_not_lost(refused: Callable[..., str]) -> None:
    Path("md.log").write_text("mine\n")
    assert "md.log exists: go on with --restart true, replace it with --overwrite true" in refused(*COPPER)
    assert files() == ["md.log"]
    broken = ["md", "copper.pt", "water.xyz", "--temperature", "300", "--overwrite", "true"]
    assert "unknown element" in run(*broken).message
    assert Path("md.log").read_text() == "mine\n"
    assert "leave out one" in run(*COPPER, "--overwrite", "true", "--restart", "true").message
    assert run(*COPPER, "--steps", "10", "--overwrite", "true").status == 0
    assert len(log_of()["step"]) == 2
    assert run(*COPPER, "--steps", "10", "--trajectory", "deep/er/a.traj", "--log", "b/c.txt").status == 0
    assert Path("deep/er/a.state.npz").is_file()
    assert len(log_of("b/c.txt")["step"]) == len(frames_of("deep/er/a.traj")) == 2


def test_atoms_that_are_too_fast() -> None:
    """A time step that is too long does not run to the end with forces that are finite and mean nothing."""
    ending = run(*COPPER[:3], "--ensemble", "nve", "--temperature", "300", "--timestep", "60", "--steps", "400")
    assert ending.status == 2
    assert "moves " in ending.message
    assert "Angstrom in a step of 60 fs (md.extxyz has the frames until then; a shorter --timestep" in ending.message
    assert np.isfinite(frames_of("md.extxyz")[-1].positions).all()


def test_forces_that_are_not_finite(calculator: Callable[[type], None]) -> None:
    calculator(Exploding)
    ending = run(*COPPER, "--steps", "20", "--every", "2")
    assert ending.status == 2
    assert "step 5: forces not finite at atoms 1 (Cu), 3 (Cu) (md.extxyz has the frames until then" in ending.message
    np.testing.assert_array_equal(log_of()["step"], [0, 2, 4])
    assert [frame.info["step"] for frame in frames_of("md.extxyz")] == [0, 2, 4]
    assert np.isfinite(state_of("md.state.npz")["positions"]).all()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signals(number: int, status: int, calculator: Callable[[type], None], monkeypatch: pytest.MonkeyPatch) -> None:
    calculator(Effective)
    words = [*COPPER, "--every", "2", "--steps", "12"]
    assert run(*words, "--trajectory", "straight.extxyz").status == 0
    monkeypatch.setattr(Interrupting, "number", number)
    calculator(Interrupting)
    before = signal.getsignal(number)
    ending = run(*words)
    assert ending.status == status
    name = signal.Signals(number).name
    assert (
        ending.message
        == f"stopped by {name} after step 6 of 12: the same command with --restart true goes on from there"
    )
    assert signal.getsignal(number) is before
    calculator(Effective)
    assert run(*words, "--restart", "true").status == 0
    assert Path("md.extxyz").read_bytes() == Path("straight.extxyz").read_bytes()
    assert Path("md.log").read_bytes() == Path("straight.log").read_bytes()
