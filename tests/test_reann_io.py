from __future__ import annotations

import io
import subprocess
import sys
from importlib.metadata import entry_points

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write
from ase.io.formats import ioformats

from equireann_pyg.data import AtomsDataset
from equireann_pyg.data.reann import FORMAT, read_reann_configuration, write_reann_configuration

WATER = """\
point=   0
  20.0 0.0  0.0
  0.0  21.0 0.0
  0.0  1.5  22.0
pbc  1 0 1
O 15.999  25.0 -3.0 0.1   0.01 -0.02 0.03
H  1.008  25.9 -3.0 0.1  -0.04  0.05 0.06
H  2.014  24.1 -2.5 0.4   0.03 -0.03 -0.09
abprop: -14.25
"""
LINES = WATER.splitlines()


def parse(text: str) -> list[Atoms]:
    """All frames of a text."""
    return list(read_reann_configuration(io.StringIO(text), slice(None)))


def labelled_frames() -> list[Atoms]:
    """Open, periodic and mixed systems with energies and, in part, forces."""
    rng = np.random.default_rng(3)
    frames = [molecule("CH3OH"), bulk("NaCl", "rocksalt", a=5.6), fcc111("Cu", (1, 2, 2), vacuum=5.0)]
    for number, atoms in enumerate(frames):
        atoms.positions += rng.normal(scale=9.0, size=3)
        labels = {"energy": -1e5 / 3 + number}
        if number < 2:
            labels["forces"] = rng.normal(size=(len(atoms), 3))
        atoms.calc = SinglePointCalculator(atoms, **labels)
    return frames


def test_reads_a_block_as_it_stands():
    (atoms,) = parse(WATER)
    assert atoms.get_chemical_symbols() == ["O", "H", "H"]
    assert atoms.positions[0].tolist() == [25.0, -3.0, 0.1]  # outside of the cell: neither wrapped nor centred
    assert atoms.cell.array.tolist() == [[20, 0, 0], [0, 21, 0], [0, 1.5, 22]]
    assert atoms.pbc.tolist() == [True, False, True]
    assert atoms.get_masses().tolist() == [15.999, 1.008, 2.014]
    assert atoms.get_potential_energy() == -14.25
    assert atoms.get_forces()[1].tolist() == [-0.04, 0.05, 0.06]


def test_without_forces_and_with_further_columns():
    short = "\n".join(" ".join(line.split()[:5]) if line[0] in "OH" else line for line in LINES)
    (atoms,) = parse(short)
    assert set(atoms.calc.results) == {"energy"}
    assert atoms.positions.tolist() == parse(WATER)[0].positions.tolist()
    long = "\n".join(f"{line} 7 x" if line[0] in "OH" else line for line in LINES)
    np.testing.assert_array_equal(parse(long)[0].get_forces(), parse(WATER)[0].get_forces())


def test_dipole_and_polarizability():
    (atoms,) = parse(WATER.replace("abprop: -14.25", "abprop:1 2 3"))  # no space after the colon
    assert set(atoms.calc.results) == {"forces", "dipole"}
    assert atoms.get_dipole_moment().tolist() == [1, 2, 3]
    (atoms,) = parse(WATER.replace("-14.25", "1 2 3 4 5 6 7 8 9"))
    assert atoms.info["polarizability"].tolist() == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    assert "energy" not in atoms.calc.results


def test_blocks_back_to_back_and_their_selection():
    text = "".join(WATER.replace("-14.25", str(number)) for number in range(5))

    def energies(index):
        return [atoms.get_potential_energy() for atoms in read_reann_configuration(io.StringIO(text), index)]

    assert energies(slice(None)) == [0, 1, 2, 3, 4]
    assert energies(slice(1, None, 2)) == [1, 3]
    assert energies(-1) == [4]
    assert parse("") == []


def test_round_trip_is_exact():
    frames = labelled_frames()
    text = io.StringIO()
    write_reann_configuration(text, frames)
    again = parse(text.getvalue())
    assert len(again) == 3
    for atoms, copy in zip(frames, again, strict=True):
        assert copy.get_chemical_symbols() == atoms.get_chemical_symbols()
        np.testing.assert_array_equal(copy.positions, atoms.positions)
        np.testing.assert_array_equal(copy.pbc, atoms.pbc)
        np.testing.assert_array_equal(copy.get_masses(), atoms.get_masses())
        assert copy.calc.results.keys() == atoms.calc.results.keys()
        for name, value in atoms.calc.results.items():
            np.testing.assert_array_equal(copy.calc.results[name], value)
        given = atoms.cell.array.any(axis=1)
        np.testing.assert_array_equal(copy.cell.array[given], atoms.cell.array[given])
    assert again[0].cell.cellpar().tolist() == [100, 100, 100, 90, 90, 90]


def test_a_slab_without_third_vector_keeps_its_other_two():
    atoms = Atoms("H", cell=[[2, 1, 0], [0, 3, 0], [0, 0, 0]], pbc=[1, 1, 0])
    atoms.calc = SinglePointCalculator(atoms, energy=1.0)
    text = io.StringIO()
    write_reann_configuration(text, atoms)
    np.testing.assert_allclose(parse(text.getvalue())[0].cell.array, [[2, 1, 0], [0, 3, 0], [0, 0, 100]])


@pytest.mark.parametrize("numbers", ["0.1 -0.2 0.3", "1.5 0.0 0.0 0.0 2.5 0.0 0.25 0.0 3.5"])
def test_writes_dipoles_and_polarizabilities(numbers):
    text = io.StringIO()
    write_reann_configuration(text, parse(WATER.replace("-14.25", numbers)))
    assert text.getvalue().splitlines()[-1] == f"abprop: {numbers}"
    assert parse(text.getvalue())[0].get_forces().any()


def test_nothing_is_written_for_a_frame_without_labels():
    text = io.StringIO()
    with pytest.raises(ValueError, match="frame 3 has neither energy, dipole nor polarizability"):
        write_reann_configuration(text, [*labelled_frames(), molecule("H2")])
    assert text.getvalue() == ""


def replaced(line: int, text: str) -> str:
    """The water block with another text in one line, numbered from 1."""
    lines = list(LINES)
    lines[line - 1] = text
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (WATER + "\n".join(LINES[:6]), "line 15: the file ends without the 'abprop:' line"),
        (WATER + "\n".join(LINES[:2]), "line 11: the file ends without the 'abprop:' line"),
        (replaced(3, "0.0 21.0"), "line 3: expected three numbers of a lattice vector, got '0.0 21.0'"),
        (replaced(5, "pbc 1 1"), "line 5: expected 'pbc' and three flags, got 'pbc 1 1'"),
        (replaced(5, "pbc T T T"), "line 5: expected 'pbc' and three flags"),
        ("\n".join(LINES[:4] + LINES[5:]), "line 5: expected 'pbc' and three flags, got 'O 15.999"),
        (replaced(7, "H 1.008 25.9 -3.0"), "line 7: expected 'Symbol mass x y z"),
        (replaced(7, "H 1.008 25.9 -3.0 0.1 0.5"), "line 7: expected 'Symbol mass x y z"),
        (replaced(7, "H 1.008 25.9 -3.0 0.1"), "line 7: 0 force components, the first atom has 3"),
        (replaced(7, "H 1.008 25.9 ***** 0.1 0 0 0"), "line 7: expected 'Symbol mass x y z"),
        (replaced(7, "H 1.008 25.9 nan 0.1 0 0 0"), "line 7: expected 'Symbol mass x y z"),
        (replaced(8, "Qq 1.008 25.9 -3.0 0.1 0 0 0"), "line 8: expected a chemical symbol, got 'Qq'"),
        (replaced(9, "abprop: 1.0 2.0"), "line 9: expected abprop with 1, 3 or 9 numbers, got '1.0 2.0'"),
        (replaced(9, "abprop: " + 10 * "1.0 "), "line 9: expected abprop with 1, 3 or 9 numbers"),
        (replaced(9, "abprop: "), "line 9: expected abprop with 1, 3 or 9 numbers"),
        (replaced(9, WATER.rstrip()), "line 9: expected 'Symbol mass x y z"),  # the line abprop is lost
        ("\n".join(LINES[:5] + LINES[8:]), "line 6: block of 5 lines before 'abprop:'; expected at least one atom"),
    ],
)
def test_garbled_files(text, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        parse(text)
    path = tmp_path / "configuration"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"configuration, frame \d, {message}"), open(path) as file:
        list(read_reann_configuration(file, slice(None)))
    with pytest.raises(ValueError, match=message) as error:
        AtomsDataset(path, 3.0, cache_dir=tmp_path / "cache")
    assert str(error.value).startswith(f"{path}, frame ")
    assert "\n" not in str(error.value)


def test_registered_with_ase(tmp_path):
    assert ioformats["reann-configuration"].description == FORMAT.desc
    path = tmp_path / "train" / "configuration"
    path.parent.mkdir()
    write(path, labelled_frames(), format="reann-configuration")
    for arguments in ({"format": "reann-configuration"}, {}):  # the name of the file tells the format
        frames = read(path, ":", **arguments)
        assert [len(atoms) for atoms in frames] == [6, 2, 4]
    assert len(read(path, 1)) == 2


def test_entry_point_names_the_format():
    (entry,) = (entry for entry in entry_points(group="ase.ioformats") if entry.name == "reann-configuration")
    assert entry.load() is FORMAT
    assert FORMAT.module == "equireann_pyg.data.reann"


def test_entry_point_brings_no_torch():
    code = "import sys, ase.io; print({'equireann_pyg.data.reann', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "{'equireann_pyg.data.reann'}"


def test_a_data_set_from_a_configuration(tmp_path):
    path = tmp_path / "configuration"
    with open(path, "w") as file:
        write_reann_configuration(file, labelled_frames())
    dataset = AtomsDataset(path, 3.0, cache_dir=tmp_path / "cache")
    assert len(dataset) == 3
    assert dataset.elements == [1, 6, 8, 11, 17, 29]
    assert dataset[0].energy.tolist() == [-1e5 / 3]
    assert torch.equal(dataset[1].forces, torch.from_numpy(labelled_frames()[1].get_forces()))
    assert bool(dataset[2].forces.isnan().all())
