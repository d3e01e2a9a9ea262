"""Energies of a molecule whose bonds are stretched and compressed one at a time, all else rigid; table and picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.optimize import BFGS

from equireann_pyg import EquiREANNCalculator, Potential, from_ase, load_potential
from equireann_pyg.evaluation import plots, predict
from equireann_pyg.training.metrics import three_digits
from experiments.runs.figures import legend
from experiments.runs.results import Row
from experiments.runs.tables import Sheet, chosen, distinct
from experiments.stability.molecule import all_bonds, extrema, stretched

LENGTHS = np.arange(0.6, 2.5001, 0.01)
"""Lengths of a bond in Angstrom."""

TOLERANCE = 1e-3
"""Ups and downs in eV that do not count."""

COLUMNS = ("model", "case", "seed", "bond", "kind", "length", "energy")
"""Columns of ``stretch.csv``: lengths in Angstrom, energies above the relaxed molecule in eV."""

BARE = ", no ZBL"


def relaxed(atoms: Atoms, potential: EquiREANNCalculator, steps: int = 300) -> Atoms:
    """The structure where the forces vanish."""
    atoms = Atoms(atoms.numbers, atoms.positions)
    atoms.calc = potential
    BFGS(atoms, logfile=None).run(fmax=5e-3, steps=steps)
    return atoms


def kind(atoms: Atoms, i: int, j: int) -> str:
    """Name of a bond: ``C-O``, ``O-H``; hydrogen comes last."""
    return "-".join(sorted((atoms.symbols[i], atoms.symbols[j]), key=lambda symbol: (symbol == "H", symbol)))


def curves(model: str, checkpoint: Path, start: Atoms, seed: int, lengths: np.ndarray = LENGTHS) -> list[Row]:
    """Energies of all bonds of ethanol.

    Args:
        model: name for the table.
        checkpoint: its potential.
        start: structure that is relaxed first.
        seed: of the training.
        lengths: of the bonds in Angstrom.
    """
    potential = load_potential(checkpoint)
    atoms, rows = relaxed(start, EquiREANNCalculator(potential)), []
    (rest,) = energies(potential, [atoms])
    for i, j in all_bonds(atoms):
        kept = {"model": model, "case": "ethanol", "seed": str(seed), "bond": f"{i}-{j}", "kind": kind(atoms, i, j)}
        curve = energies(potential, [stretched(atoms, (i, j), float(length)) for length in lengths])
        rows += [
            kept | {"length": f"{length:.2f}", "energy": f"{energy - rest:.5f}"}
            for length, energy in zip(lengths, curve, strict=True)
        ]
    return rows


def energies(potential: Potential, structures: Sequence[Atoms]) -> list[float]:
    """Energies of structures in eV."""
    graphs = [from_ase(Atoms(atoms.numbers, atoms.positions), potential.cutoff) for atoms in structures]
    return [float(output["energy"]) for output in predict(potential, graphs)]


def sheet(rows: Sequence[Row]) -> Sheet | None:
    """Numbers of minima and maxima of the curves of each kind of bond, and the energies at the ends."""
    if not rows:
        return None
    heading = (
        "bond",
        "model",
        "bonds",
        "minima",
        "maxima",
        "lowest, eV",
        f"at {LENGTHS[0]:g} Å",
        f"at {LENGTHS[-1]:g} Å",
    )
    note = f"Largest number of a curve; ups and downs below {1e3 * TOLERANCE:g} meV do not count. Energies above rest."
    made = Sheet("Bonds of ethanol from 0.6 to 2.5 Å", heading, note=note)
    for name, model in sorted(distinct(rows, "kind", "model")):
        own = chosen(rows, kind=name, model=model)
        drawn = [energy for _, energy in _each(own)]
        counts = [extrema(energy, TOLERANCE) for energy in drawn]
        ends = [np.mean([energy[place] for energy in drawn]) for place in (0, -1)]
        lowest = round(min(float(energy.min()) for energy in drawn), 2)
        most = [str(max(count[which] for count in counts)) for which in (0, 1)]
        made.rows.append(
            [name, model, str(len(drawn)), *most, f"{lowest + 0.0:.2f}", *(three_digits(float(e)) for e in ends)]
        )
    return made


def _each(rows: Sequence[Row]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Lengths and energies of each bond and seed."""
    found = []
    for bond, seed in distinct(rows, "bond", "seed"):
        own = chosen(rows, bond=bond, seed=seed)
        found.append(tuple(np.array([float(row[name]) for row in own]) for name in ("length", "energy")))
    return found  # type: ignore[return-value]


def draw(rows: Sequence[Row], path: Path) -> None:
    """Energies of all bonds against their length: a panel for each kind."""
    kinds = sorted(name for (name,) in distinct(rows, "kind"))
    names = [model for (model,) in distinct(rows, "model")]
    picture, axes = plots.figure(1, len(kinds), 2.6, 2.8)
    palette = plots.colors(names)
    for axis, name in zip(axes.flat, kinds, strict=True):
        for model in names:
            for number, (length, energy) in enumerate(_each(chosen(rows, kind=name, model=model))):
                style = "--" if model.endswith(BARE) else "-"
                axis.plot(length, energy, style, lw=1.1, color=palette[model], label=model if number == 0 else None)
        axis.set(xlabel="length (Å)", ylabel="energy (eV)", ylim=(-2, 25))
        axis.set_title(name, fontsize=10)
    legend(picture, *axes.flat)
    plots.save(picture, path)
