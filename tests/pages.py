"""Pages of the documentation as programs: their blocks run in order, commands in this process and at toy size."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import yaml
from ase.io import write

from equireann_pyg.cli import main
from tests.molecules import molecules

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, *(path for path in sorted((ROOT / "docs").glob("*.md")))]
TOY = ["--trainer.accelerator", "cpu", "--data.batches.size", "8", "--data.split.fraction", "0.25"]
FILES = {
    "mine": ["CH4", "H2O"],
    "test": ["CH4", "H2O"],
    "new": ["CH4"],
    "more": ["CH4", "NH3"],
    "dipoles": ["CH4", "H2O"],
}
LANGUAGES = {"python", "shell", "yaml"}


def blocks(page: Path) -> list[tuple[str, str]]:
    """Language and text of every block of code, in order; what Sphinx includes from elsewhere is none."""
    found = re.findall(r"^```(\S*)[^\n]*\n(.*?)^```$", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    return [(language, text) for language, text in found if not language.startswith("{")]


def commands(text: str) -> Iterator[list[str]]:
    """Words of every program that a block of shell runs, in order."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        while "&&" in words:
            at = words.index("&&")
            yield words[:at]
            words = words[at + 1 :]
        if words:
            yield words


def write_data(folder: Path) -> None:
    """The files of structures that the pages speak of; energies of ``mine`` have another name as well."""
    for seed, (name, kinds) in enumerate(FILES.items()):
        frames = molecules(kinds, count=16, seed=seed)
        for atoms in frames:
            atoms.calc.results["dipole"] = np.array(atoms.positions[0] - atoms.positions[-1])
            if name == "mine":
                atoms.info["my_energy"], atoms.arrays["my_forces"] = (
                    atoms.calc.results["energy"],
                    atoms.calc.results["forces"],
                )
        write(folder / f"{name}.extxyz", frames, format="extxyz")


class Runner:
    """Runs pages in the present folder; a command that stands on several pages is run once."""

    def __init__(self) -> None:
        self.done: list[list[str]] = []

    def page(self, path: Path) -> dict[str, object]:
        """Run all blocks of a page; names that its Python code has defined."""
        namespace: dict[str, object] = {"__name__": path.stem}
        for language, text in blocks(path):
            if language == "python":
                exec(compile(text, str(path), "exec"), namespace)
            elif language == "yaml":
                name = re.match(r"# (\S+\.yaml)", text)
                assert name, f"{path}: a YAML block begins with the name of its file, as '# mine.yaml'"
                assert yaml.safe_load(text)
                Path(name[1]).write_text(text)
            else:
                self.shell(text)
        return namespace

    def shell(self, text: str) -> None:
        """Run the commands of our program; training at toy size."""
        for words in commands(text):
            if words[0] == "equireann" and words not in self.done and words[1] != "quickstart":
                epochs = "2" if "--ckpt_path" in words else "1"
                toy = {
                    "fit": [*TOY, "--trainer.max_epochs", epochs],
                    "md": ["--steps", "20" if "--restart" in words else "10"],
                    "relax": ["--fmax", "100"],
                }
                assert main([*words[1:], *toy.get(words[1], [])]) == 0, words
                self.done.append(words)
