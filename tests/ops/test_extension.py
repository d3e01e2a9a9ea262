"""Finding, building and doing without the kernels."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from equireann_pyg.ops import extension

# ---- building: with a compiler that copies the library that is there already -------------------------------------------

COMPILER = """#!/bin/sh
if [ "$1" = --version ]; then echo {version}; exit; fi
echo built >> {log}
sleep 0.3
while [ "$1" != -o ]; do shift; done
{action}
"""


class Compiler:
    """A stand-in for a compiler, with a log of its calls."""

    def __init__(self, folder: Path) -> None:
        self.path, self.log = folder / "compiler", folder / "log"
        self.library = extension._library()

    def write(self, action: str = "", version: str = "1.0") -> None:
        action = action or f'cp "{self.library}" "$2"'
        self.path.write_text(COMPILER.format(version=version, log=self.log, action=action))
        self.path.chmod(0o755)

    @property
    def calls(self) -> int:
        return len(self.log.read_text().split()) if self.log.exists() else 0


@pytest.fixture
def compiler(kernels: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Compiler:
    made = Compiler(tmp_path)
    made.write()
    monkeypatch.setenv("CXX", str(made.path))
    monkeypatch.setenv("EQUIREANN_KERNELS", str(tmp_path / "deep" / "cache"))
    return made


def load_anew() -> bool:
    """Whether kernels are found, as in a new process."""
    return extension._loaded.__wrapped__()


def files(library: Path) -> list[str]:
    """What lies beside a library, apart from the lock."""
    return sorted(file.name for file in library.parent.iterdir() if file.name != "lock")


def test_built_once_and_found_again(compiler: Compiler) -> None:
    library = extension._library()
    assert library.read_bytes() == compiler.library.read_bytes()
    assert [extension._library() for _ in range(3)] == [library] * 3
    assert compiler.calls == 1
    assert files(library) == [library.name]


def test_built_without_setuptools(compiler: Compiler, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "setuptools", None)
    monkeypatch.delitem(sys.modules, "torch.utils.cpp_extension", raising=False)
    assert load_anew()
    assert compiler.calls == 1


def test_a_change_of_anything_builds_anew(compiler: Compiler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    libraries = [extension._library()]
    compiler.write(version="2.0")
    libraries.append(extension._library())
    with monkeypatch.context() as patch:
        patch.setattr(extension, "FLAGS", (*extension.FLAGS, "-DOTHER"))
        libraries.append(extension._library())
    with monkeypatch.context() as patch:
        patch.setattr(extension, "_processor", lambda: "another machine")
        libraries.append(extension._library())
    with monkeypatch.context() as patch:
        patch.setattr(torch, "__version__", "9.9")
        libraries.append(extension._library())
    source = tmp_path / "source.cpp"
    source.write_text("// another line")
    with monkeypatch.context() as patch:
        patch.setattr(extension, "SOURCES", (*extension.SOURCES, source))
        libraries.append(extension._library())
    assert len(set(libraries)) == compiler.calls == 6


@pytest.mark.parametrize("kept", [0, 100, 0.5, -1], ids=str)
def test_a_damaged_library_is_built_anew(kept: float, compiler: Compiler) -> None:
    library = extension._library()
    content = library.read_bytes()
    library.write_bytes(content[: int(kept * len(content)) if 0 < kept < 1 else int(kept)])
    assert extension._library().read_bytes() == content
    assert compiler.calls == 2
    assert extension._library() == library
    assert compiler.calls == 2


def test_two_that_build_at_once(compiler: Compiler) -> None:
    """The lock is of the file, so threads stand for processes."""
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(extension._library())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    assert len(set(found)) == compiler.calls == 1
    assert files(found[0]) == [found[0].name]


@pytest.mark.parametrize(
    ("action", "said"),
    [("echo no such header >&2; exit 1", "no such header"), ("exit 0", "failed"), ('echo x > "$2"; exit 3', "failed")],
    ids=["fails", "writes nothing", "fails half-way"],
)
def test_a_failing_compiler_is_named(action: str, said: str, compiler: Compiler, tmp_path: Path) -> None:
    compiler.write(action)
    with pytest.warns(UserWarning, match="no compiled kernels, taking the plain path") as caught:
        assert not load_anew()
    assert said in str(caught[0].message)
    assert "install a C++ compiler" in str(caught[0].message)
    assert [file.name for file in (tmp_path / "deep" / "cache").iterdir()] == ["lock"]


def test_what_is_no_library_is_refused_with_a_warning(compiler: Compiler) -> None:
    compiler.write('echo "not a library" > "$2"')
    with pytest.warns(UserWarning, match="taking the plain path"):
        assert not load_anew()


@pytest.mark.parametrize(
    "environment",
    [{"CXX": "no-such-compiler"}, {"CXX": "", "PATH": "/nowhere"}, {"EQUIREANN_KERNELS": "/dev/null/folder"}],
    ids=["no such compiler", "no compiler in the path", "folder that cannot be made"],
)
def test_doing_without(environment: dict[str, str], compiler: Compiler, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.warns(UserWarning, match="taking the plain path, which is several times slower"):
        assert not load_anew()
    assert compiler.calls == 0


@pytest.mark.parametrize("word", ["0", "no", "No", "OFF", "false", "n", "F", " off "])
def test_switched_off_says_and_builds_nothing(
    word: str, compiler: Compiler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    monkeypatch.setenv("EQUIREANN_KERNELS", word)
    assert not load_anew()  # warnings are errors here
    assert compiler.calls == 0
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("word", ["", "1", "yes", "On", "TRUE", "y", "t"])
def test_switched_on_keeps_them_in_the_users_cache(
    word: str, compiler: Compiler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("EQUIREANN_KERNELS", word)
    assert extension._library().parent == tmp_path / "cache" / "equireann_pyg" / "kernels"
    assert compiler.calls == 1


def test_the_home_folder_may_be_abbreviated(
    compiler: Compiler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("EQUIREANN_KERNELS", "~/kernels")
    assert extension._library().parent == tmp_path / "home" / "kernels"


@pytest.mark.parametrize("variable", ["EQUIREANN_KERNELS", "XDG_CACHE_HOME"])
def test_a_cache_that_cannot_be_written_is_reported_as_that(
    variable: str, compiler: Compiler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.delenv("EQUIREANN_KERNELS")
    monkeypatch.setenv(variable, str(tmp_path / "file" / "below"))
    with pytest.warns(UserWarning, match=r"cannot write .*file/below.* \(Not a directory\)") as caught:
        assert not load_anew()
    said = str(caught[0].message)
    assert "set XDG_CACHE_HOME or EQUIREANN_KERNELS to a folder that can be written" in said
    assert "compiler" not in said
    assert compiler.calls == 0


MODELS = """
import torch
from equireann_pyg import EANN, REANN, EquiREANN, Potential
from equireann_pyg.nn import PolynomialCutoff
from equireann_pyg.ops import load_kernels
from equireann_pyg.testing import random_crystal, randomize
torch.manual_seed(0)
print(load_kernels())
for kind in (EquiREANN, REANN, EANN):
    for dtype in (torch.float32, torch.float64):
        potential = Potential(kind(["H", "C"], 3.0, envelope=PolynomialCutoff())).to(dtype).train()
        randomize(potential)
        potential.model.coefficient.data.fill_(0.1)
        output = potential(random_crystal([1, 6], 3.0, 3))
        output["forces"].square().sum().backward()
        size = sum(p.grad.double().abs().sum() for p in potential.parameters() if p.grad is not None)
        print(*(float(x.detach().norm()) for x in (*output.values(), size)))
"""


def test_every_model_runs_without_kernels(kernels: None, tmp_path: Path) -> None:
    """In processes of their own: the numbers with and without kernels, and no trace of a build without them."""

    def run(**environment: str) -> tuple[str, list[list[float]]]:
        command, variables = [sys.executable, "-c", MODELS], os.environ | {"OMP_NUM_THREADS": "1"} | environment
        done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        first, *lines = done.stdout.splitlines()
        return first, [[float(word) for word in line.split()] for line in lines]

    loaded, expected = run()
    switched_off, actual = run(EQUIREANN_KERNELS="0", XDG_CACHE_HOME=str(tmp_path), CXX="/no/such/compiler")
    assert (loaded, switched_off) == ("True", "False")
    assert list(tmp_path.iterdir()) == []
    for k, (mine, theirs) in enumerate(zip(actual, expected, strict=True)):
        assert min(map(abs, theirs)) > 1e-3
        assert mine == pytest.approx(theirs, rel=1e-11 if k % 2 else 1e-4)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
def test_two_processes_build_one_library(tmp_path: Path) -> None:
    code = "from equireann_pyg.ops import load_kernels; print(load_kernels())"
    environment = {name: value for name, value in os.environ.items() if name != "EQUIREANN_KERNELS"}
    environment["XDG_CACHE_HOME"] = str(tmp_path)
    processes = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=-1, stderr=-1, text=True)
        for _ in range(2)
    ]
    answers = [process.communicate() for process in processes]
    assert [out.strip() for out, _ in answers] == ["True", "True"], answers
    assert sum("compiling the kernels" in said for _, said in answers) == 1
    assert len(list((tmp_path / "equireann_pyg" / "kernels").glob("*.so"))) == 1
