"""Tables of the benchmark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from equireann_pyg.evaluation.plots import three_digits
from experiments.benchmark.measurements.records import Record
from experiments.benchmark.peers import REFERENCE, Peer
from experiments.benchmark.report.found import (
    Budget,
    budgets_of,
    growth,
    growth_with_cutoff,
    models_of,
    of_task,
    rows_of,
    timing,
    trainings,
    typical,
)
from experiments.benchmark.tasks.systems import SYSTEMS
from experiments.runs.tables import Sheet, chosen, distinct, energy_and_forces, over_seeds


def sheets(records: Sequence[Record], peers: Mapping[str, Peer]) -> list[Sheet]:
    """All tables that have rows."""
    made = [
        speed_sheet(records, "Energy and forces, one thread, float32"),
        speed_sheet(records, "Training step (energy, forces, gradient), one thread, float32", step="training"),
        speed_sheet(records, "Energy and forces, one thread, float64", dtype="float64"),
        speed_sheet(records, "Training step, one thread, float64", step="training", dtype="float64"),
        speed_sheet(records, "Energy and forces, all threads, float32, time on the wall", threads=0),
        size_sheet(records),
        *(error_sheet(records, budget) for budget in budgets_of(records)),
        own_sheet(records),
        trial_sheet(records),
        check_sheet(records, peers),
        settings_sheet(records, peers),
        missing_sheet(records, peers),
    ]
    return [sheet for sheet in made if sheet.rows]


def speed_sheet(records: Sequence[Record], title: str, **options: Any) -> Sheet:
    """Times as multiples of the reference model's, the quickest model first."""
    systems = [name for name in SYSTEMS if any(timing(records, model, name, **options) for model in models_of(records))]
    sheet = Sheet(f"{title}: multiples of {REFERENCE}, and ms", ["model", *systems])
    found = {}
    for model in models_of(records):
        times = [timing(records, model, name, **options) for name in systems]
        ratios = [record.answer["ratio"] for record in times if record is not None and "ratio" in record.answer]
        if ratios:
            found[model] = (typical(ratios), [model, *map(time_cell, times)])
    sheet.rows = [row for _, row in sorted(found.values(), key=lambda entry: entry[0])]
    sheet.note = (
        "Medians of rounds in which both take turns in one process, with half the distance between the quartiles of the ratio. "
        "On one thread times are of the processor; other programs may have run."
    )
    return sheet


def time_cell(record: Record | None) -> str:
    """Ratio, half the distance of its quartiles, and milliseconds."""
    if record is None:
        return "-"
    answer = record.answer
    ms = f"{three_digits(answer['ms'])} ms"
    if "ratio" not in answer:
        return ms
    spread = 50 * (answer["high"] - answer["low"]) / answer["ratio"]
    known = f" ± {spread:.0f} %" if answer["rounds"] > 3 else ""
    return f"{three_digits(answer['ratio'])}{known}, {ms}"


def number(value: float | None) -> str:
    """Three digits, or a dash."""
    return "-" if value is None else three_digits(value)


def size_sheet(records: Sequence[Record]) -> Sheet:
    """Sizes, memory, and how costs grow."""
    heading = ("model", "parameters", "MB, step of 8 molecules", "MB, copper 1008", "power in atoms", "power in cutoff")
    sheet = Sheet("Size, memory, growth", [*heading, "neighbours, molecule", "neighbours, copper 1008"])
    for model in models_of(records):
        own = [record for record in of_task(records, "speed") if record.model == model]
        if not own:
            continue
        memory = [
            next((r.answer["MB"] for r in of_task(records, "memory", system=name) if r.model == model), None)
            for name in ("8 molecules", "copper 1008")
        ]
        shares = [share(timing(records, model, name)) for name in ("molecule", "copper 1008")]
        powers = [growth(records, model), growth_with_cutoff(records, model)]
        sheet.rows.append([model, f"{own[0].answer['parameters']:,}", *map(number, [*memory, *powers]), *shares])
    sheet.note = (
        "Powers: of the time of copper with the number of atoms, and with the cutoff (4 to 7 Å). Neighbours: share of the "
        "search of neighbours (ours, by vesin, for all models) in the whole time."
    )
    return sheet


def share(record: Record | None) -> str:
    """Share of the search of neighbours in the time of an evaluation."""
    if record is None:
        return "-"
    search = record.answer["neighbours_ms"]
    return f"{100 * search / (search + record.answer['ms']):.0f} %"


def error_sheet(records: Sequence[Record], budget: Budget) -> Sheet:
    """Test errors of a set and a budget, the smallest first."""
    runs, (case, kind, amount) = trainings(records, budget), budget
    rows = [row for row in rows_of(runs) if row["config_type"] == "all"]
    splits = [split for (split,) in distinct(rows, "split")]
    heading = ["model", *splits, "seeds", "rate", "epochs", "minutes", "ms/step", "µs/atom", "validation"]
    sheet = Sheet(f"{case}, {amount:g} {kind}: RMSE, energy meV / forces meV/Å", heading)
    found = []
    for (model,) in distinct(rows, "model"):
        own = chosen(rows, model=model)
        first = next(run for run in runs if run.model == model)
        cells = [energy_and_forces(chosen(own, split=split)) for split in splits]
        answer = first.answer
        rest = [str(len({row["seed"] for row in own})), f"{first.options['rate']:g}", own[0]["epochs"]]
        rest += [three_digits(answer["steps"] * answer["ms_per_step"] / 6e4)]
        validation = answer["validation"]["forces_rmse"]
        size = typical(float(row["forces_rmse"]) for row in own if row["forces_rmse"])
        steps = [over_seeds(chosen(own, split=splits[0]), "ms_per_step"), number(answer.get("us_per_atom"))]
        steps += [three_digits(validation)]
        found.append((size, [model, *cells, *rest, *steps]))
    sheet.rows = [row for _, row in sorted(found, key=lambda entry: entry[0])]
    sheet.note = (
        "Minutes: of the steps, as they came out; ms/step: a training step; µs/atom: energy and forces of the trained model on "
        "frames of the set; all of the processor. Validation: force error."
    )
    return sheet


def own_sheet(records: Sequence[Record]) -> Sheet:
    """Packages' own training programs over the same time."""
    runs = of_task(records, "own")
    sheet = Sheet(
        "By their own training programs, the same time: RMSE, energy meV / forces meV/Å",
        ["model", "case", "test", "errors", "epochs"],
    )
    for run in runs:
        for row in run.answer["rows"]:
            if row["config_type"] == "all":
                sheet.rows.append(
                    [run.model, run.options["case"], row["split"], energy_and_forces([row]), str(row.get("epochs", ""))]
                )
    return sheet


def trial_sheet(records: Sequence[Record]) -> Sheet:
    """Learning rates that were tried, with the errors on validation frames."""
    trials = [r for r in of_task(records, "train") if r.options.get("test") is False]
    cases = list(dict.fromkeys(r.options["case"] for r in trials))
    sheet = Sheet("Trials of the learning rate: force error on validation frames, meV/Å", ["model", "rate", *cases])
    for model in models_of(trials):
        for rate in sorted({r.options["rate"] for r in trials if r.model == model}):
            found = {
                r.options["case"]: r.answer["validation"]["forces_rmse"]
                for r in trials
                if (r.model, r.options["rate"]) == (model, rate)
            }
            sheet.rows.append([model, f"{rate:g}", *(number(found.get(case)) for case in cases)])
    return sheet


def check_sheet(records: Sequence[Record], peers: Mapping[str, Peer]) -> Sheet:
    """Whether the adapters are right, and what the models do not fulfil."""
    sheet = Sheet(
        "Are the adapters right?",
        ["model", "checks", "difference from its own code", "what the published model does not fulfil"],
    )
    for record in of_task(records, "check"):
        problems, own = record.answer["problems"], record.answer["own"]
        known = peers[record.model].known if record.model in peers else {}
        words = [
            f"{name}: {known[name]} ({problem})" if name in known else f"{name}: {problem}"
            for name, problem in problems.items()
        ]
        passed = f"{record.answer['checks'] - len(problems)} of {record.answer['checks']}"
        sheet.rows.append([record.model, passed, "-" if own is None else f"{own:.0e}", "; ".join(words)])
    sheet.note = (
        "Checks of equireann_pyg.testing.check_model: shapes, rotation and reflection, order, translation, finite differences "
        "of the energy and of the force loss, batches, parts far apart, the cutoff, isolated atoms. The difference is that of "
        "forces, relative to the largest."
    )
    return sheet


def settings_sheet(records: Sequence[Record], peers: Mapping[str, Peer]) -> Sheet:
    """Versions and settings."""
    sheet = Sheet("Settings", ["model", "versions", "optimiser", "batch", "settings from", "remark"])
    for model in models_of(records):
        peer = peers.get(model)
        if peer is None:
            continue
        versions: dict[str, str] = next((r.answer["versions"] for r in records if r.model == model and r.answer), {})
        training = peer.recipe.training
        plan = training.optimizer
        optimizer = f"{plan['class_path'].rsplit('.')[-1]}, {plan['init_args']['lr']:g}"
        text = ", ".join(f"{name} {version}" for name, version in versions.items() if name != "torch")
        if peer.environment is not None and peer.environment.checkout is not None:
            text = f"{text} commit {peer.environment.checkout[1][:8]}".strip()
        sheet.rows.append([model, text, optimizer, str(training.batch_size), peer.source, peer.remark])
    return sheet


def missing_sheet(records: Sequence[Record], peers: Mapping[str, Peer]) -> Sheet:
    """What there are no numbers of, and why."""
    sheet = Sheet("Not measured", ["model", "what", "why"])
    for record in records:
        if record.error:
            sheet.rows.append([record.model, " ".join([record.task, *map(str, record.options.values())]), record.error])
    there = set(models_of(records))
    reasons = {name: "not asked for" if peer.installed else "not installed" for name, peer in peers.items()}
    sheet.rows += [[name, "everything", reason] for name, reason in reasons.items() if name not in there]
    return sheet
