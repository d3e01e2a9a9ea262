"""Scans: energies along torsions, the transfer of a proton and an equation of state; a picture, and their barriers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from equireann_pyg.evaluation import plots
from equireann_pyg.training.metrics import three_digits
from experiments.runs.figures import curves, first_seed, legend, near_reference
from experiments.runs.results import Row
from experiments.runs.tables import Sheet, chosen, distinct

LABELS = {
    ("acac", "dihedral"): "torsion of acetylacetone (degrees)",
    ("acac", "H-transfer"): "O1-H minus O2-H in acetylacetone (Å)",
    **{("3bpa", f"dihedral-{beta}"): f"3BPA, β = {beta}° (frame)" for beta in (120, 150, 180)},
    ("li6ps5cl", "eos"): "volume of Li6PS5Cl (Å³/atom)",
}
"""Scans with a picture, and their abscissas."""

BARRIERS = (("acac", "H-transfer"), ("acac", "dihedral"))
"""Scans with a barrier."""


def height(energy: np.ndarray) -> float:
    """Highest energy of a scan above the lower of its ends."""
    return float(energy.max() - min(energy[0], energy[-1]))


def barrier_sheet(rows: Sequence[Row]) -> Sheet | None:
    """Barriers of all models, and how much they are off."""
    found = [(case, split) for case, split in BARRIERS if chosen(rows, case=case, split=split)]
    if not found:
        return None
    heading = ("model", *(f"{case}, {split}" for case, split in found))
    sheet = Sheet(
        "Barriers, meV", heading, note="Highest energy of a scan above the lower of its ends; in brackets the error."
    )
    models = [model for (model,) in distinct(rows, "model")]
    for model in models:
        sheet.rows.append(
            [model, *(_barrier(chosen(rows, case=case, split=split, model=model)) for case, split in found)]
        )
    references = (chosen(rows, case=case, split=split) for case, split in found)
    sheet.rows.append(["reference", *(three_digits(1e3 * _heights(own)[0][0]) for own in references)])
    return sheet


def _heights(rows: Sequence[Row]) -> list[tuple[float, float]]:
    """Barrier of the reference and of a model in eV, for each seed."""
    pairs = []
    for seed, model in distinct(rows, "seed", "model"):
        _, reference, predictions = curves(chosen(rows, seed=seed, model=model))
        pairs.append((height(reference), height(predictions[model])))
    return pairs


def _barrier(rows: Sequence[Row]) -> str:
    if not rows:
        return "-"
    values = 1e3 * np.array(_heights(rows))  # -> [seeds, 2]
    predicted, off = values[:, 1].mean(), (values[:, 1] - values[:, 0]).mean()
    sign = "+" if off >= 0 else "-"
    return f"{three_digits(float(predicted))} ({sign}{three_digits(abs(float(off)))})"


def draw_scans(rows: Sequence[Row], path: Path) -> None:
    """Energies along all scans, of the reference and all models; one seed.

    Raises:
        ValueError: if there is none.
    """
    rows = first_seed(rows)
    found = {key: own for key in LABELS if (own := chosen(rows, case=key[0], split=key[1]))}
    if not found:
        raise ValueError("nothing to draw: no scans of " + ", ".join(f"{case} {split}" for case, split in LABELS))
    columns = min(3, len(found))
    picture, axes = plots.figure(-(-len(found) // columns), columns, 3.4, 2.8)
    for axis in axes.flat[len(found) :]:
        axis.set_visible(False)
    for axis, (key, own) in zip(axes.flat, found.items(), strict=False):
        x, reference, predictions = curves(own)
        plots.torsion_profile(axis, x, reference, predictions, "")
        near_reference(axis, reference - reference[0])
        axis.set(xlabel=LABELS[key], ylabel="energy (eV)")
    legend(picture, *axes.flat[: len(found)])
    plots.save(picture, path)
