"""Print the tables, write results.md and draw the pictures.

python -m experiments.non_local.report [--quick]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from experiments.non_local import ablation, cost, descriptors
from experiments.non_local.cases import CASES
from experiments.non_local.figures import draw
from experiments.non_local.suite import SUITE
from experiments.runs import results
from experiments.runs.results import Row
from experiments.runs.tables import Sheet, chosen, distinct, energy_and_forces, publish, run_sheet


def case_sheet(name: str, rows: Sequence[Row]) -> Sheet:
    """Errors of all models on the tests of a case."""
    case, models = CASES[name], [model for (model,) in distinct(rows, "model")]
    title = f"{case.title} ({name}): cutoff {case.cutoff:g} Å, T = {case.iterations}"
    sheet = Sheet(title, ("RMSE, energy meV / forces meV/Å", "frames", *models), note=case.remark)
    for split, kind in distinct(rows, "split", "config_type"):
        same = chosen(rows, split=split, config_type=kind)
        label = split if kind == "all" else f"{split}: {kind}"
        sheet.rows.append(
            [label, same[0]["frames"], *(energy_and_forces(chosen(same, model=model)) for model in models)]
        )
    return sheet


def main(arguments: Sequence[str] | None = None) -> None:
    """Print, write, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="of the quick runs")
    fast = parser.parse_args(arguments).quick
    folder = SUITE.folder / "work" if fast else SUITE.folder
    sheets = list(_sheets(fast))
    if not sheets:
        parser.exit(1, "no results yet: run python -m experiments.non_local.run\n")
    publish(sheets, folder / "results.md", "Non-locality: results" + (" of quick runs" if fast else ""))
    scans = SUITE.rows("scans", fast)
    for path in draw(scans, folder / "figures") if scans else []:
        print(path)


def _sheets(fast: bool) -> list[Sheet]:
    rows = SUITE.rows("results", fast)
    sheets = [case_sheet(name, chosen(rows, case=name)) for (name,) in distinct(rows, "case")]
    costs = results.read(SUITE.table("cost", fast))
    if costs:
        sheets.append(cost.sheet(costs))
    sheets += [sheet for part in (descriptors, ablation) for sheet in part.sheets(fast)]
    return [*sheets, run_sheet(rows)] if rows else sheets


if __name__ == "__main__":
    main()
