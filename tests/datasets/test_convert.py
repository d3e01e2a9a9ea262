from __future__ import annotations

import json
import lzma

import ase.io
import numpy as np
import pytest

from equireann_pyg.datasets.convert import (
    XY_XZ_YZ,
    XY_YZ_XZ,
    concatenated,
    fractional_reann,
    from_npz,
    pymatgen,
    runner,
)
from equireann_pyg.datasets.fireann import fireann

HARTREE, BOHR, KBAR = 27.211386, 0.529177211, 6.2415091e-4

RUNNER = """begin
comment a periodic dimer
lattice 10.0 0.0 0.0
lattice 0.0 10.0 0.0
lattice 1.0 0.0 10.0
atom 1.0 2.0 3.0 C -0.25 0.0 0.1 0.0 0.0
atom 1.0 2.0 5.0 H 1.25 0.0 -0.1 0.0 0.02
energy -38.5
charge 1.0
end
begin
atom 0.0 0.0 0.0 H 0.0 0.0 0.0 0.0 0.3
atom 0.0 0.0 2.0 H 0.0 0.0 0.0 0.0 -0.3
energy -1.0
charge -0.0
end
"""

REANN = """point= 1
4.0 0.0 0.0
0.0 8.0 0.0
1.0 0.0 10.0
pbc 1 1 0
Ni 58.693 0.5 0.25 0.1 0.1 0.2 0.3
O 15.999 0.0 0.0 0.5 -0.1 -0.2 -0.3
abprop: -206.5
"""

FIREANN = """point= 11
40.0 0.0 0.0
0.0 40.0 0.0
0.0 0.0 40.0
pbc 0 0 0
Energy='-76.25 ' Dipole='0.5 -0.25 0.125 ' POL='-1.0 0.1 0.2 0.1 -2.0 0.3 0.2 0.3 -3.0 '
O 15.999 0.0 0.0 0.0 0.1 0.0 0.2
H 1.008 0.0 0.0 0.96 -0.1 0.0 -0.2
External_field: 0.25 0.0 0.0
"""


def structure(group: str, label: str) -> dict:
    """Two atoms of Li with the stress of the first test frame of the published file, in kbar."""
    sites = [{"species": [{"element": "Li", "occu": 1}], "xyz": xyz} for xyz in ([0.0, 0.0, 0.0], [1.5, 1.5, 1.5])]
    stress = [3.92230821, 2.82378547, 1.76698297, -1.92323524, -0.18633882, 0.69562404]
    outputs = {"energy": -3.75, "forces": [[0.1, 0.0, 0.2], [-0.1, 0.0, -0.2]], label: stress}
    return {
        "structure": {"lattice": {"matrix": np.diag([3.0, 3.0, 3.5]).tolist()}, "sites": sites},
        "outputs": outputs,
    } | {"group": group}


def test_runner(tmp_path):
    with lzma.open(tmp_path / "gen1a.data.xz", "wt") as file:
        file.write(RUNNER)
    first, second = runner([tmp_path / "gen1a.data.xz"])
    assert first.get_chemical_symbols() == ["C", "H"]
    assert first.pbc.all()
    np.testing.assert_allclose(first.cell.array[2], [BOHR, 0.0, 10 * BOHR], rtol=1e-7)
    np.testing.assert_allclose(first.positions[1], np.array([1.0, 2.0, 5.0]) * BOHR, rtol=1e-7)
    np.testing.assert_allclose(first.get_forces()[1], np.array([-0.1, 0, 0.02]) * HARTREE / BOHR, rtol=1e-6)
    assert first.get_potential_energy() == pytest.approx(-38.5 * HARTREE, rel=1e-7)
    assert first.info == {"charge": 1.0, "group": "gen1a"}
    assert first.arrays["atomic_charges"].tolist() == [-0.25, 1.25]
    assert not second.pbc.any()
    assert str(second.info["charge"]) == "0.0"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("energy -38.5\n", "", "malformed block that ends at line 9"),
        ("H 1.25 0.0 -0.1", "H 1.25 0.0 -0.1 z", "malformed block that ends at line 10"),
        ("lattice 0.0 10.0 0.0\n", "", "none or three of 'lattice x y z'"),
        ("charge -0.0\nend\n", "charge -0.0\n", "line 15: the file ends without the 'end'"),
    ],
)
def test_malformed_runner(tmp_path, old, new, message):
    (tmp_path / "input.data").write_text(RUNNER.replace(old, new))
    with pytest.raises(ValueError, match=message):
        list(runner([tmp_path / "input.data"]))


def test_fractional_reann(tmp_path):
    (tmp_path / "configuration").write_text(REANN)
    (atoms,) = fractional_reann([tmp_path / "configuration"])
    np.testing.assert_allclose(atoms.positions, [[2.1, 2.0, 1.0], [0.5, 0.0, 5.0]], rtol=1e-12)
    assert atoms.pbc.tolist() == [True, True, False]
    assert atoms.get_potential_energy() == -206.5
    assert atoms.get_forces()[1].tolist() == [-0.1, -0.2, -0.3]


def test_fireann(tmp_path):
    path = tmp_path / "configuration"
    path.write_text(2 * FIREANN)
    first, second = fireann([path])
    assert first == second
    assert not first.pbc.any()
    assert first.get_potential_energy() == -76.25
    assert first.get_dipole_moment().tolist() == [0.5, -0.25, 0.125]
    assert first.get_forces()[0].tolist() == [0.1, 0.0, 0.2]
    assert first.positions[1].tolist() == [0.0, 0.0, 0.96]
    assert first.info["external_field"].tolist() == [0.25, 0.0, 0.0]
    assert first.info["polarizability"].tolist() == [[-1.0, 0.1, 0.2], [0.1, -2.0, 0.3], [0.2, 0.3, -3.0]]
    path.write_text(FIREANN.replace("Energy='-76.25 '", ""))
    with pytest.raises(ValueError, match="configuration: malformed block that ends at line 9"):
        list(fireann([path]))
    path.write_text(FIREANN.partition("External")[0])
    with pytest.raises(ValueError, match="line 8: the file ends without 'External_field'"):
        list(fireann([path]))


@pytest.mark.parametrize(
    ("order", "xz", "yz"), [(XY_YZ_XZ, 0.69562404, -0.18633882), (XY_XZ_YZ, -0.18633882, 0.69562404)]
)
@pytest.mark.parametrize("label", ["stress", "virial_stress"])
def test_pymatgen(tmp_path, order, xz, yz, label):
    path = tmp_path / "Li.json"
    path.write_text(json.dumps([structure("Vacancy", label), structure("Other", label)]))
    first, second = pymatgen([path], lambda group: order if group == "Vacancy" else None)
    expected = -np.array([3.92230821, 2.82378547, 1.76698297, yz, xz, -1.92323524]) * KBAR
    np.testing.assert_allclose(first.get_stress(), expected, rtol=1e-6)
    assert first.get_potential_energy() == -3.75
    assert first.get_forces()[1].tolist() == [-0.1, 0.0, -0.2]
    assert first.cell.lengths().tolist() == [3.0, 3.0, 3.5]
    assert first.info["group"] == "Vacancy"
    assert "stress" not in second.calc.results


@pytest.mark.parametrize("shape", [(2,), (3, 2)])
def test_npz(tmp_path, shape):
    random = np.random.default_rng(0)
    pos, forces = random.normal(size=(3, 2, 3)), random.normal(size=(3, 2, 3))
    path = tmp_path / "data.npz"
    np.savez(path, R=pos, z=np.broadcast_to([8, 1], shape), E=np.array([[-1.0], [-2.0], [-3.0]]), F=forces)
    frame, count = from_npz(path, "R", "z", "E", "F", 0.5)
    assert count == 3
    assert frame(2).get_potential_energy() == -1.5
    np.testing.assert_allclose(frame(1).get_forces(), forces[1] / 2, rtol=1e-12)
    np.testing.assert_allclose(frame(1).positions, pos[1], rtol=1e-12)
    assert frame(0).numbers.tolist() == [8, 1]
    with pytest.raises(ValueError, match="expected the arrays coords, z, E, F, got R, z, E, F"):
        from_npz(path, "coords", "z", "E", "F")


def test_concatenated(tmp_path):
    text = (
        '2\nProperties=species:S:1:pos:R:3:force:R:3:bec:R:1 energy=-1.5 nC=3 dipole="_JSON [[0.1, 0.2, 0.3]]" '
        'pbc="F F F"\nC 0 0 0 0.1 0 0 7\nO 0 0 1.2 -0.1 0 0 7\n'
    )
    for name in ("one", "two"):
        (tmp_path / f"{name}.xyz").write_text(text)
    frames = concatenated([tmp_path / "one.xyz", tmp_path / "two.xyz"], forces="force", config_type="pair")
    ase.io.write(tmp_path / "both.xyz", list(frames), format="extxyz")
    first, second = ase.io.read(tmp_path / "both.xyz", ":")
    assert (first.info["group"], second.info["group"]) == ("one", "two")
    assert (first.info["nC"], first.info["config_type"]) == (3, "pair")
    assert first.get_potential_energy() == -1.5
    assert first.get_forces()[1].tolist() == [-0.1, 0.0, 0.0]
    np.testing.assert_allclose(first.get_dipole_moment(), [0.1, 0.2, 0.3], rtol=1e-12)
    assert "bec" not in first.arrays
