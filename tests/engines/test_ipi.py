"""The driver for i-PI: the calculator's numbers in i-PI's units, one bead or many, and the real program with it."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.io import read, write

from equireann_pyg import EquiREANN, EquiREANNCalculator, Potential, save_potential
from equireann_pyg.engines import IPIDriver, ipi_driver
from equireann_pyg.properties import Dipole
from equireann_pyg.testing import randomize
from tests.engines.structures import potential

units: Any = pytest.importorskip("ipi.utils.units", reason="i-PI is an extra: pip install equireann_pyg[engines]")

FORCEFIELDS = {
    "socket": "<ffsocket name='driver' mode='unix' pbc='false'> <address>test</address> <timeout>30</timeout> </ffsocket>",
    "batches": "<ffsocket name='driver' mode='unix' pbc='false'> <address>test</address> <timeout>30</timeout> "
    "<batch_size>8</batch_size> </ffsocket>",
    "direct": f"<ffdirect name='driver' pbc='false'> <pes>custom</pes> <pes_path>{ipi_driver.__file__}</pes_path> "
    "<parameters>{template: start.xyz, potential: p.ckpt}</parameters> <batch_size>8</batch_size> </ffdirect>",
}
INPUT = """
<simulation verbosity='low' sockets_prefix='{folder}/'>
  <total_steps>3</total_steps>
  <prng><seed>1</seed></prng>
  <output prefix='out'>
    <properties filename='energies' stride='1'>
      [ step, bead_potentials{{electronvolt}}, conserved{{electronvolt}} ]
    </properties>
    <trajectory filename='positions' stride='1' format='ase'> positions{{ase}} </trajectory>
  </output>
  {forcefield}
  <system>
    <initialize nbeads='8'>
      <file mode='ase'>start.xyz</file>
      <velocities mode='thermal' units='kelvin'>300</velocities>
    </initialize>
    <forces><force forcefield='driver'/></forces>
    <motion mode='dynamics'><dynamics mode='nve'><timestep units='femtosecond'>0.2</timestep></dynamics></motion>
    <ensemble><temperature units='kelvin'>300</temperature></ensemble>
  </system>
</simulation>
"""


def water(skewed: bool = False) -> Atoms:
    atoms = molecule("H2O")
    atoms.rattle(0.05, seed=0)
    atoms.cell, atoms.pbc = [[4.0, 0, 0], [0.6 * skewed, 4.2, 0], [-0.5 * skewed, 0.7 * skewed, 4.3]], True
    return atoms


def written(folder: Path, atoms: Atoms, made: Potential) -> dict[str, str]:
    """Arguments of a driver, whose files are written."""
    write(folder / "start.xyz", atoms, format="extxyz")
    save_potential(made, folder / "p.ckpt")
    return {"template": str(folder / "start.xyz"), "potential": str(folder / "p.ckpt")}


def atomic_units(atoms: Atoms) -> tuple[np.ndarray, np.ndarray]:
    to_bohr = units.unit_to_internal("length", "angstrom", 1.0)
    return to_bohr * atoms.cell.array.T, to_bohr * atoms.positions


def test_numbers_of_the_calculator(tmp_path: Path) -> None:
    made, atoms = potential(("H", "O")), water(skewed=True)
    driver = IPIDriver(**written(tmp_path, atoms, made))
    beads = []
    for seed in range(3):
        bead = atoms.copy()
        bead.rattle(0.1, seed=seed)
        bead.set_cell((1 + 0.02 * seed) * atoms.cell.array, scale_atoms=True)
        beads.append(bead)
    cells, positions = zip(*map(atomic_units, beads), strict=True)
    together = driver(list(cells), list(positions))
    hartree, angstrom = (
        units.unit_to_internal(*kind, 1.0) for kind in (("energy", "electronvolt"), ("length", "angstrom"))
    )
    calculator = EquiREANNCalculator(made)
    for bead, cell, pos, result in zip(beads, cells, positions, together, strict=True):
        bead.calc = calculator
        volume = bead.get_volume()
        expected = (
            hartree * bead.get_potential_energy(),
            hartree / angstrom * bead.get_forces(),
            -hartree * volume * bead.get_stress(voigt=False),
        )
        for energy, forces, virial, extras in (result, driver(cell, pos)):
            assert energy == pytest.approx(expected[0], rel=1e-10)
            np.testing.assert_allclose(forces, expected[1], rtol=0, atol=1e-10)
            np.testing.assert_allclose(virial, expected[2], rtol=0, atol=1e-10)
            assert extras == ""
        assert min(np.abs(part).max() for part in expected) > 1e-3
    assert np.ptp([result[0] for result in together]) > 1e-4


def test_open_structures_have_the_virial_of_their_box_or_none(tmp_path: Path) -> None:
    atoms = water()
    atoms.pbc = False
    driver = IPIDriver(**written(tmp_path, atoms, potential(("H", "O"))))
    cell, pos = atomic_units(atoms)
    energy, forces, virial, _ = driver(10 * cell, pos)
    again = driver(0 * cell, pos)
    assert again[0] == pytest.approx(energy, rel=1e-12)
    np.testing.assert_allclose(again[1], forces, rtol=0, atol=1e-12)
    np.testing.assert_allclose(virial, -np.einsum("na,nb->ab", pos, -forces), rtol=0, atol=1e-7)
    assert np.abs(virial).max() > 1e-2
    assert not again[2].any()


def test_properties_are_extras(tmp_path: Path) -> None:
    model = EquiREANN(["H", "O"], 3.5, num_radial=4, num_density=8, hidden_channels=[8])
    made = Potential(model, [Dipole((8,))])
    randomize(made)
    atoms = water()
    atoms.pbc = False
    driver = IPIDriver(**written(tmp_path, atoms, made.double().eval()))
    extras = json.loads(driver(*atomic_units(atoms))[3])
    atoms.calc = EquiREANNCalculator(made)
    np.testing.assert_allclose(extras["dipole"], atoms.get_dipole_moment(), rtol=1e-6)
    assert np.abs(extras["dipole"]).max() > 1e-4


def test_what_is_refused(tmp_path: Path) -> None:
    arguments = written(tmp_path, water(), potential(("H", "O")))
    with pytest.raises(FileNotFoundError, match="template="):
        IPIDriver(**(arguments | {"template": str(tmp_path / "none.xyz")}))
    with pytest.raises(ValueError, match=r"i-PI sends \[4\] atoms, the template has 3"):
        IPIDriver(**arguments)(np.eye(3), np.zeros((4, 3)))


@contextmanager
def running(*command: str, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A program that does not outlive the block; what it says goes to a file of its name."""
    log = folder / f"{Path(command[0]).name}.log"
    with open(log, "wb") as out:
        path = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
        program = subprocess.Popen(
            [sys.executable, "-W", "ignore", *command],
            cwd=folder,
            stdout=out,
            stderr=out,
            env=os.environ | {"PYTHONPATH": path},
        )
        try:
            yield program
        finally:
            program.kill()
            program.wait(10)


def script(name: str) -> str:
    """File of a program that i-PI installs beside Python."""
    found = Path(sys.executable).parent / name
    if not found.is_file():
        pytest.skip(f"{name} is not beside Python")
    return str(found)


@pytest.mark.slow
@pytest.mark.parametrize("way", list(FORCEFIELDS))
def test_ring_polymer_of_the_real_program(way: str, tmp_path: Path) -> None:
    made = potential(("H", "O"))
    written(tmp_path, water(), made)
    (tmp_path / "input.xml").write_text(INPUT.format(folder=tmp_path, forcefield=FORCEFIELDS[way]))
    with running(script("i-pi"), "input.xml", folder=tmp_path) as server:
        if way != "direct":
            _wait(lambda: (tmp_path / "test").exists(), server)
            options = (
                f"-u -a test -S {tmp_path}/ -m custom -P {ipi_driver.__file__} -o template=start.xyz,potential=p.ckpt"
            )
            with running(script("i-pi-driver-py"), *options.split(), folder=tmp_path) as driver:
                assert driver.wait(120) == 0
        assert server.wait(120) == 0, (tmp_path / "i-pi.log").read_text()[-2000:]
    rows = np.loadtxt(tmp_path / "out.energies")  # -> [steps, 1 + beads + 1]
    assert rows.shape == (4, 10)
    calculator = EquiREANNCalculator(made)
    for bead in range(8):
        frames = read(tmp_path / f"out.positions_{bead}.extxyz", ":")
        energies = [calculator.get_potential_energy(Atoms(atoms, pbc=True)) for atoms in frames]
        np.testing.assert_allclose(rows[:, 1 + bead], energies, rtol=0, atol=2e-6)  # eV, of positions that are rounded
    assert np.ptp(rows[-1, 1:9]) > 1e-3  # the beads are apart
    assert np.ptp(rows[:, 9]) < 0.02 * np.ptp(rows[-1, 1:9])  # and the energy is conserved


def _wait(there: Any, server: subprocess.Popen[bytes], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not there():
        assert server.poll() is None, "i-PI has ended"
        assert time.monotonic() < end, "i-PI has not opened its socket"
        time.sleep(0.1)


def test_it_says_what_the_template_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = written(tmp_path, water(), potential(("H", "O")))
    IPIDriver(**arguments)
    assert f"equireann: H2O of {arguments['template']}, periodic along abc\n" == capsys.readouterr().err
    write(arguments["template"], Atoms("OH2", np.eye(3)), format="xyz")
    IPIDriver(**arguments)
    assert capsys.readouterr().err.endswith(", open\n")


def test_a_template_in_the_format_of_ipi(tmp_path: Path) -> None:
    """ASE reads it as an open structure."""
    arguments = written(tmp_path, water(), potential(("H", "O")))
    head = "3\n# CELL(abcABC): 7.5 7.9 8.1 90.0 90.0 90.0 positions{angstrom} cell{atomic_unit}\n"
    (tmp_path / "start.xyz").write_text(head + "O 0 0 0\nH 0.9 0 0\nH 0 0.9 0\n")
    with pytest.raises(ValueError, match=r"own format ASE finds no cell.*extended XYZ"):
        IPIDriver(**arguments)


def test_it_says_where_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(ipi_driver.__file__), run_name="__main__")
    said = Path(capsys.readouterr().out.strip())
    assert said == Path(ipi_driver.__file__).resolve()
    assert said.stem != "ipi"  # i-PI loads it under this name
