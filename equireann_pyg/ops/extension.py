"""The compiled kernels: built by the machine's C++ compiler on first use and kept in the user's cache folder.

The environment variable ``EQUIREANN_KERNELS`` names another folder to keep them in; ``yes``, ``on``, ``true`` and ``1`` stand
for the folder in the user's cache. Without a compiler, or where the variable says ``no``, ``off``, ``false`` or ``0``, every
operator is evaluated by its reference in torch.
"""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import shutil
import subprocess
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path

import torch

from equireann_pyg.files import UnwritableCacheError, replacing, user_cache, writing_cache
from equireann_pyg.wording import one_line

SOURCES = tuple(sorted(Path(__file__).parent.glob("*.cpp")))
HEADERS = tuple(sorted(Path(__file__).parent.glob("*.h")))

FLAGS = (
    *("-O3", "-march=native", "-std=c++20", "-fPIC", "-shared", "-fopenmp"),
    *("-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math"),  # -ffast-math would change the whole process
    "-DAT_PARALLEL_OPENMP=1",
)

YES, NO = ("", "1", "y", "yes", "t", "true", "on"), ("0", "n", "no", "f", "false", "off")
"""Words for ``EQUIREANN_KERNELS``, in any case; all others name a folder."""

logger = logging.getLogger("equireann_pyg")


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def load_kernels() -> bool:
    """Build and load the kernels, once per process; False, with a warning that says why, where that fails."""
    return _loaded()


@cache
def _loaded() -> bool:
    if _setting().lower() in NO:
        return False
    try:
        torch.ops.load_library(str(_library()))
    except (ImportError, OSError, RuntimeError) as error:
        reason = one_line(error)[-500:]
        remedy = "" if isinstance(error, UnwritableCacheError) else "install a C++ compiler or name one in CXX, or "
        warnings.warn(
            f"no compiled kernels, taking the plain path, which is several times slower ({reason}); {remedy}"
            "set EQUIREANN_KERNELS=no to silence this",
            stacklevel=2,
        )
        return False
    return True


def kernels_file() -> Path | None:
    """The shared library that is loaded, None without kernels."""
    return _library() if load_kernels() else None


def _setting() -> str:
    return os.environ.get("EQUIREANN_KERNELS", "").strip()


def _library() -> Path:
    """The shared library of the kernels, built if this machine has no sound one yet."""
    compiler = os.environ.get("CXX") or next(filter(shutil.which, ("g++", "clang++", "c++")), None)
    if compiler is None:
        raise OSError("no C++ compiler found")
    folder = user_cache() / "kernels" if _setting().lower() in YES else Path(_setting()).expanduser()
    name = _fingerprint(compiler)
    found = _sound(folder, name)
    if found is None:
        with _locked(folder):
            found = _sound(folder, name) or _build(compiler, folder, name)
    return found


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One process at a time builds into a folder; the lock is released by the system, whatever happens to this process."""
    import fcntl  # not on every system: there the plain path serves

    with ExitStack() as stack:
        with writing_cache(folder, "XDG_CACHE_HOME or EQUIREANN_KERNELS"):
            lock = stack.enter_context(open(folder / "lock", "w"))
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _sound(folder: Path, name: str) -> Path | None:
    """A library of this name whose content is what its name says: loading a damaged one would end the process."""
    return next((file for file in folder.glob(f"{name}-*.so") if file.stem == f"{name}-{_digest(file)}"), None)


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16]


def _build(compiler: str, folder: Path, name: str) -> Path:
    logger.warning("compiling the kernels of equireann_pyg with %s: once, a minute or two", compiler)
    home = Path(torch.__file__).parent  # torch.utils.cpp_extension knows too, but needs setuptools and talks of CUDA
    includes = [f"-I{home / 'include'}", f"-I{home / 'include/torch/csrc/api/include'}"]
    libraries = [f"-L{home / 'lib'}", "-ltorch_cpu", "-lc10"]
    command = [compiler, *FLAGS, *includes, *map(str, SOURCES), *libraries, "-o"]
    with replacing(folder / name) as partial:
        done = subprocess.run([*command, str(partial)], capture_output=True, text=True, check=False)
        if done.returncode or not partial.is_file():
            raise OSError(f"{compiler} failed: {done.stderr}")
    return (folder / name).replace(folder / f"{name}-{_digest(folder / name)}.so")


def _fingerprint(compiler: str) -> str:
    """Names everything the library depends on: sources, flags, torch, compiler and processor."""
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=False).stdout
    digest = hashlib.sha256(repr((torch.__version__, compiler, version, FLAGS, _processor())).encode())
    for source in (*SOURCES, *HEADERS):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:24]


def _processor() -> str:
    """Model and instruction sets, for ``-march=native``."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() + platform.machine()
    return next((line for line in lines if line.startswith(("flags", "Features"))), platform.machine())
