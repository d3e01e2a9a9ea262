"""Print the tables of stability, write results.md and draw the pictures.

python -m experiments.stability.report [--quick]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from equireann_pyg.evaluation import plots
from equireann_pyg.training.metrics import three_digits
from experiments.accuracy.scans import barrier_sheet, draw_scans
from experiments.runs import results
from experiments.runs.figures import legend
from experiments.runs.results import Row
from experiments.runs.tables import Sheet, chosen, distinct, mean, publish
from experiments.stability import stretch
from experiments.stability.suite import FOLDER


def dynamics_sheet(rows: Sequence[Row]) -> Sheet:
    """Fraction of trajectories that leave, and the largest drift of those that stay."""
    note = "Left: trajectories with a broken bond, atoms too close, a temperature 2.5 times the wanted one or numbers that are "
    note += "not finite. Drift and spread of the total energy in meV per atom (and ps): largest of the trajectories until then."
    heading = ("molecule", "model", "K", "left", "ps", "mean K", "drift", "spread", "CPU ms/step", "why")
    sheet = Sheet("Dynamics at constant energy, 0.5 fs", heading, note=note)
    for case, model, kelvin in distinct(rows, "case", "model", "temperature"):
        own = chosen(rows, case=case, model=model, temperature=kelvin)
        left = [row for row in own if row["left"]]
        drift, spread = (max((abs(float(row[name])) for row in own), default=0.0) for name in ("drift", "spread"))
        times = [float(row["ps"]) for row in own]
        numbers = [
            _number(mean(own, "mean_temperature")),
            _number(drift),
            _number(spread),
            _number(mean(own, "ms_per_step")),
        ]
        why = "; ".join(dict.fromkeys(row["left"] for row in left))
        sheet.rows.append([case, model, kelvin, f"{len(left)} of {len(own)}", f"{sum(times):g}", *numbers, why or "-"])
    return sheet


def _number(value: float | None) -> str:
    return "-" if value is None or value != value else three_digits(value)


def draw_traces(rows: Sequence[Row], path: Path) -> None:
    """Total energy and temperature against time: molecules in columns."""
    cases = [case for (case,) in distinct(rows, "case")]
    picture, axes = plots.figure(2, len(cases), 3.6, 2.4)
    palette = dict(zip(("300", "600", "1200"), plots.COLORS, strict=False))
    for column, case in enumerate(cases):
        for kelvin, color in palette.items():
            for number, (model, seed, replica) in enumerate(distinct(rows, "model", "seed", "replica")):
                own = chosen(rows, case=case, temperature=kelvin, model=model, seed=seed, replica=replica)
                ps = [float(row["ps"]) for row in own]
                label = f"{kelvin} K" if number == 0 else None
                for axis, name in zip(axes[:, column], ("energy", "kelvin"), strict=True):
                    axis.plot(ps, [float(row[name]) for row in own], lw=0.9, color=color, label=label if own else None)
        axes[0, column].set_title(case, fontsize=10)
        axes[0, column].set(ylabel="total energy (meV/atom)")
        axes[1, column].set(xlabel="ps", ylabel="temperature (K)")
    legend(picture, *axes.flat)
    plots.save(picture, path)


def write(out: Path, fast: bool) -> None:
    """Print, write and draw what there is."""
    folder, ending = (out / "work", "-quick") if fast else (out, "")

    def rows(name: str) -> list[Row]:
        return results.read(folder / f"{name}{ending}.csv")

    runs, traces, scans, curves = (rows(name) for name in ("results", "traces", "scans", "stretch"))
    sheets = [dynamics_sheet(runs)] if runs else []
    sheets += [sheet for sheet in (barrier_sheet(scans), stretch.sheet(curves)) if sheet is not None]
    if sheets:
        publish(sheets, folder / "results.md", "Stability: results" + (" of quick runs" if fast else ""))
    figures = folder / "figures"
    for found, draw, name in (
        (traces, draw_traces, "dynamics"),
        (scans, draw_scans, "scans"),
        (curves, stretch.draw, "stretch"),
    ):
        if found:
            draw(found, figures / f"{name}.png")
            print(figures / f"{name}.png")


def main(arguments: Sequence[str] | None = None) -> None:
    """Print, write, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="of the quick runs")
    write(FOLDER, parser.parse_args(arguments).quick)


if __name__ == "__main__":
    main()
