"""README and pages do what they say: their code runs, their commands run after each other, their links lead somewhere."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from ase.io import read

from equireann_pyg import load_potential
from equireann_pyg.cli import main
from tests.pages import LANGUAGES, PAGES, README, ROOT, Runner, blocks, commands, write_data

TEXT = {page: page.read_text() for page in PAGES}
SHELL = [words for page in PAGES for language, text in blocks(page) if language == "shell" for words in commands(text)]
WRITTEN = {
    "README": ["mine/best.ckpt", "mine/last.ckpt", "mine/evaluation/errors.csv", "mine/evaluation/parity.png"],
    "your_data": [
        "mine/predictions.extxyz",
        "more/best.ckpt",
        "renamed/best.ckpt",
        "smaller/best.ckpt",
        "other/best.ckpt",
    ],
    "molecular_dynamics": ["mine/best.pt2"],
    "properties": ["dipoles/best.ckpt"],
}

OPTIONAL = {"engines": ("torch_sim", "openmm")}
"""What pages need beside the package."""


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    """A folder with data and the potential that the README trains, which all pages share."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("pages")
        patch.chdir(folder)
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        write_data(folder)
        runner = Runner()
        runner.page(README)
        yield runner


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: page.stem)
def test_page_runs(runner: Runner, page: Path) -> None:
    for name in OPTIONAL.get(page.stem, ()):
        pytest.importorskip(name, reason="an extra of the package")
    runner.page(page)
    missing = {name for name in WRITTEN.get(page.stem, ()) if not Path("runs", name).is_file()}
    assert not missing


def test_pages_give_what_they_promise(runner: Runner) -> None:
    for page in PAGES:
        if page.stem in WRITTEN:
            runner.page(page)
    assert load_potential("runs/more/best.ckpt").elements == [1, 6, 7, 8]
    assert load_potential("runs/smaller/best.ckpt").cutoff == 4.0
    assert len(read("runs/mine/predictions.extxyz", ":")) == 16
    properties = load_potential("runs/dipoles/best.ckpt").properties
    assert [type(part).__name__ for part in properties] == ["Dipole"]
    assert {words[1] for words in runner.done} == {"fit", "evaluate", "predict", "export", "md", "relax"}


def test_every_block_is_run() -> None:
    assert {language for page in PAGES for language, _ in blocks(page)} <= LANGUAGES
    assert {words[0] for words in SHELL} == {"equireann", "pip", "make", "python"}


def test_other_commands_exist() -> None:
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert all(words[1] in targets for words in SHELL if words[0] == "make")
    project = (ROOT / "pyproject.toml").read_text()
    extras = re.findall(r'"\.\[(\w+)\]"', "".join(TEXT.values()))
    assert extras
    assert all(f"\n{extra} = [" in project for extra in extras)
    modules = {*re.findall(r"python -m ((?:experiments|equireann_pyg)[\w.]*)", "".join(TEXT.values()))}
    assert len(modules) > 5
    assert {module for module in modules if importlib.util.find_spec(module) is None} == set()


def test_options_in_the_text_exist(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--help"]) == 0
    shown = capsys.readouterr().out
    options = {option for text in TEXT.values() for option in re.findall(r"--((?:data|model|trainer)(?:\.\w+)+)", text)}
    assert len(options) > 5
    missing = {option for option in options if f"--{option}" not in shown and not option.startswith("data.keys.")}
    assert missing == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(((?!http)[^)#]+)", TEXT[page])
    includes = re.findall(r"\{(?:literal)?include\} (\S+)", TEXT[page])
    for path in [*links, *includes]:
        assert (page.parent / path).exists(), path


def test_readme_is_short() -> None:
    assert len(TEXT[README].splitlines()) <= 110


def test_every_page_is_in_a_menu_and_every_example_on_a_page() -> None:
    entries = {line for text in TEXT.values() for line in text.splitlines()}
    assert {page.stem for page in PAGES} - entries == {"README", "index"}
    shown = set(re.findall(r"\{literalinclude\} \.\./examples/(\w+\.py)", "".join(TEXT.values())))
    assert shown == {path.name for path in (ROOT / "examples").glob("*.py")}


@pytest.mark.slow
def test_site_is_built_without_warnings(tmp_path: Path) -> None:
    pytest.importorskip("furo")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "docs", str(tmp_path)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
