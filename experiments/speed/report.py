"""Tables, files and the line that says where they come from."""

from __future__ import annotations

import csv
import os
import platform
import subprocess
from collections.abc import Iterable, Iterator
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.table import Table

from experiments.speed.floor import Ceilings
from experiments.speed.targets import TARGETS, Results

Row = dict[str, Any]


def machine(ceiling: Ceilings) -> str:
    """Processor, ceilings, versions, commit and date in one line."""
    root = Path(__file__).parents[2]
    command = ["git", "describe", "--always", "--dirty"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "torch_geometric", "equireann_pyg"))
    return (
        f"{_processor()}, {os.cpu_count()} cores, one thread used: {ceiling.gflops:.0f} GFLOP/s float32, "
        f"{ceiling.gbytes:.0f} GB/s; Python {platform.python_version()}, {packages}, "
        f"commit {done.stdout.strip() or 'unknown'}, {date.today()}"
    )


def _processor() -> str:
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.exists() else []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor() or platform.machine())


def target_rows(results: Results) -> Iterator[Row]:
    """Every target with what was measured."""
    for target in TARGETS:
        reading = target.read(results)
        value, by = (None, "") if reading is None else reading
        yield {
            "target": target.name,
            "measured": "" if value is None else f"{value:.3g}",
            "bound": f"{'>=' if target.at_least else '<='} {target.bound:.3g}",
            "met": "not measured" if value is None else "yes" if target.met(value) else "no",
            "by": by,
        }


def result_rows(results: Results) -> Iterator[Row]:
    """Every contestant of every case and step."""
    for (case, step), measured in results.cases.items():
        for name, samples in measured.samples.items():
            seconds = measured.seconds(name)
            yield {
                "case": case,
                "step": step,
                "contestant": name,
                "rounds": len(samples),
                "ms": f"{1e3 * seconds:.4g}",
                "us/atom": f"{1e6 * seconds / measured.atoms:.4g}",
                "to EquiREANN plain": f"{measured.ratio(name, 'EquiREANN plain'):.3g}",
                "to floor": f"{seconds / measured.floor:.3g}" if name.startswith("EquiREANN") else "",
                "peak MB": f"{measured.memory[name]:.4g}" if name in measured.memory else "",
                "deviation": f"{measured.deviation[name]:.1e}" if name in measured.deviation else "",
            }
    for path, atoms, seconds in ((path, *item) for path, times in results.large.items() for item in times.items()):
        yield {
            "case": f"cu{atoms}",
            "step": "inference",
            "contestant": f"EquiREANN {path}",
            "ms": f"{1e3 * seconds:.4g}",
            "us/atom": f"{1e6 * seconds / atoms:.4g}",
        }


COLUMNS = (
    "case",
    "step",
    "contestant",
    "rounds",
    "ms",
    "us/atom",
    "to EquiREANN plain",
    "to floor",
    "peak MB",
    "deviation",
)


def table(title: str, rows: Iterable[Row], columns: Iterable[str]) -> Table:
    """Rich table of rows."""
    result = Table(title=title)
    columns = list(columns)
    for column in columns:
        result.add_column(column)
    for row in rows:
        result.add_row(*(str(row.get(column, "")) for column in columns))
    return result


def write(path: Path, rows: Iterable[Row], columns: Iterable[str]) -> None:
    """The same as comma-separated values."""
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, list(columns), restval="")
        writer.writeheader()
        writer.writerows(rows)
