from __future__ import annotations

import bz2
import gzip
import lzma
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from equireann_pyg.data import read_frames
from tests.copper import frames, write_frames


@pytest.fixture
def text(tmp_path) -> str:
    """Extended XYZ of three frames."""
    return write_frames(tmp_path / "source.xyz", count=3).read_text()


def same(read, expected) -> bool:
    """Whether structures and labels agree to the digits of an extended-XYZ file."""
    assert len(read) == len(expected)
    for one, other in zip(read, expected, strict=True):
        np.testing.assert_allclose(one.positions, other.positions, rtol=1e-7, atol=1e-7)
        np.testing.assert_allclose(one.get_forces(), other.get_forces(), rtol=1e-7, atol=1e-7)
        assert one.get_potential_energy() == pytest.approx(other.get_potential_energy(), rel=1e-8)
    return max(abs(one.get_forces()).max() for one in read) > 0.1


@pytest.mark.parametrize("name", ["a.xyz", "a.extxyz", "a.xyz.gz", "a.extxyz.xz", "a.xyz.bz2"])
def test_text_and_compressed_text(name, text, tmp_path):
    opener = {".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open}.get(Path(name).suffix, open)
    with opener(tmp_path / name, "wt") as file:
        file.write(text)
    assert same(read_frames(tmp_path / name), frames(3))


@pytest.mark.parametrize("name", ["a.traj", "a.db", "a.json"])
def test_other_formats_of_ase(name, tmp_path):
    write(tmp_path / name, frames(3))
    assert same(read_frames(tmp_path / name), frames(3))


@pytest.mark.parametrize(
    ("selection", "expected"),
    [("@1", [1]), ("@-1", [5]), ("@:", [0, 1, 2, 3, 4, 5]), ("@2:4", [2, 3]), ("@::3", [0, 3]), ("@-2:", [4, 5])],
)
def test_selection_of_frames(selection, expected, tmp_path):
    path = write_frames(tmp_path / "six.xyz", count=6)
    everything = frames(6)
    assert same(read_frames(f"{path}{selection}"), [everything[index] for index in expected])


def test_an_at_sign_in_a_name(tmp_path):
    folder = tmp_path / "user@host"
    folder.mkdir()
    write_frames(folder / "a@3.xyz", count=2)
    assert len(read_frames(folder / "a@3.xyz")) == 2
    assert len(read_frames(f"{folder / 'a@3.xyz'}@0:1")) == 1
    write(folder / "b.traj", frames(3))
    (folder / "b.traj").rename(folder / "b@1")
    assert same(read_frames(folder / "b@1"), frames(3))
    assert same(read_frames(f"{folder / 'b@1'}@2"), frames(3)[2:])
    with pytest.raises(FileNotFoundError, match=r"absent.xyz: no such file"):
        read_frames(folder / "absent.xyz@1")


def test_a_missing_last_newline_is_harmless(text, tmp_path):
    (tmp_path / "a.xyz").write_text(text.rstrip("\n"))
    assert same(read_frames(tmp_path / "a.xyz"), frames(3))
    (tmp_path / "b.xyz").write_text("3\n\nH 0.25 0 0\nH 1.1 0.5 0\nO 0 0 1")  # by hand, without columns
    assert read_frames(tmp_path / "b.xyz")[0].positions[1].tolist() == [1.1, 0.5, 0]


def test_blank_lines_at_the_end_are_harmless(text, tmp_path):
    (tmp_path / "a.xyz").write_text(text + "\n  \n\n")
    assert same(read_frames(tmp_path / "a.xyz"), frames(3))


def test_plain_xyz_and_lines_of_vectors(tmp_path):
    (tmp_path / "a.xyz").write_text(
        "1\n\nH 0 0 0\n2\nVEC is no vector here\nH 0 0 0\nO 0 0 1\nVEC1 3 0 0\nVEC2 0 3 0\nVEC3 0 0 3\n"
    )
    first, second = read_frames(tmp_path / "a.xyz")
    assert (len(first), len(second)) == (1, 2)
    assert second.cell.array.tolist() == (3 * np.eye(3)).tolist()


def cut(text: str, lines: int) -> str:
    """A text without its last lines."""
    return "".join(text.splitlines(keepends=True)[:-lines])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: cut(text, 1), r"frame 2, line 14: 5 atoms announced, 4 follow: restore the file"),
        (lambda text: cut(text, 5), r"frame 2, line 14: 5 atoms announced, 0 follow"),
        (lambda text: cut(text, 6), r"frame 2, line 14: 5 atoms announced, 0 follow"),
        (lambda text: text[:-40], "frame 2, line 20: the last line ends early"),
        (
            lambda text: text[:-3],
            r"frame 2, line 20: the last line ends early \('.*0.683579'\): restore the file",
        ),  # in the middle of the last number
        (lambda text: text.replace("\n4\n", "\n\n4\n"), "frame 1, line 8: blank but frames follow it: remove the line"),
        (
            lambda text: text.replace("\n4\n", "\n3\n"),
            "frame 2, line 13: expected a number of atoms after the 3 announced in line 8, got 'Cu",
        ),
        (
            lambda text: text.replace("\n4\n", "\n5\n"),
            "frame 2, line 15: expected a number of atoms after the 5 announced in line 8, got 'Prop",
        ),
        (
            lambda text: text.replace("Cu ", "Qq ", 1),
            "frame 0, line 3: unknown element 'Qq': expected a chemical symbol$",
        ),
        (lambda text: "hello\nworld\n", "frame 0, line 1: expected a number of atoms, got 'hello'"),
        (lambda text: "", "no frames; expected a file that ase.io.read can open"),
        (lambda text: "\n\n", "no frames"),
    ],
)
def test_damaged_text(damage, message, text, tmp_path):
    damaged = damage(text)
    assert damaged != text
    for name, opener in (("a.xyz", open), ("a.xyz.gz", gzip.open)):
        with opener(tmp_path / name, "wt") as file:
            file.write(damaged)
        with pytest.raises(ValueError, match=message) as error:
            read_frames(tmp_path / name)
        assert str(error.value).startswith(f"{tmp_path / name}")
        assert "\n" not in str(error.value)


def test_damage_is_seen_outside_of_the_selection(text, tmp_path):
    (tmp_path / "a.xyz").write_text(cut(text, 2))
    with pytest.raises(ValueError, match="5 atoms announced, 3 follow"):
        read_frames(f"{tmp_path / 'a.xyz'}@0:1")


@pytest.mark.parametrize("name", ["a.xyz.gz", "a.xyz.xz", "a.xyz.bz2", "a.traj", "a.db"])
def test_truncated_binary_files(name, text, tmp_path):
    path = tmp_path / name
    if name.endswith((".traj", ".db")):
        write(path, frames(3))
    else:
        with {"gz": gzip.open, "xz": lzma.open, "bz2": bz2.open}[name[6:]](path, "wt") as file:
            file.write(text)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"(, frame \d)?: (unreadable or truncated .*expected|no frames)") as error:
        read_frames(path)
    assert str(error.value).startswith(f"{path}")
    assert "\n" not in str(error.value)


class Trap:
    """Leaves a mark when unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


@pytest.mark.parametrize("name", ["a.pkl", "a.traj", "a.xyz", "a.pt", "a.ckpt"])
def test_pickles_are_refused(name, tmp_path, monkeypatch):
    monkeypatch.delenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", raising=False)  # the command line sets it
    mark = tmp_path / "mark"
    if name in ("a.pt", "a.ckpt"):
        torch.save(Trap(mark), tmp_path / name)
    else:
        (tmp_path / name).write_bytes(pickle.dumps(Trap(mark)))
    with pytest.raises(ValueError, match="a pickle can run code and is not read; convert it to extended XYZ"):
        read_frames(tmp_path / name)
    assert not mark.exists()
    if name in ("a.pt", "a.ckpt"):
        torch.load(tmp_path / name, weights_only=False)
    else:
        pickle.loads((tmp_path / name).read_bytes())
    assert mark.exists()  # it was armed


@pytest.mark.parametrize(("name", "message"), [("absent.xyz", "no such file"), ("", "a folder, not a file")])
def test_missing_files(name, message, tmp_path):
    with pytest.raises(FileNotFoundError, match=message):
        read_frames(tmp_path / name)


def test_empty_selection(tmp_path):
    path = write_frames(tmp_path / "a.xyz", count=3)
    with pytest.raises(ValueError, match="no frames in the selection 7:"):
        read_frames(f"{path}@7:")
    with pytest.raises(ValueError, match=f"{path}: unreadable or truncated|no frames in the selection 7"):
        read_frames(f"{path}@7")


def test_labels_under_other_names_are_kept(tmp_path):
    atoms = molecule("H2O")
    atoms.info["REF_energy"], atoms.arrays["REF_forces"] = -5.0, np.ones((3, 3))
    atoms.calc = SinglePointCalculator(atoms, energy=-4.0)
    write(tmp_path / "a.xyz", atoms)
    (again,) = read_frames(tmp_path / "a.xyz")
    assert again.info["REF_energy"] == -5.0
    assert again.arrays["REF_forces"].tolist() == np.ones((3, 3)).tolist()
    assert again.get_potential_energy() == -4.0
