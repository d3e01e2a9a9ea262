"""Python environments of packages that cannot share one: made on request, with pinned versions."""

from __future__ import annotations

import os
import shutil
import site
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from equireann_pyg.files import user_cache
from experiments.runs.results import locked

ROOT = Path(__file__).parents[3]
FOLDER = user_cache() / "benchmark"
DONE = "requirements.txt"
"""File of an environment that says what it was made of; written when all is installed."""


@dataclass(frozen=True)
class Environment:
    """Packages that are put in front of those of the running Python, so that torch and the like are there once.

    Args:
        name: its folder.
        packages: pinned requirements, as pip reads them.
        options: further words for ``pip install``, such as ``--no-deps``.
        checkout: repository and commit of a code that is no package; its folder is found by :attr:`source`.
    """

    name: str
    packages: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    checkout: tuple[str, str] | None = None

    @property
    def folder(self) -> Path:
        """Where it is."""
        return FOLDER / self.name

    @property
    def source(self) -> Path:
        """The clone of :attr:`checkout`."""
        return self.folder / "source"

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"

    @property
    def made_of(self) -> str:
        """What has to be installed anew when it changes."""
        lines = (*self.packages, *self.options, *(self.checkout or ()), f"torch=={version('torch')}", sys.version)
        return "".join(f"{line}\n" for line in lines)

    def installed(self) -> bool:
        """Whether all is there, for the present torch and Python."""
        done = self.folder / DONE
        return done.is_file() and done.read_text() == self.made_of

    def install(self, say: Callable[[str], None] = print) -> None:
        """Make it anew.

        Raises:
            RuntimeError: with the last words of pip or git.
            OSError: if there is no git.
        """
        with locked(self.folder):
            if not self.installed():
                self._make(say)

    def _make(self, say: Callable[[str], None]) -> None:
        say(f"{self.name}: installing {', '.join((*self.packages, *(self.checkout or ())))}")
        shutil.rmtree(self.folder, ignore_errors=True)
        _run([sys.executable, "-m", "venv", "--without-pip", str(self.folder)])
        self._share()
        if self.packages:
            self._pip()
        if self.checkout is not None:
            repository, commit = self.checkout
            _run(["git", "clone", "--quiet", repository, str(self.source)])
            _run(["git", "-C", str(self.source), "checkout", "--quiet", commit])
        (self.folder / DONE).write_text(self.made_of)

    def _share(self) -> None:
        """Let it find the packages of the running Python, behind its own."""
        words = [str(self.python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
        own = Path(_run(words).strip())
        shared = dict.fromkeys([sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *site.getsitepackages()])
        (own / "shared.pth").write_text("".join(f"{path}\n" for path in shared))

    def _pip(self) -> None:
        constraints = self.folder / "constraints.txt"
        constraints.write_text(f"torch=={version('torch')}\n")
        pip = [sys.executable, "-m", "pip", "--python", str(self.python), "install", "--quiet", "--no-warn-conflicts"]
        _run([*pip, "-c", str(constraints), *self.options, *self.packages])


def variables() -> dict[str, str]:
    """Environment of a process that finds this repository, and git that asks for no password.

    The command line has torch load weights only; some packages cannot be imported so.
    """
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    kept = {name: value for name, value in os.environ.items() if name != "TORCH_FORCE_WEIGHTS_ONLY_LOAD"}
    return kept | {"PYTHONPATH": path, "GIT_TERMINAL_PROMPT": "0"}


def _run(words: Sequence[str]) -> str:
    done = subprocess.run(words, capture_output=True, text=True, env=variables())
    if done.returncode:
        raise RuntimeError(f"{' '.join(words[:6])} ...: {(done.stderr or done.stdout).strip()[-1500:]}")
    return done.stdout
