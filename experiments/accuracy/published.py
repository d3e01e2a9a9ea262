"""Published errors, from published.csv."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

FILE = Path(__file__).parent / "published.csv"
MEASURES = ("RMSE", "MAE")
UNIT = "meV, meV/A"


@dataclass(frozen=True)
class Published:
    """A published error.

    Args:
        set: name of our case.
        split: name of our test.
        model: whose error it is.
        energy: of the total energy, in meV; None where none is given.
        forces: of force components, in meV/Angstrom; None where none is given.
        measure: RMSE or MAE.
        unit: the unit of both.
        source: paper and table.
        verified: whether it was compared with that paper.
    """

    set: str
    split: str
    model: str
    energy: float | None
    forces: float | None
    measure: str
    unit: str
    source: str
    verified: bool

    @property
    def label(self) -> str:
        """Name for a table; says if the number was not verified."""
        return self.model if self.verified else f"{self.model} (unverified)"


def published(path: Path = FILE) -> list[Published]:
    """All published errors.

    Raises:
        ValueError: if a line cannot be understood; names the line.
    """
    with open(path, newline="", encoding="utf-8") as file:
        return [_entry(row, f"{path.name}, line {number}") for number, row in enumerate(csv.DictReader(file), 2)]


def _entry(row: dict[str, str], place: str) -> Published:
    if (
        row["measure"] not in MEASURES
        or row["unit"] != UNIT
        or row["verified"] not in ("yes", "no")
        or not row["source"]
    ):
        raise ValueError(f"{place}: expected {' or '.join(MEASURES)}, '{UNIT}', a source, and yes or no; got {row}")
    energy, forces = (float(row[name]) if row[name] else None for name in ("energy", "forces"))
    texts = {name: row[name] for name in ("set", "split", "model", "measure", "unit", "source")}
    return Published(**texts, energy=energy, forces=forces, verified=row["verified"] == "yes")
