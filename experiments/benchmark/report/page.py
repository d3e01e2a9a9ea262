"""Tables as CSV, Markdown and on a page that opens without a network, with the figures in it."""

from __future__ import annotations

import base64
import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Template
from rich.console import Console

from equireann_pyg.files import replacing
from experiments.benchmark.measurements.records import Record, Records
from experiments.benchmark.peers import Peer
from experiments.benchmark.report.figures import draw
from experiments.benchmark.report.found import rows_of, trainings
from experiments.benchmark.report.tables import sheets
from experiments.runs import tables
from experiments.runs.tables import Sheet

TITLE = "EquiREANN beside other message-passing networks"
PAGE = Path(__file__).with_name("page.html")


def publish(records: Records, folder: Path, known: Mapping[str, Peer], here: Mapping[str, Any]) -> None:
    """Print all tables, and write ``speed.csv``, ``errors.csv``, ``report.md``, the figures and ``report.html``.

    Args:
        records: what was measured; what is of an earlier version of a model or of another machine is left out.
        folder: where the files go.
        known: models.
        here: the machine.
    """
    found = [record for record in records if record.is_of(known.get(record.model), here)]
    if not found:
        Console().print(f"{records.path}: nothing was measured")
        return
    made = sheets(found, known)
    write_csv(folder / "speed.csv", (flat(record) for record in found if record.task in ("speed", "memory")))
    write_csv(folder / "errors.csv", rows_of(trainings(found)))
    pictures = draw(found, folder)
    tables.publish(made, folder / "report.md", TITLE)
    write_page(folder / "report.html", made, pictures, found)
    Console(soft_wrap=True).print(str(folder / "report.html"))


def flat(record: Record) -> dict[str, Any]:
    """A record as a row: options, numbers and where it was made, without versions."""
    numbers = {key: value for key, value in record.answer.items() if not isinstance(value, (dict, list))}
    return {
        "model": record.model,
        "task": record.task,
        **record.options,
        **numbers,
        "error": record.error,
        **record.machine,
    }


def write_csv(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write rows with all columns that any of them has, whole or not at all; nothing without rows."""
    rows = list(rows)
    columns = dict.fromkeys(column for row in rows for column in row)
    if not rows:
        return
    with replacing(path) as partial, open(partial, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(columns), restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def write_page(path: Path, made: Sequence[Sheet], pictures: Sequence[Path], records: Sequence[Record]) -> None:
    """One file with everything in it."""
    images = {picture.stem: base64.b64encode(picture.read_bytes()).decode() for picture in pictures}
    template = Template(PAGE.read_text(encoding="utf-8"), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    text = template.render(title=TITLE, sheets=made, images=images, machines=machines(records))
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def machines(records: Iterable[Record]) -> list[str]:
    """Where and when, in words."""
    places: dict[str, set[str]] = {}
    for record in records:
        place = ", ".join(str(record.machine[key]) for key in ("gpu", "cpu", "torch") if record.machine.get(key))
        places.setdefault(place, set()).add(record.machine["date"])
    return [f"{place}; {min(dates)} to {max(dates)}" for place, dates in places.items()]
