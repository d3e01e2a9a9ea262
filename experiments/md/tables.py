"""Rows of the tables, what is printed of them, and the picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console

from equireann_pyg.evaluation import plots
from experiments.md.engines import Moved, Values
from experiments.runs import results
from experiments.runs.results import Row
from experiments.runs.tables import WIDTH, Sheet, chosen, distinct

COLUMNS = ("case", "part", "quantity", "value", "unit", "reference", "of", "recipe")
"""Columns of ``results.csv``; ``part`` is an engine or a kind of physics, ``recipe`` the digest of potential and length."""

CURVES = ("case", "part", "curve", "x", "y", "recipe")
"""Columns of ``curves.csv``."""

KEY = ("case", "part")

CASES = ("solid", "liquid", "molecule")

LONG = ("LAMMPS, long", "constant pressure")
"""Parts with a curve for each system."""


@dataclass(frozen=True)
class Number:
    """A number, and what it is compared with.

    Args:
        quantity: what it is.
        value: NaN where it cannot be had.
        unit: of it.
        reference: number to compare with; None without.
        of: what gives the reference.
    """

    quantity: str
    value: float
    unit: str = ""
    reference: float | None = None
    of: str = ""

    def row(self) -> Row:
        """For the table, without what it belongs to."""
        value = "" if np.isnan(self.value) else f"{self.value:.5g}"
        reference = "" if self.reference is None else f"{self.reference:.5g}"
        return {"quantity": self.quantity, "value": value, "unit": self.unit, "reference": reference, "of": self.of}


Curve = tuple[str, np.ndarray, np.ndarray]
"""Name, abscissae and ordinates."""


@dataclass
class Found:
    """What a part gives: numbers and curves."""

    numbers: list[Number]
    curves: list[Curve]


def differences(here: Values, there: Values, scale: float) -> list[Number]:
    """Largest differences of an engine from the calculator, in units of the largest number.

    Args:
        here: of the engine.
        there: of the calculator.
        scale: energy in eV that holds the structure together.
    """
    numbers = [
        Number("energy, relative difference", abs(here.energy - there.energy) / scale),
        Number("forces, relative difference", _relative(here.forces, there.forces)),
    ]
    if here.stress is not None and there.stress is not None:
        numbers.append(Number("stress, relative difference", _relative(here.stress, there.stress)))
    return numbers


def _relative(here: np.ndarray, there: np.ndarray) -> float:
    return float(np.abs(here - there).max() / np.abs(there).max())


def moved(trajectory: Moved) -> Found:
    """What a trajectory says."""
    numbers = [
        Number("drift", trajectory.drift(), "meV/atom/ps"),
        Number("spread", trajectory.spread(), "meV/atom"),
        Number("length", float(trajectory.ps[-1]), "ps"),
        Number("speed", trajectory.speed(), "us/atom/step"),
    ]
    if trajectory.pressure is not None:
        numbers.append(Number("pressure", float(trajectory.pressure.mean()), "GPa"))
    return Found(numbers, [("total energy", trajectory.ps, trajectory.energy)])


def keep(folder: Path, ending: str, case: str, part: str, recipe: str, found: Found) -> None:
    """Add to the tables of a folder in place of what was there of the part; the numbers last, which say that all is done."""
    common = {"case": case, "part": part, "recipe": recipe}
    points = [
        common | {"curve": name, "x": f"{x:.6g}", "y": f"{y:.6g}"}
        for name, abscissae, ordinates in found.curves
        for x, y in zip(abscissae, ordinates, strict=True)
    ]
    if points:
        results.append(folder / f"curves{ending}.csv", points, CURVES, KEY)
    rows = [common | number.row() for number in found.numbers]
    results.append(folder / f"results{ending}.csv", rows, COLUMNS, KEY)


ENGINE = ("energy, relative difference", "forces, relative difference", "stress, relative difference")
MOTION = ("drift", "spread", "pressure", "speed", "length")


def sheets(rows: Sequence[Row]) -> list[Sheet]:
    """One table of engines, one of physics."""
    note = (
        "Largest differences from the calculator in ASE, of energies in units of the energy that holds the structure "
    )
    note += (
        "together, of forces and stress in units of the largest entry. Drift in meV/atom/ps and spread in meV/atom at "
    )
    note += "constant energy, mean pressure in GPa, processor time in us per atom and step, length in ps."
    engines = Sheet("Engines", ("system", "engine", "energy", "forces", "stress", *MOTION), note=note)
    physics = Sheet("Physics", ("system", "quantity", "value", "reference", "unit", "reference is"))
    for case, part in distinct(rows, "case", "part"):
        own = {row["quantity"]: row for row in chosen(rows, case=case, part=part)}
        if "speed" in own:
            values = {name: row["value"] for name, row in own.items()}
            engines.rows.append([case, part, *(values.get(name) or "-" for name in (*ENGINE, *MOTION))])
            continue
        for name, row in own.items():
            physics.rows.append([case, name, row["value"] or "-", row["reference"] or "-", row["unit"], row["of"]])
    return [sheet for sheet in (engines, physics) if sheet.rows]


def show(rows: Sequence[Row], console: Console) -> None:
    """Print the tables."""
    console.width = max(console.width, WIDTH)
    for sheet in sheets(rows):
        console.print(sheet.rich())


def draw(points: Sequence[Row], path: Path) -> None:
    """Energy at constant energy of each engine, the equation of state, phonons, the structure of the liquid, long runs."""
    picture, axes = plots.figure(2, 4, 3.4, 2.8)
    for axis, case in zip(axes[0], CASES, strict=False):
        for number, (part,) in enumerate(distinct(chosen(points, case=case, curve="total energy"), "part")):
            x, y = _points(points, case=case, part=part, curve="total energy")
            width = max(0.6, 3.8 - 0.6 * number)  # they lie on each other
            axis.plot(x, y, lw=width, color=plots.COLORS[number % len(plots.COLORS)], label=part)
        axis.set(title=case, xlabel="ps", ylabel="total energy (meV/atom)")
    fullest = max(axes[0, :3], key=lambda axis: len(axis.lines))
    if fullest.lines:
        picture.legend(
            *fullest.get_legend_handles_labels(), loc="outside upper center", ncols=6, fontsize=7, frameon=False
        )
    for axis, (part, names) in zip([*axes[1, :3], axes[0, 3], axes[1, 3]], _PANELS.items(), strict=True):
        own = [row | {"curve": row["case"] if part in LONG else row["curve"]} for row in chosen(points, part=part)]
        for number, (curve,) in enumerate(distinct(own, "curve")):
            x, y = _points(own, curve=curve)
            marker = "o" if part == "elastic constants" and curve == "reference frames" else "-"
            color = plots.COLORS[0 if part == "phonons" else number]
            axis.plot(x, y, marker, lw=1.0, ms=3.5, color=color, label=curve)
        if own and part != "phonons":
            axis.legend(fontsize=7, frameon=False)
        axis.set(**names)
    plots.save(picture, path)


_PANELS = {
    "elastic constants": {"title": "Si, strained along one axis", "xlabel": "strain", "ylabel": "energy (meV/atom)"},
    "phonons": {"title": "Si: Γ-X-K-Γ-L", "xlabel": "path (1/Å)", "ylabel": "frequency (THz)"},
    "structure": {"title": "water, oxygen and oxygen", "xlabel": "r (Å)", "ylabel": "g(r)"},
    "LAMMPS, long": {"title": "LAMMPS, constant energy", "xlabel": "ps", "ylabel": "total energy (meV/atom)"},
    "constant pressure": {"title": "LAMMPS at 300 K, 1 bar", "xlabel": "ps", "ylabel": "volume / first volume"},
}


def _points(points: Sequence[Row], **wanted: str) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.array([[float(row["x"]), float(row["y"])] for row in chosen(points, **wanted)]).T
    return x, y
