"""The wheel is the whole product: built, installed into an empty environment outside the checkout, and used there."""

from __future__ import annotations

import email
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.copper import write_frames

ROOT = Path(__file__).parents[1]
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "equireann_pyg", "configs")


def run(command: list[str | Path], folder: Path) -> str:
    """Output of a command in a folder outside the checkout, which sees nothing of it."""
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built without network from the source distribution of a copy of what it is made of."""
    folder = tmp_path_factory.mktemp("source")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, folder / name)
    code = "from setuptools.build_meta import build_sdist; print(); print(build_sdist('.'))"
    source = run([sys.executable, "-c", code], folder).splitlines()[-1]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "-q"]
    run([*pip, "--no-build-isolation", "--no-deps", "--no-index", "-w", "wheels", source], folder)
    (built,) = (folder / "wheels").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the programs of an environment that has the wheel, and the packages it needs from this environment."""
    folder = tmp_path_factory.mktemp("environment")
    run([sys.executable, "-m", "venv", "--without-pip", folder], folder)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python, "install", "-q"]
    run([*pip, "--no-deps", "--no-index", wheel], folder)
    packages = run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], folder).strip()
    # Only the folder is added, not what its own .pth files name, such as an editable install of this package.
    paths = dict.fromkeys(
        [sysconfig.get_path("purelib"), *(path for path in sys.path if path.endswith("site-packages"))]
    )
    Path(packages, "needed.pth").write_text("\n".join(paths) + "\n")
    return folder / "bin"


def test_holds_everything(wheel: Path) -> None:
    files = set(zipfile.ZipFile(wheel).namelist())
    package = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "equireann_pyg").rglob("*")
        if path.is_file() and path.suffix not in (".pyc", ".md")
    }
    shipped = {f"equireann_pyg/configs/{path.name}" for path in (ROOT / "configs").iterdir()}
    assert {"equireann_pyg/py.typed", "equireann_pyg/configs/equireann.yaml"} <= package | shipped
    assert {Path(name).suffix for name in package} >= {".py", ".cpp", ".h", ".gz"}
    assert package | shipped <= files
    others = {name for name in files - package - shipped if ".dist-info/" not in name}
    assert not others


def test_takes_any_newer_torch(wheel: Path) -> None:
    """The README installs torch first: installing this package must not replace it."""
    content = zipfile.ZipFile(wheel)
    (metadata,) = (name for name in content.namelist() if name.endswith("METADATA"))
    wanted = email.message_from_bytes(content.read(metadata)).get_all("Requires-Dist")
    (bound,) = (needed for needed in map(Requirement, wanted) if needed.name == "torch")
    assert bound.specifier.contains("99.0")
    assert not bound.specifier.contains("2.6.0")


def test_configurations_are_found(installed: Path, tmp_path: Path) -> None:
    code = "from equireann_pyg import configurations as c; print(*c.names()); print(c.find('equireann-plus').resolve())"
    names, path = run([installed / "python", "-c", code], tmp_path).splitlines()
    assert names.split() == sorted(file.stem for file in (ROOT / "configs").iterdir())
    assert installed.parent.resolve() in Path(path).parents
    assert Path(path).read_text() == (ROOT / "configs" / "equireann-plus-m.yaml").read_text()


def test_trains(installed: Path, tmp_path: Path) -> None:
    write_frames(tmp_path / "train.xyz", count=8)
    fit = ["fit", "--config", "equireann", "--data.train", "train.xyz", "--run", "runs/cu"]
    run([installed / "equireann", *fit, "--trainer.max_epochs", "1", "--trainer.accelerator", "cpu"], tmp_path)
    run([installed / "equireann", "evaluate", "runs/cu/best.ckpt", "train.xyz"], tmp_path)
    assert (tmp_path / "runs" / "cu" / "evaluation" / "errors.csv").is_file()
    code = "from ase.io import read; print(len(read('train.xyz', ':'))); import equireann_pyg; print(equireann_pyg.__file__)"
    count, home = run([installed / "python", "-c", code], tmp_path).splitlines()
    assert (count, Path(home).is_relative_to(installed.parent)) == ("8", True)


@pytest.mark.slow
def test_quickstart(installed: Path, tmp_path: Path) -> None:
    run([installed / "equireann", "quickstart", "--epochs", "1", "--out", "here"], tmp_path)
    assert {"torsion.png", "equireann-plus-s.pt", "reann.pt"} <= {path.name for path in (tmp_path / "here").iterdir()}
