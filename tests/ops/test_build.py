"""Building and finding the kernels, and doing without them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from equireann_pyg.ops import extension as built
from equireann_pyg.ops import plain_path

ENERGY = """
import torch, warnings
from equireann_pyg import EquiREANN, Potential
from equireann_pyg.testing import random_crystal, randomize
torch.manual_seed(0)
potential = Potential(EquiREANN(["H", "C"], 3.0, num_iterations=1).double()).eval()
randomize(potential)
print(float(potential(random_crystal([1, 6], 3.0, 3))["forces"].norm()))
"""


def run(**environment: str) -> tuple[float, str]:
    """Norm of some forces, and what was said, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", ENERGY], env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return float(done.stdout), done.stderr


@pytest.fixture(scope="module")
def forces() -> float:
    return run()[0]


def test_switched_off(forces: float, tmp_path: Path) -> None:
    value, said = run(EQUIREANN_KERNELS="0", XDG_CACHE_HOME=str(tmp_path))
    assert value == pytest.approx(forces, rel=1e-11)
    assert "compil" not in said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("compiler", ["no-such-compiler", sys.executable])
def test_without_a_compiler(compiler: str, forces: float, tmp_path: Path) -> None:
    value, said = run(CXX=compiler, EQUIREANN_KERNELS=str(tmp_path))
    assert value == pytest.approx(forces, rel=1e-11)
    assert said.count("no compiled kernels") == 1
    assert "install a C++ compiler" in said
    assert not [file for file in tmp_path.iterdir() if file.name != "lock"]


@pytest.mark.usefixtures("kernels")
def test_a_damaged_library_is_not_loaded(tmp_path: Path) -> None:
    library = built._library()
    name = library.stem.split("-")[0]
    assert built._sound(library.parent, name) == library
    (tmp_path / library.name).write_bytes(library.read_bytes()[:-1])
    assert built._sound(tmp_path, name) is None
    (tmp_path / library.name).write_bytes(library.read_bytes())
    assert built._sound(tmp_path, name) == tmp_path / library.name


@pytest.mark.slow
@pytest.mark.usefixtures("kernels")
def test_two_processes_build_once(forces: float, tmp_path: Path) -> None:
    environment = {**os.environ, "EQUIREANN_KERNELS": str(tmp_path)}
    command = [sys.executable, "-c", ENERGY]
    both = [subprocess.Popen(command, env=environment, stdout=-1, stderr=-1, text=True) for _ in range(2)]
    results = [process.communicate() for process in both]
    assert [float(out) for out, _ in results] == pytest.approx([forces, forces], rel=1e-11)
    assert sum("compiling" in said for _, said in results) == 1
    assert sorted(file.suffix for file in tmp_path.iterdir()) == ["", ".so"]


def test_the_plain_path_ends_with_its_context() -> None:
    x = torch.zeros(1)
    usual = built.kernels_for(x)
    with plain_path():
        with plain_path():
            assert not built.kernels_for(x)
        assert not built.kernels_for(x)
    assert built.kernels_for(x) == usual
    assert not built.kernels_for(x, x.double())
    assert not built.kernels_for(x.half())
