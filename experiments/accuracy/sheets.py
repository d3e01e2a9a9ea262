"""Tables of the accuracy experiment: our errors beside published ones."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from equireann_pyg.training.metrics import three_digits
from experiments.accuracy.cases import CASES
from experiments.accuracy.published import Published
from experiments.runs.results import Row
from experiments.runs.tables import Sheet, chosen, distinct, energy_and_forces, mean, over_seeds


def measure_of(case: str, others: Sequence[Published]) -> str:
    """The measure that papers quote for a case."""
    return next((entry.measure for entry in others if entry.set == case), "RMSE")


def case_sheet(name: str, rows: Sequence[Row], others: Sequence[Published]) -> Sheet:
    """Our errors and published ones of a case: models in rows, tests in columns."""
    measure, rows = measure_of(name, others), chosen(rows, config_type="all")
    splits = [split for (split,) in distinct(rows, "split")]
    columns = [f"{split} ({chosen(rows, split=split)[0]['frames']})" for split in splits]
    title = f"{CASES[name].title} ({name})"
    sheet = Sheet(title, (f"{measure}, energy meV / forces meV/Å", *columns), note=_note(name, others))
    for (model,) in distinct(rows, "model"):
        own = [chosen(rows, split=split, model=model) for split in splits]
        sheet.rows.append([f"{model} (this work)", *(energy_and_forces(cell, measure.lower()) for cell in own)])
    known = {(entry.label, entry.split): entry for entry in others if entry.set == name}
    for label in dict.fromkeys(label for label, _ in known):
        sheet.rows.append([label, *(_published(known.get((label, split))) for split in splits)])
    return sheet


def _published(entry: Published | None) -> str:
    if entry is None:
        return "-"
    return " / ".join("-" if value is None else f"{value:g}" for value in (entry.energy, entry.forces))


def _note(name: str, others: Sequence[Published]) -> str:
    sources = dict.fromkeys(entry.source for entry in others if entry.set == name)
    quoted = f"Published: {'; '.join(sources)}, trained by their authors' budgets, on GPUs." if sources else ""
    remark = CASES[name].remark
    return " ".join(part for part in (f"{remark[:1].upper()}{remark[1:]}." if remark else "", quoted) if part)


def stress_sheet(rows: Sequence[Row]) -> Sheet | None:
    """Energies per atom, forces and stress of the sets that have stress."""
    with_stress = [row for row in chosen(rows, config_type="all") if row["stress_rmse"]]
    if not with_stress:
        return None
    quantities = ("energy_per_atom", "forces", "stress")
    heading = ("set", "test", "model", "energy meV/atom", "forces meV/Å", "stress meV/Å³")
    sheet = Sheet("Sets with stress: RMSE", heading)
    for case, split, model in distinct(with_stress, "case", "split", "model"):
        own = chosen(with_stress, case=case, split=split, model=model)
        sheet.rows.append([case, split, model, *(over_seeds(own, f"{name}_rmse") for name in quantities)])
    return sheet


def rmd17_sheet(rows: Sequence[Row], others: Sequence[Published]) -> Sheet:
    """Mean absolute errors of the molecules of rMD17: molecules in rows, our models and published ones in columns."""
    cases = [case for (case,) in distinct(rows, "case")]
    ours = [model for (model,) in distinct(rows, "model")]
    theirs = {(entry.set, entry.model): entry for entry in others if entry.set in cases}
    names = list(dict.fromkeys(model for _, model in theirs))
    note = f"{_note(cases[0], others)} Numbers with a star were not compared with the paper."
    sheet = Sheet("rMD17, 950 + 50 frames", ("MAE, energy meV / forces meV/Å", *ours, *names), note=note)
    for case in cases:
        cells = [energy_and_forces(chosen(rows, case=case, model=model), "mae") for model in ours]
        cells += [_starred(theirs.get((case, name))) for name in names]
        sheet.rows.append([case.removeprefix("rmd17-"), *cells])
    means = [_mean_of_cases([_errors(chosen(rows, case=case, model=model)) for case in cases]) for model in ours]
    known = [[theirs.get((case, name)) for case in cases] for name in names]
    means += [_mean_of_cases([(e.energy, e.forces) if e else (None, None) for e in column]) for column in known]
    sheet.rows.append([f"mean of {len(cases)}", *means])
    return sheet


def _starred(entry: Published | None) -> str:
    return _published(entry) + ("" if entry is None or entry.verified else " *")


def _errors(rows: Sequence[Row]) -> tuple[float | None, float | None]:
    return mean(rows, "energy_mae"), mean(rows, "forces_mae")


def _mean_of_cases(errors: Sequence[tuple[float | None, float | None]]) -> str:
    """Mean of energies and of forces, if every case has them."""
    columns = zip(*errors, strict=True)
    return " / ".join(
        "-"
        if any(value is None for value in column)
        else three_digits(statistics.fmean(v for v in column if v is not None))
        for column in columns
    )
